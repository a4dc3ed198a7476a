"""Calls to the keyholder: retries while it restarts, request ids, flow control, and errors from statuses."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from contextvars import ContextVar
from functools import partial
from queue import SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar, cast

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from blindsight.client.apart import Apart, Outcome
from blindsight.client.channels import Channels
from blindsight.errors import BlindsightError, DataLoss, InvalidArgument, Unavailable
from blindsight.rpc.keyholder.v1.audit_pb2_grpc import AuditServiceStub
from blindsight.rpc.keyholder.v1.imaging_pb2_grpc import ImagingServiceStub
from blindsight.rpc.keyholder.v1.imports_pb2_grpc import ImportServiceStub
from blindsight.rpc.keyholder.v1.keyholder_pb2_grpc import KeyholderServiceStub
from blindsight.rpc.keyholder.v1.keys_pb2_grpc import KeyServiceStub
from blindsight.rpc.keyholder.v1.tenants_pb2_grpc import TenantServiceStub
from blindsight.rpc.keyholder.v1.tokens_pb2_grpc import TokenServiceStub
from blindsight.runtime import request_ids
from blindsight.runtime.addresses import is_loopback
from blindsight.runtime.announcing import is_announced
from blindsight.runtime.backoff import Backoff
from blindsight.runtime.status import from_rpc_error, is_lost, never_began, nobody_listens
from blindsight.wire.tokens import METADATA_KEY, SCHEME

PEER = "the keyholder"
# What was called, how it ended and how long it took: at DEBUG, and nothing of what was sent.
_LOG = logging.getLogger("blindsight.client")

Request = TypeVar("Request")
Response = TypeVar("Response")
Result = TypeVar("Result")
# Takes, of a channel, what begins a call.
Method = Callable[[grpc.Channel], Callable[..., Any]]
AwayCallback = Callable[[Unavailable], None]


@contextmanager
def request_id(name: str | None = None) -> Iterator[str]:
    """Sets the request id of the calls made in the block, under which all services log them.

    Args:
        name: 1 to 64 letters, digits and dashes; None: that of an enclosing block, else a random one.

    Raises:
        InvalidArgument: for any other name.
    """
    if name is not None and not request_ids.valid(name):
        raise InvalidArgument(
            f"request id of {len(name)} characters, want 1 to 64 letters, digits and dashes"
        )
    token = request_ids.current.set(name or request_ids.current.get() or request_ids.new())
    try:
        yield request_ids.current.get()
    finally:
        request_ids.current.reset(token)


class Calls:
    """The calls that a caller has open, so that another thread can cancel them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[Any] = set()
        self.cancelled = False

    @contextmanager
    def current(self) -> Iterator[None]:
        """Has the calls of the block, and of copies of its context, be among these."""
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    @contextmanager
    def having(self, call: Any) -> Iterator[None]:
        """Has a call among these while the block runs."""
        with self._lock:
            self._open.add(call)
            cancelled = self.cancelled
        if cancelled:
            call.cancel()
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(call)

    def cancel(self) -> None:
        """Cancels these calls, and those that still come."""
        with self._lock:
            self.cancelled = True
            calls = list(self._open)
        for call in calls:
            call.cancel()


# Of who can cancel nothing but all calls of its connection, as a synchronous caller.
_NOBODY = Calls()
_current: ContextVar[Calls] = ContextVar("calls", default=_NOBODY)


def cancelled() -> bool:
    """Returns whether the caller's calls are cancelled, and those that it would still make."""
    return _current.get().cancelled


class _Details(NamedTuple):
    """The details that interceptors pass on; `grpc.ClientCallDetails` is a class without an initialiser."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class _Named(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the request id to every call's metadata, and the caller's token.

    Args:
        token: None: there is none.
    """

    def __init__(self, token: str | None) -> None:
        self._shown = ((METADATA_KEY, f"{SCHEME}{token}"),) if token else ()

    def _name(self, continuation: Any, details: Any, request: Any) -> Any:
        if not _LOG.isEnabledFor(logging.DEBUG):
            return self._named(continuation, details, request)
        started = time.monotonic()
        call = self._named(continuation, details, request)
        rpc, name = details.method.rpartition("/")[2], request_ids.current.get()

        def log(done: Any) -> None:
            spent = (time.monotonic() - started) * 1000
            _LOG.debug("%s: %s in %.0f ms, request %s", rpc, done.code().name, spent, name or "unnamed")

        call.add_done_callback(log)
        return call

    def _named(self, continuation: Any, details: Any, request: Any) -> Any:
        name = (request_ids.KEY, request_ids.current.get() or request_ids.new())
        named = (*(details.metadata or ()), name, *self._shown)
        given = (details.credentials, details.wait_for_ready, details.compression)
        return continuation(_Details(details.method, details.timeout, named, *given), request)

    intercept_unary_unary = intercept_unary_stream = _name  # type: ignore[assignment]
    intercept_stream_unary = intercept_stream_stream = _name  # type: ignore[assignment]


class _Gate:
    """Makes calls until it is closed: grpc crashes where a call begins on a closed channel.

    What is gRPC's runs apart from the threads that call; see `Apart`.
    """

    def __init__(self, channels: Channels, token: str | None) -> None:
        self._channels = channels
        self._named = _Named(token)
        self._apart = Apart()
        self.closed = False

    def answer(self, method: Method, request: Any, **options: Any) -> Any:
        """Returns the answer of a call, which is cancelled if the wait for it ends before.

        Raises:
            InvalidArgument: if the channel is closed.
            CertificateError: if the certificate that it shows has expired, or was revoked.
            grpc.RpcError: if the call fails.
        """
        outcomes: SimpleQueue[Outcome] = SimpleQueue()

        def begun(call: Any) -> None:
            call.add_done_callback(lambda done: outcomes.put(_outcome(partial(_result, done))))

        with self._open(method, request, options, begun):
            return outcomes.get().get()

    @contextmanager
    def stream(self, method: Method, request: Any, **options: Any) -> Iterator[Iterator[Any]]:
        """Yields the responses of a call, which is cancelled at the end of the block.

        Raises:
            InvalidArgument: if the channel is closed.
            CertificateError: if the certificate that it shows has expired, or was revoked.
        """
        begun = request.attach if isinstance(request, _Feed) else _nothing
        with closing(Apart()) as reading, self._open(method, request, options, begun) as call:
            yield iter(lambda: reading.run(call.next).get(), None)

    @contextmanager
    def _open(
        self, method: Method, request: Any, options: Mapping[str, Any], begun: Callable[[Any], None]
    ) -> Iterator[_Call]:
        """Yields a call that is among the caller's while the block runs, and cancelled at its end."""

        def begin() -> Any:
            if self.closed:
                raise closed()
            intercepted = grpc.intercept_channel(self._channels.current, self._named)
            call = method(intercepted)(request, **options)
            begun(call)
            return call

        with closing(_Call(self._apart)) as call:
            self._apart.run(partial(call.begin, begin))
            with _current.get().having(call):
                yield call

    def close(self) -> None:
        """Lets no call begin any more, and cancels those that run."""
        self.closed = True
        self._apart.run(self._channels.close)


class _Call:
    """A call; gRPC's object for it is touched, and freed, apart from the thread that makes it."""

    def __init__(self, apart: Apart) -> None:
        self._apart = apart
        self._call: Any = None

    def begin(self, begin: Callable[[], Any]) -> None:
        """Begins the call; to be run apart, as `next`."""
        self._call = begin()

    def next(self) -> Outcome:
        """Returns the next response, and None after the last."""
        return _outcome(partial(next, self._call, None))

    def cancel(self) -> None:
        """Has the call cancelled."""
        self._apart.begin(self._cancel)

    def close(self) -> None:
        """Has the call cancelled, and forgotten."""
        self._apart.begin(self._forget)

    def _cancel(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def _forget(self) -> None:
        self._cancel()
        self._call = None


class _Failed(grpc.RpcError):
    """How a call failed, without gRPC's object for it."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self.code: Callable[[], grpc.StatusCode] = partial(_same, call.code())
        self.details: Callable[[], str | None] = partial(_same, call.details())
        self.trailing_metadata: Callable[[], Any] = partial(_same, call.trailing_metadata())


def _same(value: Result) -> Result:
    return value


def _outcome(function: Callable[[], Any]) -> Outcome:
    """Returns what comes of a function of gRPC's; an error is not raised here, for it would hold the call."""
    try:
        return Outcome(function())
    except grpc.RpcError as error:
        return Outcome(error=_Failed(error))


def _result(call: Any) -> Any:
    try:
        return call.result()
    except grpc.FutureCancelledError:
        raise call from None  # an error as any other call's


def _nothing(_call: Any) -> None:
    """Does nothing with a call that has begun."""


def closed() -> InvalidArgument:
    """Returns the error for a call on a vault that is closed."""
    return InvalidArgument("the vault is closed, want one that is open: `blindsight.connect` opens another")


class _Cancellable:
    """A channel on which a call with one answer is among the caller's `Calls`, as streams are."""

    def __init__(self, gate: _Gate) -> None:
        self._gate = gate

    def unary_unary(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        return partial(self._gate.answer, lambda channel: channel.unary_unary(*arguments, **named).future)

    def stream_unary(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        return partial(self._gate.answer, lambda channel: channel.stream_unary(*arguments, **named).future)

    def unary_stream(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        return partial(self._gate.stream, lambda channel: channel.unary_stream(*arguments, **named))

    def stream_stream(self, *arguments: Any, **named: Any) -> Callable[..., Any]:
        return partial(self._gate.stream, lambda channel: channel.stream_stream(*arguments, **named))


class Connection:
    """A connection to a keyholder, with the stubs of its rpcs.

    Args:
        channels: to the keyholder; `close` closes them.
        address: the keyholder's, for messages.
        retry_seconds: how long the keyholder may be away before a call fails.
        away: called whenever the keyholder was away, before the next attempt.
        token: of the caller, which every call shows; None: there is none.
    """

    def __init__(
        self,
        channels: Channels,
        address: str,
        retry_seconds: float,
        away: AwayCallback | None = None,
        token: str | None = None,
    ) -> None:
        self._address = address
        self.away = away
        self._gate = _Gate(channels, token)
        # Stubs ask a channel for its four kinds of calls, and for nothing else.
        named = cast("grpc.Channel", _Cancellable(self._gate))
        # It sets its methods in __init__, unknown to type checkers.
        self.health: Any = HealthStub(named)
        self.keyholder = KeyholderServiceStub(named)
        self.imports = ImportServiceStub(named)
        self.imaging = ImagingServiceStub(named)
        self.tokens = TokenServiceStub(named)
        self.audit = AuditServiceStub(named)
        self.tenants = TenantServiceStub(named)
        self.keys = KeyServiceStub(named)
        self._retry_seconds = retry_seconds

    def backoff(self) -> Backoff:
        """Returns a new backoff, for a call that resets it after each progress."""
        return Backoff(self._retry_seconds)

    def repeat(
        self, attempt: Callable[[], Result], *, safe: bool = True, backoff: Backoff | None = None
    ) -> Result:
        """Makes a call, and repeats it while the keyholder is away; all attempts have one request id.

        Args:
            attempt: makes the call; lets gRPC's errors pass.
            safe: whether the call is idempotent; if not, it is only repeated if it had no effect.
            backoff: the backoff to use; None: a new one.

        Raises:
            BlindsightError: what the keyholder raised, or Unavailable; `metadata` has the request id.
            InvalidArgument: if the connection is closed.
        """
        backoff = backoff or self.backoff()
        with request_id() as name:
            while True:
                try:
                    return attempt()
                except grpc.RpcError as error:
                    again = is_lost(error) if safe else never_began(error)
                    over = self._gate.closed or cancelled()
                    pause = backoff.pause_in_time() if again and not over else None
                    raised = self._raised(error, safe=safe)
                    if pause is None:
                        raised.metadata.setdefault("request_id", name)
                        raise raised from None
                if self.away is not None and isinstance(raised, Unavailable):
                    self.away(raised)
                time.sleep(pause)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Raises gRPC's errors of the block as the keyholder's own, for a call that is made once."""
        try:
            yield
        except grpc.RpcError as error:
            raise self._raised(error, safe=True) from None

    def _raised(self, error: grpc.RpcError, *, safe: bool) -> BlindsightError:
        if nobody_listens(error):
            return nobody(self._address)
        raised = from_rpc_error(error, PEER)
        if type(raised) is Unavailable and not safe and is_lost(error) and not never_began(error):
            return Unavailable(f"{raised.message}; what was asked may have been done or not")
        return raised

    def close(self) -> None:
        """Closes the connection; running calls are cancelled, and later ones raise InvalidArgument."""
        self._gate.close()


def nobody(address: str, **metadata: str) -> Unavailable:
    """Returns the error where no process listens at a keyholder's address, with what to do about it."""
    wanted = "is it started there?"
    if is_loopback(address):
        wanted = "start one with `blindsight up --data DIR`"
        if is_announced(address):
            wanted = "`blindsight up` has not started it yet, try again"
    return Unavailable(f"no keyholder answers at {address}; {wanted}", **metadata)


class _Feed(Generic[Request]):
    """Passes requests to gRPC's sending thread, and keeps an exception that was raised while making one.

    gRPC asks for the next request when its flow control allows one to be sent, so at most one chunk waits
    here.
    """

    def __init__(self, requests: Iterator[Request]) -> None:
        self._requests = requests
        self._call: Any = None
        self._attached = threading.Event()
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        try:
            return next(self._requests)
        except StopIteration:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised in the caller's thread, not lost
            self.error = error
            # The call is cancelled, because a regular end of the stream would look complete to the keyholder.
            self._attached.wait()
            self._call.cancel()
            raise StopIteration from None

    def attach(self, call: Any) -> None:
        self._call = call
        self._attached.set()


def exchange(
    method: Callable[[Iterator[Request]], Any],
    requests: Iterator[Request],
    *,
    expects: type[Response],
) -> Iterator[Response]:
    """Sends a stream of requests, and yields responses while it is still being sent.

    Raises:
        grpc.RpcError: if the call fails; see `Connection`.
        Exception: if making a request fails, with that exception.
    """
    feed = _Feed(requests)
    try:
        yield from answers(method(feed), expects=expects)
    except grpc.RpcError:
        if feed.error is not None:
            raise feed.error from None
        raise


def answers(call: Any, *, expects: type[Response]) -> Iterator[Response]:  # noqa: ARG001 - the type of what is yielded
    """Yields the responses of a call, which is cancelled if they are not read to the end.

    Args:
        call: what a stub returned.
        expects: the type of the responses.

    Raises:
        grpc.RpcError: if the call fails.
    """
    with call as messages:
        yield from messages


def incomplete(what: str) -> DataLoss:
    """Returns the error for a stream that ended without an error, but too early."""
    return DataLoss(f"{PEER} ended the {what} before all of it had come")
