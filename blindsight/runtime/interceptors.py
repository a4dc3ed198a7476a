"""The server interceptor of every rpc: a request id, one log line, metrics, and exceptions as statuses."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from blindsight.errors import BlindsightError, Busy, CutOff, Draining, InvalidArgument, Unavailable
from blindsight.runtime import callers, logs, metrics, request_ids, status
from blindsight.runtime.access import Companion, Doorkeeper
from blindsight.runtime.uploads import Upload, Uploads

# When a caller cancels, gRPC first ends the stream of requests, and reports the cancellation at most this
# much later.
_WHY_SECONDS = 0.01
# Calls at once, of all callers together; more are refused.
MOST_CALLS = 2048
_STOPPED = "the service stopped before this call was done"
_QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.")


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a service, and keeps track of the running calls.

    Args:
        uploads: limits what calls are sent; None: the servicers do.
        access: whether a caller may make a call; None: everybody may.

    Attributes:
        idle: event that is set while no call is running.
    """

    def __init__(self, uploads: Uploads | None = None, access: Doorkeeper | None = None) -> None:
        self._uploads = uploads
        self._access = access
        self.idle = asyncio.Event()
        self.idle.set()
        self._refusing = False
        self._running: set[_Call] = set()

    @property
    def running(self) -> int:
        """The number of running calls."""
        return len(self._running)

    def refuse(self) -> None:
        """Refuses all new calls from now on."""
        self._refusing = True

    def cut_off(self) -> None:
        """Cancels the running calls; their callers get `CutOff`: the call may have had an effect or not."""
        for call in self._running:
            call.end_with(CutOff(_STOPPED))

    def begin(self, call: _Call, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Registers a call.

        Raises:
            PermissionDenied: if the caller may not make it.
            Draining: if new calls are refused.
            Busy: if too many are running.
        """
        if self._access is not None:
            call.go_with(self._access.require(method, context, call.end_with))
        if self._refusing:
            raise Draining("the service is stopping; call again when it is back")
        if len(self._running) >= MOST_CALLS:
            raise Busy(f"{MOST_CALLS} calls are running already")
        self._running.add(call)
        self.idle.clear()

    def end(self, call: _Call) -> None:
        """Unregisters a call."""
        self._running.discard(call)
        if not self._running:
            self.idle.set()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(_QUIET):
            return handler
        given = dict(handler_call_details.invocation_metadata or ()).get(request_ids.KEY, "")
        upload = Upload(self._uploads, method) if self._uploads is not None else None
        read = _Reader(handler.request_deserializer, upload)
        call = _Call(self, method, request_ids.valid(given) or request_ids.new(), read)
        if handler.response_streaming:
            kind = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            wrapped: Any = call.streaming(handler.stream_stream or handler.unary_stream)
        else:
            kind = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            wrapped = call.unary(handler.stream_unary or handler.unary_unary)
        return kind(wrapped, None, handler.response_serializer)


class _Reader:
    """Parses requests in place of gRPC, which would answer an unreadable one with UNKNOWN and no reason.

    Args:
        deserialize: parses one request.
        upload: limits a stream of them.

    Attributes:
        ended: whether a stream of requests was read to its end.
        companion: is told of each request; None: nobody is.
    """

    def __init__(self, deserialize: Callable[[bytes], Any], upload: Upload | None) -> None:
        self.ended = False
        self.companion: Companion | None = None
        self._upload = upload
        self._deserialize = deserialize

    def __call__(self, request: bytes | AsyncIterator[bytes]) -> Any:
        """Parses one request, or a stream of them."""
        return self._parse(request) if isinstance(request, bytes) else self._parse_all(request)

    def _parse(self, data: bytes) -> Any:
        try:
            message = self._deserialize(data)
        except DecodeError as error:
            raise InvalidArgument(f"{len(data)} bytes that are not a message of this rpc") from error
        if self.companion is not None:
            self.companion.received(message)
        return message

    async def _parse_all(self, parts: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in self._upload.parts(parts) if self._upload is not None else parts:
            yield self._parse(data)
        self.ended = True

    async def admit(self, request: bytes | AsyncIterator[bytes]) -> None:
        """Waits for room for a request that is one message; the parts of a stream do that one by one."""
        if self._upload is not None and isinstance(request, bytes):
            await self._upload.hold(len(request))

    def release(self) -> None:
        """Ends the call."""
        if self._upload is not None:
            self._upload.release()


class _Call:
    def __init__(self, calls: RequestInterceptor, method: str, request_id: str, read: _Reader) -> None:
        self._calls = calls
        self._task: asyncio.Task[Any] | None = None
        self._why: BlindsightError | None = None
        self._method = method
        _, *self._labels = method.split("/")
        self._request_id = request_id
        self._read = read
        self._started = 0.0

    def _begin(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._started = time.perf_counter()
        metrics.RPC_IN_FLIGHT.labels(*self._labels).inc()
        request_ids.current.set(self._request_id)
        callers.current.set(context.peer())

    def _admit(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._calls.begin(self, self._method, context)
        self._task = asyncio.current_task()

    def go_with(self, companion: Companion | None) -> None:
        """Gives the call its companion."""
        self._read.companion = companion

    def end_with(self, why: BlindsightError) -> None:
        """Cancels the task that answers the call; its caller gets this error."""
        if self._why is None:
            self._why = why
            if self._task is not None:
                self._task.cancel()

    async def _answering(self, response: Any) -> None:
        if self._read.companion is not None:
            await self._read.companion.sending(response)

    async def _settled(self) -> None:
        """Waits until it is on record that the call succeeded."""
        if self._read.companion is not None:
            self._read.companion.ended(grpc.StatusCode.OK.name)
            await self._read.companion.settled()

    def _end(self, code: grpc.StatusCode, reason: str = "") -> None:
        self._calls.end(self)
        if self._read.companion is not None:
            self._read.companion.ended(code.name)
        seconds = time.perf_counter() - self._started
        # A stream that its caller cancelled may be closed by another task than the one that started it, so
        # the context variable is set again for the log line.
        request_ids.current.set(self._request_id)
        metrics.RPC_IN_FLIGHT.labels(*self._labels).dec()
        metrics.RPC_HANDLED.labels(*self._labels, code.name).inc()
        metrics.RPC_SECONDS.labels(*self._labels).observe(seconds)
        why = {"reason": reason} if reason else {}
        logs.get().info("rpc", method=self._method, code=code.name, seconds=round(seconds, 6), **why)

    async def _refuse(self, error: Exception, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if self._read.ended:
            try:
                await asyncio.sleep(_WHY_SECONDS)
            except asyncio.CancelledError:
                await self._cancelled(context)
                raise
        await self._fail(error, context)

    async def _fail(self, error: Exception, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        if isinstance(error, BlindsightError):
            answer, reason = status.to_status(error), error.reason
        else:
            logs.get().error("unexpected_exception", method=self._method, exc_info=error)
            answer, reason = status.internal(self._request_id), BlindsightError.reason
        _forget_cause(error)
        metrics.RPC_ERRORS.labels(*self._labels, reason).inc()
        code = _code(answer.code)
        self._end(code, reason)
        await context.abort(code, answer.message, trailing_metadata=status.metadata_of(answer))

    async def _cancelled(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        task = asyncio.current_task()
        by_caller = self._why is None and task is not None and task.cancelling()
        if not by_caller:  # a plain CANCELLED would tell the caller that the call never began
            await self._fail(self._why or Unavailable(_STOPPED), context)
        self._end(grpc.StatusCode.CANCELLED)

    def unary(self, inner: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._begin(context)
            try:
                self._admit(context)
                await self._read.admit(request)
                response = await inner(self._read(request), context)
                await self._answering(response)
                await self._settled()
            except grpc.aio.AbortError:
                self._calls.end(self)
                raise
            except asyncio.CancelledError:
                await self._cancelled(context)
                raise
            except Exception as error:
                await self._refuse(error, context)
                raise
            finally:
                self._read.release()
                del request  # else a failed call keeps it: see `_forget_cause`
            self._end(grpc.StatusCode.OK)
            return response

        return handle

    def streaming(
        self, inner: Callable[[Any, Any], AsyncIterator[Any]]
    ) -> Callable[[Any, Any], AsyncIterator[Any]]:
        async def handle(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            self._begin(context)
            try:
                self._admit(context)
                async for response in inner(self._read(request), context):
                    await self._answering(response)
                    yield response
                await self._settled()
            except grpc.aio.AbortError:
                self._calls.end(self)
                raise
            except asyncio.CancelledError:
                await self._cancelled(context)
                raise
            except GeneratorExit:
                self._end(grpc.StatusCode.CANCELLED)
                raise
            except Exception as error:
                await self._refuse(error, context)
                raise
            finally:
                self._read.release()
                del request  # else a failed call keeps it: see `_forget_cause`
            self._end(grpc.StatusCode.OK)

        return handle


def _forget_cause(error: BaseException) -> None:
    """Takes from an error its traceback and what led to it, once it is logged.

    Their frames hold what the call was sent and made of it.  gRPC holds the error in a ring with the call's
    context, which is not freed with the call, but when the oldest objects are collected: hours later.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None


def _code(value: int) -> grpc.StatusCode:
    return next(code for code in grpc.StatusCode if code.value[0] == value)
