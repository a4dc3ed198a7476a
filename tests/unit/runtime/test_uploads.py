"""What callers send is bounded over all of them, and waits with its sender until there is room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Self

import grpc
import grpc.aio
import pytest

from blindsight.errors import Busy, InvalidArgument, ResourceExhausted
from blindsight.runtime.interceptors import RequestInterceptor
from blindsight.runtime.limits import USUAL, Limits
from blindsight.runtime.status import from_rpc_error, never_began
from blindsight.runtime.uploads import FLOWING_BYTES, FREE_BYTES, Uploads

CHUNK = 1 << 20
COLLECT, FLOW, WHOLE = "/test.Uploads/Collect", "/test.Uploads/Flow", "/test.Uploads/Whole"


class Collects(grpc.GenericRpcHandler):
    """Collects what it is sent, and answers with its size when the test says so."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.came = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if details.method == WHOLE:
            return grpc.unary_unary_rpc_method_handler(self._take, bytes, bytes)
        return grpc.stream_unary_rpc_method_handler(self._collect, bytes, bytes)

    async def _take(self, request: bytes, _: object) -> bytes:
        self.came += len(request)
        await self.go.wait()
        return str(len(request)).encode()

    async def _collect(self, requests: AsyncIterator[bytes], _: object) -> bytes:
        total = 0
        async for part in requests:
            total += len(part)
            self.came += len(part)
        await self.go.wait()
        return str(total).encode()


Call = Callable[..., Awaitable[bytes]]


class Served:
    """A server with a limit on uploads, and one connection to it."""

    def __init__(self, uploads: Uploads, limits: Limits = USUAL) -> None:
        self.uploads = uploads
        self.handler = Collects()
        self._server = grpc.aio.server(interceptors=[RequestInterceptor(uploads, limits=limits)])
        self._server.add_generic_rpc_handlers([self.handler])

    async def __aenter__(self) -> Self:
        port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._channel.close()
        await self._server.stop(None)

    def call(self, *sizes: int, method: str = COLLECT, ends: bool = True) -> asyncio.Future[bytes]:
        async def parts() -> AsyncIterator[bytes]:
            for size in sizes:
                yield bytes(size)
            if not ends:
                await asyncio.Event().wait()

        async def answer() -> bytes:
            return await self._channel.stream_unary(method)(parts())

        return asyncio.ensure_future(answer())

    def whole(self, size: int) -> asyncio.Future[bytes]:
        async def answer() -> bytes:
            return await self._channel.unary_unary(WHOLE)(bytes(size))

        return asyncio.ensure_future(answer())

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(20):
            while not condition():
                await asyncio.sleep(0.005)


async def failed(call: Awaitable[bytes]) -> Exception:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await asyncio.wait_for(call, 20)
    return caught.value


async def test_an_upload_that_finds_no_room_waits_until_another_call_has_ended() -> None:
    async with Served(Uploads(3 * CHUNK)) as served:
        first = served.call(CHUNK, CHUNK)
        await served.until(lambda: served.handler.came == 2 * CHUNK)
        second = served.call(CHUNK, CHUNK)
        await served.until(lambda: served.handler.came == 3 * CHUNK)
        small = served.call(FREE_BYTES)  # which waits for no large one
        await served.until(lambda: served.handler.came == 3 * CHUNK + FREE_BYTES)
        assert served.uploads.held_bytes <= 3 * CHUNK
        served.handler.go.set()
        answers = await asyncio.wait_for(asyncio.gather(first, second, small), 20)
        assert answers == [str(size).encode() for size in (2 * CHUNK, 2 * CHUNK, FREE_BYTES)]
        await served.until(lambda: served.uploads.held_bytes == 0)


async def test_an_upload_that_never_finds_room_is_refused_and_its_memory_is_free() -> None:
    async with Served(Uploads(2 * CHUNK, stall_seconds=0.2)) as served:
        first = served.call(CHUNK, CHUNK)
        await served.until(lambda: served.handler.came == 2 * CHUNK)
        held = served.uploads.held_bytes
        error = await failed(served.call(CHUNK, CHUNK))
        assert never_began(error)
        raised = from_rpc_error(error, "the service")
        assert isinstance(raised, Busy)
        assert raised.message == "no memory for an upload for 0.2 s"
        assert served.uploads.held_bytes == held
        served.handler.go.set()
        await asyncio.wait_for(first, 20)


async def test_a_request_that_is_one_message_waits_for_room_too() -> None:
    async with Served(Uploads(2 * CHUNK, stall_seconds=0.2)) as served:
        first = served.whole(2 * CHUNK)
        await served.until(lambda: served.handler.came == 2 * CHUNK)
        small = served.whole(FREE_BYTES)
        await served.until(lambda: served.handler.came == 2 * CHUNK + FREE_BYTES)
        raised = from_rpc_error(await failed(served.whole(CHUNK)), "the service")
        assert isinstance(raised, Busy)
        served.handler.go.set()
        assert await asyncio.wait_for(asyncio.gather(first, small), 20) == [
            str(size).encode() for size in (2 * CHUNK, FREE_BYTES)
        ]
        await served.until(lambda: served.uploads.held_bytes == 0)


async def test_an_upload_larger_than_all_memory_is_refused_at_once() -> None:
    async with Served(Uploads(CHUNK)) as served:
        raised = from_rpc_error(await failed(served.call(2 * CHUNK)), "the service")
        assert type(raised) is ResourceExhausted
        assert served.uploads.held_bytes == 0


@pytest.mark.parametrize(("method", "seconds"), [(COLLECT, 0.2), (FLOW, 0.4)])
async def test_a_caller_that_stops_in_the_middle_is_refused_and_its_memory_is_free(
    method: str, seconds: float
) -> None:
    uploads = Uploads(4 * CHUNK, [FLOW], stall_seconds=0.2, idle_seconds=0.4)
    async with Served(uploads) as served:
        raised = from_rpc_error(await failed(served.call(CHUNK, method=method, ends=False)), "the service")
        assert isinstance(raised, InvalidArgument)
        assert raised.message == f"nothing came for {seconds} s, want the rest of the stream"
        await served.until(lambda: served.uploads.held_bytes == 0)


async def test_a_caller_that_leaves_while_it_waits_leaves_nothing_behind() -> None:
    async with Served(Uploads(2 * CHUNK)) as served:
        first = served.call(CHUNK, CHUNK)
        await served.until(lambda: served.handler.came == 2 * CHUNK)
        waiting = served.call(CHUNK)
        await served.until(lambda: bool(served.uploads.waiting))
        waiting.cancel()
        await served.until(lambda: not served.uploads.waiting)
        served.handler.go.set()
        await asyncio.wait_for(first, 20)
        await served.until(lambda: served.uploads.held_bytes == 0)
        assert await asyncio.wait_for(served.call(2 * CHUNK), 20) == str(2 * CHUNK).encode()


async def test_a_stream_that_is_used_as_it_comes_may_be_longer_than_all_memory_and_pause() -> None:
    uploads = Uploads(FLOWING_BYTES, [FLOW], stall_seconds=0.2)
    async with Served(uploads) as served:
        first = served.call(*[CHUNK] * 70, method=FLOW, ends=False)
        await served.until(lambda: served.handler.came == 70 * CHUNK)
        assert uploads.held_bytes == FLOWING_BYTES
        error = await failed(served.call(CHUNK, method=FLOW))
        assert never_began(error)  # it was refused before its first message was used
        await asyncio.sleep(0.3)
        assert not first.done()
        first.cancel()
        await served.until(lambda: uploads.held_bytes == 0)


async def test_a_stream_of_which_only_the_header_came_holds_nothing_until_more_comes() -> None:
    uploads = Uploads(FLOWING_BYTES, [FLOW], stall_seconds=0.2)
    async with Served(uploads) as served:
        idle = [served.call(100, method=FLOW, ends=False) for _ in range(70)]
        await served.until(lambda: served.handler.came == 70 * 100)
        assert (uploads.held_bytes, uploads.waiting) == (0, 0)
        busy = served.call(100, 1, method=FLOW, ends=False)
        await served.until(lambda: uploads.held_bytes == FLOWING_BYTES)
        error = await failed(served.call(100, 1, method=FLOW))
        assert never_began(error)
        for one in (*idle, busy):
            one.cancel()
        await served.until(lambda: uploads.held_bytes == 0)


async def test_only_so_many_calls_run_at_once() -> None:
    async with Served(Uploads(CHUNK), Limits(calls=2)) as served:
        calls = [served.call(1) for _ in range(2)]
        await served.until(lambda: served.handler.came == 2)
        error = await failed(served.call(1))
        assert never_began(error)
        assert isinstance(from_rpc_error(error, "the service"), Busy)
        served.handler.go.set()
        assert await asyncio.wait_for(asyncio.gather(*calls), 20) == [b"1", b"1"]


async def test_a_tenant_leaves_room_for_the_uploads_of_others() -> None:
    uploads = Uploads(12, stall_seconds=30)
    for _ in range(3):
        await uploads.take(2, "greedy")
    more = [asyncio.create_task(uploads.take(2, "greedy")) for _ in range(4)]
    await asyncio.sleep(0)
    assert (uploads.held_bytes, uploads.waiting) == (6, 4)
    await asyncio.wait_for(uploads.take(4, "modest"), 5)
    uploads.release(2, "greedy")
    uploads.release(4, "modest")
    await asyncio.wait_for(more[0], 5)
    assert (uploads.held_bytes, uploads.waiting) == (6, 3)
    for one in more[1:]:
        one.cancel()
    await asyncio.gather(*more[1:], return_exceptions=True)
    for _ in range(3):
        uploads.release(2, "greedy")
    assert (uploads.held_bytes, uploads.waiting) == (0, 0)
    await uploads.take(12, "greedy")  # of one call, if it holds nothing yet
