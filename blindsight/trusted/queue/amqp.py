"""Connections to a RabbitMQ broker; each is owned by one thread, which reconnects when it is lost."""

from __future__ import annotations

import logging
import random
import ssl
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, InvalidStateError
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pika
from pika import exceptions as amqp
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection

from blindsight.errors import BlindsightError, InvalidArgument, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.addresses import is_loopback
from blindsight.runtime.roles import Role

if TYPE_CHECKING:
    from blindsight.runtime.tls import Certificates

Result = TypeVar("Result")

LOST = (amqp.AMQPError, OSError)
"""The exceptions that pika raises for a connection or a channel that is gone."""

_TLS_FILES = ("cafile", "certfile", "keyfile")
_PORTS = {"amqp": 5672, "amqps": 5671}
_CONNECT_SECONDS = 10
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 0.1, 5.0
_CLOSE_SECONDS = 5
_ACCESS_REFUSED, _PRECONDITION_FAILED, _NOT_ALLOWED = 403, 406, 530

# Connection errors of pika are raised or logged here, in one line and without pika's traceback.
logging.getLogger("pika").setLevel(logging.CRITICAL)


class Broker:
    """The address and credentials of a broker; the password is never shown.

    Args:
        url: `amqp://USER:PASSWORD@HOST:PORT/VHOST` on this machine; `amqps` for TLS, with `?cafile=PATH` for
            a private certificate authority, `certfile` and `keyfile` for a client certificate.
        silence_seconds: the heartbeat timeout, after which either side considers the other dead.
        answer_seconds: a publisher blocked by a broker that is short of memory or disk gets an error by then.
        certificates: what is shown to an `amqps` broker, which must be the vault's, if the URL names no
            files; None: nothing, and the broker's is to be of an authority that this machine trusts.

    Raises:
        InvalidArgument: if the URL is malformed, its files are not certificates, or a password would go over
            a network unencrypted.
        CertificateError: if the certificate has expired, or was revoked.
    """

    def __init__(
        self, url: str, silence_seconds: int, answer_seconds: float, certificates: Certificates | None = None
    ) -> None:
        parts, port = _split(url)
        self.address = f"{parts.hostname}:{port}"
        self._vhost = unquote(parts.path[1:]) or "/"
        self._user = unquote(parts.username or "guest")
        self._tls = _tls(parts, certificates)
        self._tls()  # says now what is wrong with the files
        self._connect = partial(
            pika.ConnectionParameters,
            host=parts.hostname,
            port=port,
            virtual_host=self._vhost,
            credentials=pika.PlainCredentials(self._user, unquote(parts.password or "guest")),
            heartbeat=silence_seconds,
            blocked_connection_timeout=answer_seconds / 2,
            socket_timeout=_CONNECT_SECONDS,
            stack_timeout=_CONNECT_SECONDS,
            client_properties={"product": "blindsight"},
        )

    def __repr__(self) -> str:
        return f"Broker({self.address})"

    def dial(self) -> BlockingConnection:
        """Opens a new connection, with the newest certificate; raises one of `LOST` if that fails."""
        try:
            options = self._tls()
        except BlindsightError as error:
            raise ConnectionError(error.message) from error
        return BlockingConnection(self._connect(ssl_options=options))

    @contextmanager
    def explaining(self) -> Iterator[None]:
        """Translates pika's errors into ours while the block runs."""
        try:
            yield
        except LOST as error:
            raise self.explained(error) from error

    def explained(self, error: BaseException) -> BlindsightError:
        """Returns our error for one of `LOST`."""
        code = getattr(error, "reply_code", 0)
        if isinstance(error, amqp.ProbableAuthenticationError) or (
            isinstance(error, amqp.ConnectionClosed) and code == _ACCESS_REFUSED
        ):
            return InvalidArgument(
                f"the broker {self.address} refuses user {self._user}: wrong name or password"
            )
        if isinstance(error, amqp.ProbableAccessDeniedError) or code == _NOT_ALLOWED:
            return InvalidArgument(
                f"the broker {self.address} has no virtual host {self._vhost} for user {self._user}"
            )
        if code in (_ACCESS_REFUSED, _PRECONDITION_FAILED):
            return InvalidArgument(f"the broker {self.address} refuses: {_line(error)}")
        if isinstance(error, amqp.ConnectionBlockedTimeout):
            return Unavailable(f"the broker {self.address} is short of memory or disk and takes nothing")
        return Unavailable(f"the broker {self.address} does not answer: {_line(error)}")


def _split(url: str) -> tuple[SplitResult, int]:
    try:
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
    except ValueError as error:
        raise InvalidArgument("the broker's URL has no valid port") from error
    # An unescaped slash in the password would split it, and its parts would be shown as host and path.
    if not parts.hostname or set("/@") & set(parts.path[1:]) or parts.fragment:
        raise InvalidArgument("the broker's URL is not of the form amqp://USER:PASSWORD@HOST:PORT/VHOST")
    return parts, port


def _tls(parts: SplitResult, certificates: Certificates | None) -> Callable[[], pika.SSLOptions | None]:
    """Returns what reads the certificates for a connection."""
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    allowed = _TLS_FILES if parts.scheme == "amqps" else ()
    if not set(given) <= set(allowed):
        # The setting is not shown: it may be the end of a password that has a question mark.
        wanted = ", ".join(_TLS_FILES)
        raise InvalidArgument(f"the broker's URL has an unknown setting; amqps takes {wanted}, amqp none")
    if parts.scheme != "amqps":
        if not is_loopback(f"{parts.hostname}:0"):
            where = f"the broker {parts.hostname} is not on this machine"
            raise InvalidArgument(f"{where}, and amqp:// is not encrypted: want amqps://")
        return lambda: None
    if certificates is not None and not given:
        return lambda: pika.SSLOptions(certificates.client_context(), Role.QUEUE.value)
    return partial(_of_files, given, str(parts.hostname))


def _of_files(given: Mapping[str, str], host: str) -> pika.SSLOptions:
    try:
        context = ssl.create_default_context(cafile=given.get("cafile"))
        if "certfile" in given:
            context.load_cert_chain(given["certfile"], given.get("keyfile"))
    except OSError as error:
        raise InvalidArgument(f"the certificate files of the broker's URL: {_line(error)}") from error
    return pika.SSLOptions(context, host)


def _line(error: BaseException) -> str:
    """Returns the innermost reason, in one line."""
    while (
        isinstance(error, amqp.AMQPConnectionError)
        and error.args
        and isinstance(error.args[0], BaseException)
    ):
        error = error.args[0]
    nested = getattr(error, "exception", None)
    if isinstance(nested, BaseException):
        return _line(nested)
    text = str(getattr(error, "reply_text", "") or getattr(error, "strerror", "") or error)
    return (text or type(error).__name__).splitlines()[0]


@dataclass(slots=True, eq=False)
class _Work(Generic[Result]):
    function: Callable[[BlockingChannel], Result]
    repeats: bool  # runs again after a reconnect; otherwise it belongs to one connection
    future: Future[Result] = field(default_factory=Future)
    trouble: BlindsightError | None = None  # the last error that interrupted it

    def fail(self, error: BaseException) -> None:
        """Passes an error to the caller, if it still waits."""
        with suppress(InvalidStateError):
            self.future.set_exception(error)

    def run(self, channel: BlockingChannel) -> None:
        """Runs the function; raises one of `LOST` if the connection or channel is lost."""
        try:
            result = self.function(channel)
        except BlindsightError as error:
            self.fail(error)
            return
        except amqp.ChannelClosedByBroker as error:
            if error.reply_code == _PRECONDITION_FAILED:
                # The broker would refuse every retry, too.
                self.fail(InvalidArgument(f"the broker refuses: {_line(error)}"))
            raise
        with suppress(InvalidStateError):
            self.future.set_result(result)


class Link:
    """One connection, the thread that owns it, and the calls that wait for it.

    The thread answers heartbeats whatever callers do.  It reconnects with exponential backoff and jitter,
    so that a broker that comes back is not hit by all its clients at once.

    Args:
        broker: the broker to connect to.
        prepare: opens the channel on a new connection.
        lost: called in the thread when a connection is lost.

    Raises:
        BlindsightError: if the first connection cannot be made.
    """

    def __init__(
        self,
        broker: Broker,
        prepare: Callable[[BlockingConnection], BlockingChannel],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._broker = broker
        self._prepare = prepare
        self._lost = lost
        self._turn = threading.Lock()
        self._closing = threading.Event()
        self._waiting: deque[_Work[Any]] = deque()
        self._connection: BlockingConnection | None = None
        self.trouble: BlindsightError | None = None
        with broker.explaining():
            connection, channel = self._connect()
        self._thread = threading.Thread(
            target=self._run, args=(connection, channel), name="queue-connection", daemon=True
        )
        self._thread.start()

    def _connect(self) -> tuple[BlockingConnection, BlockingChannel]:
        connection = self._broker.dial()
        try:
            return connection, self._prepare(connection)
        except BaseException:
            _close(connection)
            raise

    def call(self, function: Callable[[BlockingChannel], Result], seconds: float) -> Result:
        """Runs a function in the thread, and again after a lost connection, so it must be idempotent.

        Raises:
            Unavailable: if there was no connection or no answer within `seconds`.
            InvalidArgument: if the broker refuses the connection or the call.
        """
        work: _Work[Result] = _Work(function, repeats=True)
        self._submit(work)
        try:
            return work.future.result(seconds)
        except TimeoutError:
            self._give_up(work)
            trouble = work.trouble or self.trouble
            if trouble is not None:
                raise type(trouble)(trouble.message) from None
            message = f"the broker {self._broker.address} does not answer: nothing came for {seconds:g} s"
            raise Unavailable(message) from None

    def _give_up(self, work: _Work[Any]) -> None:
        """Drops work that no caller waits for any more, so that its bytes do not stay in memory."""
        work.future.cancel()
        with self._turn, suppress(ValueError):
            self._waiting.remove(work)

    def call_once(self, function: Callable[[BlockingChannel], Result]) -> Result | None:
        """Runs a function in the thread on the current connection; returns None if that gets lost."""
        work: _Work[Result] = _Work(function, repeats=False)
        try:
            self._submit(work)
            return work.future.result()
        except Unavailable:
            return None

    def _submit(self, work: _Work[Any]) -> None:
        with self._turn:
            if self._closing.is_set():
                raise Unavailable("the queue is closed")
            if self._connection is None and not work.repeats:
                work.fail(Unavailable("the connection is lost"))
                return
            self._waiting.append(work)
        self._wake()

    def _wake(self) -> None:
        with self._turn, suppress(*LOST):
            if self._connection is not None:
                self._connection.add_callback_threadsafe(lambda: None)

    def _run(self, connection: BlockingConnection, channel: BlockingChannel) -> None:
        try:
            while True:
                try:
                    self._serve(connection, channel)
                    return
                except LOST as error:
                    self._note(error)
                finally:
                    self._forget(connection)
                again = self._reconnect()
                if again is None:
                    return
                connection, channel = again
        finally:
            self._closing.set()
            self._fail(lambda _: True, Unavailable("the queue is closed"))

    def _serve(self, connection: BlockingConnection, channel: BlockingChannel) -> None:
        """Runs callers' functions and handles the broker's messages until the link is closed."""
        with self._turn:
            self._connection, self.trouble = connection, None
        while not self._closing.is_set():
            while (work := self._next()) is not None:
                self._do(work, channel)
            connection.process_data_events(time_limit=None)

    def _next(self) -> _Work[Any] | None:
        with self._turn:
            return self._waiting.popleft() if self._waiting else None

    def _do(self, work: _Work[Any], channel: BlockingChannel) -> None:
        try:
            work.run(channel)
        except LOST as error:
            work.trouble = self._broker.explained(error)
            with self._turn:
                if not work.future.done():
                    self._waiting.appendleft(work)
            raise

    def _note(self, error: BaseException) -> None:
        trouble = self._broker.explained(error)
        if self.trouble is None:
            logs.get().warning("queue_connection_lost", broker=self._broker.address, error=trouble.message)
        self.trouble = trouble

    def _forget(self, connection: BlockingConnection) -> None:
        with self._turn:
            self._connection = None
        self._lost()
        self._fail(lambda work: not work.repeats, Unavailable("the connection is lost"))
        _close(connection)

    def _fail(self, which: Callable[[_Work[Any]], bool], error: BlindsightError) -> None:
        with self._turn:
            failed = [work for work in self._waiting if which(work)]
            self._waiting = deque(work for work in self._waiting if not which(work))
        for work in failed:
            work.fail(error)

    def _reconnect(self) -> tuple[BlockingConnection, BlockingChannel] | None:
        """Returns a new connection, or None if the link is closed first."""
        longest = _FIRST_WAIT_SECONDS
        while not self._closing.wait(longest * random.uniform(0.5, 1)):
            longest = min(2 * longest, _LONGEST_WAIT_SECONDS)
            try:
                made = self._connect()
            except LOST as error:
                self._note(error)
            else:
                logs.get().info("queue_connection_made", broker=self._broker.address)
                return made
        return None

    def close(self) -> None:
        """Closes the connection; the broker delivers its unacknowledged messages to others."""
        self._closing.set()
        self._wake()
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_SECONDS)


def _close(connection: BlockingConnection) -> None:
    with suppress(*LOST):
        if connection.is_open:
            connection.close()
