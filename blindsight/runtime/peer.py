"""Connections between services: calls are repeated while a service restarts, and its errors raised here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import grpc
import grpc.aio

from blindsight.errors import BlindsightError, CutOff, Draining, Unavailable
from blindsight.runtime import request_ids
from blindsight.runtime.backoff import RETRY_SECONDS, Backoff
from blindsight.runtime.channels import KEEPALIVE_SECONDS, client_options
from blindsight.runtime.status import from_rpc_error, is_lost

Result = TypeVar("Result")
Call = TypeVar("Call", bound=grpc.aio.Call)


class Peer:
    """A connection to another service.

    Args:
        name: name of the service, for error messages.
        address: HOST:PORT.
        keepalive_seconds: how long the service may be silent before it counts as lost; its calls then end as
            UNAVAILABLE.
        retry_seconds: how long the service may be away before a call to it fails.
    """

    def __init__(
        self,
        name: str,
        address: str,
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._name = name
        self._retry_seconds = retry_seconds
        self.channel = grpc.aio.insecure_channel(address, options=client_options(keepalive_seconds))

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
        backoff = Backoff(self._retry_seconds)
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
        raised = from_rpc_error(error, self._name)
        if isinstance(raised, Draining | CutOff):
            return Unavailable(f"{self._name} does not answer: it is stopping")
        return raised

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Raises gRPC's errors of the block as the BlindsightErrors of `error_of`; for calls made once."""
        try:
            yield
        except grpc.aio.AioRpcError as error:
            raise self.error_of(error) from error

    async def _connected(self, backoff: Backoff) -> None:
        try:
            async with asyncio.timeout(backoff.left_seconds):
                await self.channel.channel_ready()
        except TimeoutError:
            seconds = self._retry_seconds
            raise Unavailable(f"{self._name} does not answer; tried for {seconds:g} seconds") from None

    async def close(self) -> None:
        """Closes the connection."""
        await self.channel.close()


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
