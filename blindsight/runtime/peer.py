"""A service, as another service calls it: found again when it restarts, its errors raised as ours."""

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
    """One service.

    Args:
        name: for messages.
        address: HOST:PORT.
        keepalive_seconds: a service that is silent for so long is lost; its calls end as UNAVAILABLE.
        retry_seconds: how long it may be away before a call of it fails.
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
        """Makes a call that may be made twice; again while the peer is away, or about to stop.

        Args:
            attempt: makes it from its beginning; lets gRPC's errors pass.

        Raises:
            BlindsightError: what the peer raised, or Unavailable.
        """
        async for trying in self.attempts():
            with trying:
                return await attempt()
        raise AssertionError("the last attempt returns or raises")

    async def attempts(self) -> AsyncIterator[AbstractContextManager[None]]:
        """One context after the other, for calls of which something is kept: leave the loop when one worked.

        A context swallows gRPC's error when the peer went away during the call, and raises any other as ours.

        Raises:
            Unavailable: when the peer does not come back.
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
        """What a failed call stands for; that the peer stops is no news for whoever called us."""
        raised = from_rpc_error(error, self._name)
        if isinstance(raised, Draining | CutOff):
            return Unavailable(f"{self._name} does not answer: it is stopping")
        return raised

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Around a call that is made once: what the peer raised becomes what it stands for."""
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
    """A stream whose answers are read in the block; it ends with the block, though nobody read on.

    gRPC alone does not end it: while there are requests to send, it keeps the call for them.
    """
    try:
        yield call
    finally:
        call.cancel()  # nothing, for a call that is done


def metadata() -> tuple[tuple[str, str], ...]:
    """Carries the request id on, where there is one."""
    current = request_ids.current.get()
    return ((request_ids.KEY, current),) if current else ()
