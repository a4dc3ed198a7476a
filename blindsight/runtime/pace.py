"""The limit of a call's silence: it may take as long as it likes, as long as something moves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any, TypeVar

import grpc.aio

from blindsight.errors import Unavailable

Result = TypeVar("Result")


class Pace:
    """Ends the waiting for a service that answers pings, and nothing else.

    A deadline of the whole call would have to allow for the largest transfer over the slowest line.

    Args:
        name: name of the service, for the message.
        seconds: longest time in which nothing is taken or sent.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._sent = 0

    async def sending(self, requests: AsyncIterator[Result]) -> AsyncIterator[Result]:
        """Yields requests; each that the service takes is a sign of life."""
        async for request in requests:
            yield request
            self._sent += 1

    async def reading(self, call: Any) -> AsyncIterator[Any]:
        """Yields the messages of a streaming call, which must not be read in any other way.

        Raises:
            Unavailable: if the service is silent for too long.
        """
        while (message := await self.wait(call.read())) is not grpc.aio.EOF:
            yield message

    async def wait(self, answer: Awaitable[Result]) -> Result:
        """Waits for an answer while requests are taken.

        Raises:
            Unavailable: if the service is silent for too long.
        """
        waiting = asyncio.ensure_future(answer)
        try:
            while True:
                sent = self._sent
                await asyncio.wait({waiting}, timeout=self._seconds)
                if waiting.done():
                    return waiting.result()
                if sent == self._sent:
                    raise Unavailable(f"{self._name} has been silent for {self._seconds:g} s", retry="later")
        finally:
            waiting.cancel()
