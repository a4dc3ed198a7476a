"""Every error of ours crosses gRPC and comes out as what it was."""

from __future__ import annotations

import inspect
import re
from collections.abc import AsyncIterator

import grpc
import grpc.aio
import pytest
from google.rpc import error_details_pb2, status_pb2

from blindsight import errors
from blindsight.errors import BlindsightError
from blindsight.runtime import request_ids, status
from blindsight.runtime.interceptors import RequestInterceptor

CLASSES = {name: one for name, one in vars(errors).items() if inspect.isclass(one)}
RETRIED = {"Unavailable", "Conflict", "Busy"}


class Raises(grpc.GenericRpcHandler):
    """Raises the error that a request names; its message and metadata are always the same."""

    MESSAGE = "got an \u00e9 that is wanted elsewhere"
    SECRET = "what nobody but the log may know"

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        if details.method.endswith("Stream"):
            return grpc.unary_stream_rpc_method_handler(self._stream, bytes, bytes)
        return grpc.unary_unary_rpc_method_handler(self._unary, bytes, bytes)

    async def _unary(self, name: bytes, _: object) -> bytes:
        if name == b"nobody expected":
            raise ZeroDivisionError(self.SECRET)
        raise CLASSES[name.decode()](self.MESSAGE, position=3, wanted="more")

    async def _stream(self, name: bytes, context: object) -> AsyncIterator[bytes]:
        yield b"an answer"
        yield await self._unary(name, context)


@pytest.fixture
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[RequestInterceptor()])
    server.add_generic_rpc_handlers([Raises()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop(None)


async def failure(channel: grpc.aio.Channel, method: str, name: str) -> grpc.aio.AioRpcError:
    """How a call fails; a stream fails after its first answer."""
    path, metadata = f"/test.Raises/{method}", ((request_ids.KEY, "id-of-this-call"),)
    if method == "Stream":
        answers = channel.unary_stream(path)(name.encode(), metadata=metadata)
        assert await answers.read() == b"an answer"
        waiting = answers.read()
    else:
        waiting = channel.unary_unary(path)(name.encode(), metadata=metadata)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await waiting
    return caught.value


def details(error: grpc.RpcError) -> dict[str, object]:
    """The details of a status by their type."""
    sent = status_pb2.Status.FromString(dict(error.trailing_metadata() or ())["grpc-status-details-bin"])
    assert (sent.code, sent.message) == (error.code().value[0], error.details())
    found: dict[str, object] = {}
    for one in sent.details:
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
            message = kind()
            if one.Unpack(message):
                found[kind.__name__] = message
    return found


def test_the_map_has_every_error_and_nothing_else() -> None:
    assert set(status.CODES) == set(CLASSES.values())
    assert all(issubclass(one, BlindsightError) for one in CLASSES.values())


def test_every_error_has_a_reason_of_its_own() -> None:
    reasons = [one.__dict__["reason"] for one in CLASSES.values()]
    assert len(set(reasons)) == len(reasons)
    for name, one in CLASSES.items():
        words = re.findall(r"[A-Z][a-z]+", name)
        assert one.reason == "_".join(words).upper()


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    drawn = re.findall(r"^ {4}(?:(?:│   |    )*[├└]── )?([A-Z]\w+)", errors.__doc__ or "", re.MULTILINE)
    assert drawn == list(CLASSES)


@pytest.mark.parametrize("method", ["Unary", "Stream"])
@pytest.mark.parametrize("name", CLASSES)
async def test_an_error_crosses_the_wire_as_what_it_is(
    channel: grpc.aio.Channel, name: str, method: str
) -> None:
    error = await failure(channel, method, name)
    assert error.code() is status.CODES[CLASSES[name]]
    sent = details(error)
    assert set(sent) == {"ErrorInfo", "RetryInfo"} if name in RETRIED else {"ErrorInfo"}
    back = status.from_rpc_error(error, "the service")
    assert type(back) is CLASSES[name]
    assert (back.message, str(back)) == (Raises.MESSAGE, Raises.MESSAGE)
    assert back.metadata == {"position": "3", "wanted": "more"}


@pytest.mark.parametrize("method", ["Unary", "Stream"])
async def test_an_error_that_nobody_expected_says_where_to_look_and_nothing_else(
    channel: grpc.aio.Channel, method: str
) -> None:
    error = await failure(channel, method, "nobody expected")
    assert error.code() is grpc.StatusCode.INTERNAL
    assert error.details() == "internal error; the service's log has it under request id id-of-this-call"
    assert set(details(error)) == {"ErrorInfo"}
    assert Raises.SECRET not in repr(error)
    assert type(status.from_rpc_error(error, "the service")) is BlindsightError


async def test_a_peer_that_is_not_there_is_unavailable_by_name() -> None:
    async with grpc.aio.insecure_channel("127.0.0.1:1") as nobody:
        error = await failure(nobody, "Unary", "NotFound")
    back = status.from_rpc_error(error, "storage")
    assert type(back) is errors.Unavailable
    assert back.message.startswith("storage does not answer")
    assert "\n" not in back.message


@pytest.mark.parametrize("length", [10, 399, 400, 401, 100_000])
def test_a_message_of_any_length_fits_into_a_status(length: int) -> None:
    sent = status.to_status(errors.NotFound("\u20ac" * length, what="\u20ac" * length))
    metadata = status.metadata_of(sent)
    # As gRPC sends it: the message in percent-encoding, the details in base64.
    assert len(sent.message.encode()) * 3 + sum(len(value) for _, value in metadata) * 4 / 3 < 8192
    assert (sent.message == "\u20ac" * length) == (length <= status.MAX_MESSAGE_CHARACTERS)


HOSTILE = "one\ntwo \x1b[2J\x07" + "long " * 200


class Lies(grpc.GenericRpcHandler):
    """Ends each call with a status of its own making: bytes that a request holds, or garbage."""

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_unary_rpc_method_handler(self._answer, bytes, bytes)

    async def _answer(self, sent: bytes, context: grpc.aio.ServicerContext) -> bytes:
        context.set_trailing_metadata((("grpc-status-details-bin", sent),))
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, HOSTILE)
        return b""


def hostile(**metadata: str) -> bytes:
    info = error_details_pb2.ErrorInfo(reason="INVALID_ARGUMENT", domain=status.DOMAIN, metadata=metadata)
    sent = status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message=HOSTILE)
    sent.details.add().Pack(info)
    return sent.SerializeToString()


async def ended(sent: bytes) -> BlindsightError:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Lies()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await opened.unary_unary("/test.Lies/Unary")(sent)
    await server.stop(None)
    return status.from_rpc_error(caught.value, "the service")


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\xff" * 20,
        status_pb2.Status(
            details=[{"type_url": "x/google.rpc.ErrorInfo", "value": b"\xff"}]
        ).SerializeToString(),
        hostile(),
        hostile(message="again", self="me", request_id="\x1b[31m" * 200),
        hostile(**{f"key {number}\x1b": "value" for number in range(50)}),
    ],
    ids=["none", "garbage", "garbage inside", "long", "names of arguments", "many"],
)
async def test_a_hostile_status_is_one_short_line_that_does_nothing(sent: bytes) -> None:
    error = await ended(sent)
    assert isinstance(error, BlindsightError)
    for text in (error.message, *error.metadata, *error.metadata.values()):
        assert text.isprintable()
        assert len(text) <= status.MAX_MESSAGE_CHARACTERS + len("the service: ")
    assert error.message.removeprefix("the service: ").startswith("one two ")
    assert len(error.metadata) <= status.MAX_METADATA
