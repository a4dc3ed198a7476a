"""Calls that their callers leave are counted and logged once, wherever they were cut off."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
import weakref
from collections.abc import AsyncIterator
from typing import ClassVar

import grpc
import grpc.aio
import pytest
from structlog.testing import capture_logs

from blindsight.errors import InvalidArgument, Unavailable
from blindsight.runtime import metrics, request_ids
from blindsight.runtime.interceptors import RequestInterceptor
from blindsight.runtime.status import from_rpc_error, never_began

METADATA = ((request_ids.KEY, "id-of-this-call"),)


class Endless(grpc.GenericRpcHandler):
    """Answers that never end: by waiting, or by sending more and more."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if details.method.endswith("Unary"):
            return grpc.unary_unary_rpc_method_handler(self._unary, bytes, bytes)
        if details.method.endswith("Upload"):
            return grpc.stream_stream_rpc_method_handler(self._upload, bytes, bytes)
        return grpc.unary_stream_rpc_method_handler(self._stream, bytes, bytes)

    async def _unary(self, kind: bytes, _: object) -> bytes:
        self.begun.set()
        if kind == b"breaks":
            raise asyncio.CancelledError  # as of work that somebody else cancelled
        await asyncio.Event().wait()
        raise AssertionError("nothing sets the event")

    async def _stream(self, kind: bytes, _: object) -> AsyncIterator[bytes]:
        yield b"an answer"
        self.begun.set()
        while kind == b"sends":
            yield bytes(1 << 20)  # nobody reads: gRPC stops taking more
        await asyncio.Event().wait()

    async def _upload(self, requests: AsyncIterator[bytes], _: object) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
        raise InvalidArgument("the upload ended before all had come")


@pytest.fixture
def handler() -> Endless:
    return Endless()


@pytest.fixture
async def channel(handler: Endless) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[RequestInterceptor()])
    server.add_generic_rpc_handlers([handler])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


def handled(method: str) -> dict[str, float]:
    """Calls of a method that ended, by code."""
    (family,) = metrics.RPC_HANDLED.collect()
    return {
        sample.labels["grpc_code"]: sample.value
        for sample in family.samples
        if sample.name.endswith("_total")
        and (sample.labels["grpc_service"], sample.labels["grpc_method"]) == ("test.Endless", method)
    }


@pytest.mark.parametrize("left", ["by cancelling", "by a deadline"])
@pytest.mark.parametrize("kind", ["Unary", "Stream waits", "Stream sends"])
async def test_a_call_that_is_left_is_counted_and_logged_once(
    channel: grpc.aio.Channel, handler: Endless, kind: str, left: str
) -> None:
    method, _, behaviour = kind.partition(" ")
    ask = channel.unary_unary if method == "Unary" else channel.unary_stream
    before = handled(method).get("CANCELLED", 0)
    with capture_logs() as lines:
        timeout = 0.2 if left == "by a deadline" else None
        call = ask(f"/test.Endless/{method}")(behaviour.encode(), metadata=METADATA, timeout=timeout)
        if left == "by cancelling":
            await handler.begun.wait()
            call.cancel()
        async with asyncio.timeout(20):
            while handled(method).get("CANCELLED", 0) == before:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # were it counted again, it would be about now
    assert handled(method) == {"CANCELLED": before + 1}
    assert [(line["event"], line["code"]) for line in lines] == [("rpc", "CANCELLED")]


async def test_an_upload_that_is_left_is_not_taken_for_one_that_is_too_short(
    channel: grpc.aio.Channel,
) -> None:
    async def and_no_more() -> AsyncIterator[bytes]:
        yield b"a request"
        await asyncio.Event().wait()

    before = handled("Upload")
    for _ in range(50):  # what gRPC tells first is chance
        call = channel.stream_stream("/test.Endless/Upload")(and_no_more())
        await anext(aiter(call))
        call.cancel()
    async with asyncio.timeout(20):
        while sum(handled("Upload").values()) < sum(before.values()) + 50:
            await asyncio.sleep(0.01)
    assert handled("Upload") == before | {"CANCELLED": before.get("CANCELLED", 0) + 50}


async def test_an_upload_that_is_too_short_is_refused(channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="before all had come") as caught:
        async for _ in channel.stream_stream("/test.Endless/Upload")(iter([b"a request"])):
            pass
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_call_that_its_caller_did_not_cancel_ends_with_a_reason(channel: grpc.aio.Channel) -> None:
    # Without one it would look like a call that the service never began.
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await channel.unary_unary("/test.Endless/Unary")(b"breaks", timeout=20)
    assert not never_began(caught.value)
    assert isinstance(from_rpc_error(caught.value, "the service"), Unavailable)


SENT = bytes(1 << 20)


class Loaded:
    """A request that can be watched."""

    watched: ClassVar[list[weakref.ref[Loaded]]] = []

    def __init__(self, _: bytes) -> None:
        self.watched.append(weakref.ref(self))


class Fails(grpc.GenericRpcHandler):
    """Takes requests, and fails deep below with an error that has a cause."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        made = getattr(grpc, f"{details.method.rsplit('/')[-1]}_rpc_method_handler")
        handle = self._stream if details.method.endswith("_stream") else self._unary
        return made(handle, Loaded, bytes)

    async def _fail(self, taken: list[Loaded]) -> None:
        try:
            raise ValueError(taken)
        except ValueError as error:
            raise InvalidArgument("nothing of this is wanted") from error

    async def _unary(self, sent: Loaded | AsyncIterator[Loaded], _: object) -> bytes:
        await self._fail([sent] if isinstance(sent, Loaded) else [one async for one in sent])
        return b""

    async def _stream(self, sent: Loaded | AsyncIterator[Loaded], context: object) -> AsyncIterator[bytes]:
        yield b"begun"
        yield await self._unary(sent, context)


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream", "stream_unary", "stream_stream"])
async def test_what_a_failed_call_was_sent_is_freed_with_the_call(kind: str) -> None:
    server = grpc.aio.server(interceptors=[RequestInterceptor()])
    server.add_generic_rpc_handlers([Fails()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    Loaded.watched.clear()
    gc.collect()
    gc.disable()  # as good as off for the memory of a service: it rarely looks at what has lived for long
    tracemalloc.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
            for _ in range(3):
                call = getattr(opened, kind)(f"/test.Fails/{kind}")
                answer = call(iter([SENT] * 3) if kind.startswith("stream") else SENT)
                with pytest.raises(grpc.aio.AioRpcError, match="nothing of this"):
                    _ = [one async for one in answer] if kind.endswith("stream") else await answer
        await server.stop(1)
        assert len(Loaded.watched) in (3, 9)
        assert [one() for one in Loaded.watched if one() is not None] == []
        kept, _ = tracemalloc.get_traced_memory()
        assert kept < len(SENT)
    finally:
        tracemalloc.stop()
        gc.enable()
