"""Connections between services: calls are repeated while a service restarts, and its errors raised here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
import grpc.aio

from blindsight.errors import BlindsightError, CutOff, Draining, Unavailable
from blindsight.runtime import request_ids
from blindsight.runtime.backoff import RETRY_SECONDS, Backoff
from blindsight.runtime.channels import KEEPALIVE_SECONDS, client_options
from blindsight.runtime.roles import Role
from blindsight.runtime.status import from_rpc_error, is_lost
from blindsight.runtime.tls import Certificates, Identity, channel_credentials, channel_options

Result = TypeVar("Result")
Call = TypeVar("Call", bound=grpc.aio.Call)
Stub = TypeVar("Stub")


@dataclass(frozen=True, slots=True)
class Connection:
    """How services connect to each other.

    Attributes:
        keepalive_seconds: how long a service may be silent before it counts as lost; its calls then end as
            UNAVAILABLE.
        retry_seconds: how long a service may be away before a call to it fails.
        certificates: what is shown to it, and to nobody but a service of the right role; None: unencrypted.
    """

    keepalive_seconds: float = KEEPALIVE_SECONDS
    retry_seconds: float = RETRY_SECONDS
    certificates: Certificates | None = None


USUAL = Connection()


class Peer(Generic[Stub]):
    """A connection to another service.

    Args:
        role: the service.
        address: HOST:PORT.
        stub: makes the stub of a channel.
        connection: how to connect.
    """

    def __init__(
        self,
        role: Role,
        address: str,
        stub: Callable[[grpc.aio.Channel], Stub],
        connection: Connection = USUAL,
    ) -> None:
        self._role = role
        self._address = address
        self._make = stub
        self._connection = connection
        self._retired: list[grpc.aio.Channel] = []
        self._open(self._identity())

    def _identity(self) -> Identity | None:
        certificates = self._connection.certificates
        return certificates.require_valid() if certificates is not None else None

    def _open(self, identity: Identity | None) -> None:
        self._shown = identity
        options = client_options(self._connection.keepalive_seconds)
        if identity is None:
            self._channel = grpc.aio.insecure_channel(self._address, options=options)
        else:
            options = [*options, *channel_options(self._role)]
            credentials = channel_credentials(identity)
            self._channel = grpc.aio.secure_channel(self._address, credentials, options=options)
        self._stub = self._make(self._channel)

    @property
    def stub(self) -> Stub:
        """The stub, of another connection if this process has another certificate now.

        Raises:
            CertificateError: if it has expired.
        """
        self._renew()
        return self._stub

    def _renew(self) -> None:
        identity = self._identity()
        if identity != self._shown:
            self._retired.append(self._channel)
            self._open(identity)

    async def call(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        """Makes an idempotent call, and repeats it while the service is away or stopping.

        Args:
            attempt: makes the call from its beginning; lets gRPC's errors pass.

        Raises:
            BlindsightError: the error that the service raised, or Unavailable.
        """
        async for trying in self.attempts():
            with trying:
                return await attempt()
        raise AssertionError("the last attempt returns or raises")

    async def attempts(self) -> AsyncIterator[AbstractContextManager[None]]:
        """Yields one context manager per attempt, for calls that keep partial results; break after a success.

        A context manager suppresses gRPC's error if the service went away during the call, and raises any
        other as a BlindsightError.

        Raises:
            Unavailable: if the service does not come back.
        """
        backoff = Backoff(self._connection.retry_seconds)
        while True:
            await self._connected(backoff)
            lost: list[float] = []
            yield self._trying(backoff, lost)
            for pause in lost:
                await asyncio.sleep(pause)

    @contextmanager
    def _trying(self, backoff: Backoff, lost: list[float]) -> Iterator[None]:
        try:
            yield
        except grpc.aio.AioRpcError as error:
            pause = backoff.pause_in_time() if is_lost(error) else None
            if pause is None:
                raise self.error_of(error) from error
            lost.append(pause)

    def error_of(self, error: grpc.RpcError) -> BlindsightError:
        """Returns the exception of a failed call; Draining and CutOff become Unavailable.

        That another service stops must not look to our own caller as if this service did.
        """
        raised = from_rpc_error(error, self._role)
        if isinstance(raised, Draining | CutOff):
            return Unavailable(f"{self._role} does not answer: it is stopping")
        return raised

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raises gRPC's errors of the block as the BlindsightErrors of `error_of`; for calls made once."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self.error_of(error) from error

    async def _connected(self, backoff: Backoff) -> None:
        self._renew()
        # Calls that run end where they began: those of the certificate before the last one have long ended.
        while len(self._retired) > 1:
            await self._retired.pop(0).close()
        try:
            async with asyncio.timeout(backoff.left_seconds):
                await self._channel.channel_ready()
        except TimeoutError:
            what = "does not answer" if self._shown is None else "does not answer, or not to this certificate"
            seconds = self._connection.retry_seconds
            raise Unavailable(f"{self._role} {what}; tried for {seconds:g} seconds") from None

    async def close(self) -> None:
        """Closes the connection."""
        for channel in (self._channel, *self._retired):
            await channel.close()


@contextmanager
def open_call(call: Call) -> Iterator[Call]:
    """Cancels a streaming call when the block ends, even if its answers were not read to the end.

    gRPC alone does not end it: it keeps the call open while there are requests to send.
    """
    try:
        yield call
    finally:
        call.cancel()  # has no effect on a call that is done


def metadata() -> tuple[tuple[str, str], ...]:
    """Returns the metadata that passes the current request id on; empty if there is none."""
    current = request_ids.current.get()
    return ((request_ids.KEY, current),) if current else ()
