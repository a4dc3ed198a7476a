"""The server interceptor of every rpc: a request id, one log line, metrics, and exceptions as statuses."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from blindsight.errors import BlindsightError, Busy, CutOff, Draining, InvalidArgument, Unavailable
from blindsight.runtime import callers, logs, metrics, request_ids, status
from blindsight.runtime.access import Companion, Doorkeeper
from blindsight.runtime.limits import USUAL, Limits
from blindsight.runtime.uploads import Upload, Uploads

# When a caller cancels, gRPC first ends the stream of requests, and reports the cancellation at most this
# much later.
_WHY_SECONDS = 0.01
# For a message to come whose call is refused.
_PASS_SECONDS = 0.2
_STOPPED = "the service stopped before this call was done"
# Streams of probes and of reflection at once, which need no leave to call; they count for no caller.
_MOST_QUIET = 64
_QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.")


class RequestInterceptor(grpc.aio.ServerInterceptor):
    """Wraps every handler of a service, and keeps track of the running calls.

    Args:
        uploads: limits what calls are sent; None: the servicers do.
        access: whether a caller may make a call; None: everybody may.
        limits: of calls, and of how long they wait for their callers.

    Attributes:
        idle: event that is set while no call is running.
    """

    def __init__(
        self,
        uploads: Uploads | None = None,
        access: Doorkeeper | None = None,
        limits: Limits = USUAL,
    ) -> None:
        self._uploads = uploads
        self._access = access
        self.limits = limits
        # Calls by caller, until their answers are taken.
        self._callers: Counter[str] = Counter()
        self._quiet = 0
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

    async def begin(
        self, call: _Call, method: str, context: grpc.aio.ServicerContext[Any, Any]
    ) -> Callable[[], None]:
        """Registers a call; returns what to call when its answers are taken: it counts until then.

        Raises:
            PermissionDenied: if the caller may not make it.
            Draining: if new calls are refused.
            Busy: if too many are running.
        """
        if self._access is not None:
            call.go_with(await self._access.require(method, context, call.end_with))
        if self._refusing:
            raise Draining("the service is stopping; call again when it is back")
        forget = self._count(callers.known.get() or callers.address_of(context.peer()))
        self._running.add(call)
        self.idle.clear()
        return forget

    def _count(self, caller: str) -> Callable[[], None]:
        if self._callers.total() >= self.limits.calls:
            raise Busy(f"{self.limits.calls} calls are running already, want fewer at a time")
        if self._callers[caller] >= self.limits.calls_per_caller:
            most = self.limits.calls_per_caller
            raise Busy(f"{most} calls of this caller are running already, want fewer at a time")
        has = self._callers[caller]
        if callers.tenant.get() and has * (len(self._callers) + 1) >= self.limits.calls:
            raise Busy(f"{has} calls of this tenant are running already, want room for others")
        self._callers[caller] += 1

        def forget() -> None:
            self._callers[caller] -= 1
            if not self._callers[caller]:
                del self._callers[caller]

        return forget

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
        if handler is None:
            return handler
        if method.startswith(_QUIET):
            return self._of_probes(handler)
        given = dict(handler_call_details.invocation_metadata or ()).get(request_ids.KEY, "")
        upload = Upload(self._uploads, method) if self._uploads is not None else None
        read = _Reader(handler, upload, self.limits.stall_seconds)
        call = _Call(self, method, request_ids.valid(given) or request_ids.new(), read)
        # gRPC would read a message that is alone before it asks here whether it may be sent at all, and for
        # as long as its sender likes: so all requests are streams.
        if handler.response_streaming:
            streaming = call.streaming(handler.stream_stream or handler.unary_stream)
            return grpc.stream_stream_rpc_method_handler(streaming, None, handler.response_serializer)
        unary = call.unary(handler.stream_unary or handler.unary_unary)
        return grpc.stream_unary_rpc_method_handler(unary, None, handler.response_serializer)

    def _of_probes(self, handler: Any) -> Any:
        """Returns a handler of health or reflection that answers a few streams at a time."""
        inner = handler.stream_stream or handler.unary_stream
        if inner is None:
            return handler

        async def limited(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
            if self._quiet >= _MOST_QUIET:
                await context.abort(
                    grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_MOST_QUIET} streams of probes run already"
                )
            self._quiet += 1
            try:
                if inspect.isasyncgenfunction(inner):
                    async for answer in inner(request, context):
                        await context.write(answer)
                else:
                    await inner(request, context)
            finally:
                self._quiet -= 1

        made = (
            grpc.stream_stream_rpc_method_handler
            if handler.request_streaming
            else grpc.unary_stream_rpc_method_handler
        )
        return made(limited, handler.request_deserializer, handler.response_serializer)


class _Reader:
    """Parses requests in place of gRPC, which would answer an unreadable one with UNKNOWN and no reason.

    Args:
        handler: whose requests; what parses them, and whether they are a stream.
        upload: limits what is sent.
        stall_seconds: how long a request that is one message may take to come.

    Attributes:
        ended: whether all requests were read.
        companion: is told of each request; None: nobody is.
    """

    def __init__(self, handler: Any, upload: Upload | None, stall_seconds: float) -> None:
        self.ended = False
        self.companion: Companion | None = None
        self._upload = upload
        self._deserialize = handler.request_deserializer
        self._streams = handler.request_streaming
        self._asked = False
        self._stall_seconds = stall_seconds

    async def __call__(self, coming: AsyncIterator[bytes]) -> Any:
        """Parses one request as soon as there is room for it, or returns a stream of them."""
        return self._all(coming) if self._streams else await self._one(coming)

    async def _one(self, coming: AsyncIterator[bytes]) -> Any:
        try:
            async with asyncio.timeout(self._stall_seconds):
                data = await self._next(coming)
        except TimeoutError:
            raise InvalidArgument(
                f"nothing came for {self._stall_seconds:g} s, want the message of this rpc"
            ) from None
        if data is None:
            self.ended = True
            raise InvalidArgument("the call ended without a message, want one")
        if self._upload is not None:
            await self._upload.hold(len(data))
        return self._parse(data)

    async def pass_over(self, coming: AsyncIterator[bytes]) -> None:
        """Gives a message that is alone and was refused unseen a moment to come.

        Some clients hear no answer while they send.
        """
        if not (self._streams or self._asked):
            with suppress(TimeoutError):
                async with asyncio.timeout(_PASS_SECONDS):
                    await self._next(coming)

    async def _next(self, coming: AsyncIterator[bytes]) -> bytes | None:
        self._asked = True
        messages: Any = aiter(coming)
        data: bytes | None = await anext(messages, None)
        await messages.aclose()  # else it keeps the message
        return data

    def _parse(self, data: bytes) -> Any:
        try:
            message = self._deserialize(data)
        except DecodeError as error:
            raise InvalidArgument(f"{len(data)} bytes that are not a message of this rpc") from error
        if self.companion is not None:
            self.companion.received(message)
        return message

    async def _all(self, parts: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for data in self._upload.parts(parts) if self._upload is not None else parts:
            yield self._parse(data)
        self.ended = True

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
        self._untaken: asyncio.Task[None] | None = None
        self._started = 0.0

    def _begin(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._started = time.perf_counter()
        metrics.RPC_IN_FLIGHT.labels(*self._labels).inc()
        request_ids.current.set(self._request_id)
        callers.current.set(context.peer())

    async def _admit(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        self._task = asyncio.current_task()
        forget = await self._calls.begin(self, self._method, context)
        self._forget = forget
        # The stubs of gRPC call a class what may be any function.
        done: Any = lambda _: forget() if self._untaken is None else None  # noqa: E731
        context.add_done_callback(done)

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

    async def _refuse(
        self, error: Exception, request: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        try:
            await self._read.pass_over(request)
            if self._read.ended:
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

    def _give_up(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Ends a call whose caller takes no answers: its work at once; the caller is told when it listens."""
        self._untaken = asyncio.ensure_future(self._tell_untaken(context))
        if self._task is not None:
            self._task.cancel()

    async def _tell_untaken(self, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        seconds = self._calls.limits.idle_seconds
        answer = status.to_status(Unavailable(f"no answer was taken for {seconds:g} s, call again"))
        try:
            with suppress(grpc.aio.AbortError, grpc.aio.BaseError, asyncio.CancelledError):
                await context.abort(
                    _code(answer.code), answer.message, trailing_metadata=status.metadata_of(answer)
                )
        finally:
            self._forget()

    def unary(self, inner: Callable[[Any, Any], Awaitable[Any]]) -> Callable[[Any, Any], Awaitable[Any]]:
        async def handle(request: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self._begin(context)
            try:
                await self._admit(context)
                response = await inner(await self._read(request), context)
                await self._answering(response)
                await self._settled()
            except grpc.aio.AbortError:
                self._calls.end(self)
                raise
            except asyncio.CancelledError:
                await self._cancelled(context)
                raise
            except Exception as error:
                await self._refuse(error, request, context)
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
        async def handle(
            request: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Any]:
            loop = asyncio.get_running_loop()
            self._begin(context)
            try:
                await self._admit(context)
                async for response in inner(await self._read(request), context):
                    await self._answering(response)
                    waiting = loop.call_later(self._calls.limits.idle_seconds, self._give_up, context)
                    try:
                        yield response
                    finally:
                        waiting.cancel()
                await self._settled()
            except grpc.aio.AbortError:
                self._calls.end(self)
                raise
            except asyncio.CancelledError:
                await self._cancelled(context)
                raise
            except GeneratorExit:
                self._end(grpc.StatusCode.CANCELLED if self._untaken is None else grpc.StatusCode.UNAVAILABLE)
                raise
            except Exception as error:
                await self._refuse(error, request, context)
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
