"""Runs a blocking store for asyncio: one thread writes, a few read, the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, ParamSpec, TypeVar

from blindsight.errors import Unavailable

Given = ParamSpec("Given")
Result = TypeVar("Result")
Part = TypeVar("Part")

_READERS = 4


class Threads:
    """The threads of one store.

    Args:
        read_streams: snapshots that may be open at a time; more of them wait.
        stall_seconds: a snapshot whose client reads nothing for this long is closed, because the store
            cannot free anything that an open snapshot sees.
    """

    def __init__(self, read_streams: int, stall_seconds: float) -> None:
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._readers = ThreadPoolExecutor(_READERS, thread_name_prefix="reader")
        self._turns = asyncio.Semaphore(read_streams)
        self._stall_seconds = stall_seconds

    async def write(
        self, function: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        """Runs a write, one at a time, in the order of the calls."""
        return await asyncio.wrap_future(self._writer.submit(function, *args, **kwargs))

    async def read(
        self, function: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs
    ) -> Result:
        """Runs a read, or any other work that would block the event loop."""
        return await asyncio.wrap_future(self._readers.submit(function, *args, **kwargs))

    async def stream(self, parts: Generator[Part, None, None]) -> AsyncGenerator[Part, None]:
        """Yields the parts of a snapshot as fast as the client reads them, and closes it in any case.

        Raises:
            Unavailable: if the client read nothing for too long.
        """
        await self._turns.acquire()
        snapshot = _Snapshot(parts, self._turns.release)
        loop = asyncio.get_running_loop()
        try:
            while (step := await self.read(snapshot.step)) is not None:
                stall = loop.call_later(self._stall_seconds, self._end, snapshot)
                yield step[0]
                stall.cancel()
        finally:
            self._end(snapshot)

    def _end(self, snapshot: _Snapshot[Part]) -> None:
        """Closes a snapshot; its slot is free for the next at once, even if the client never reads again."""
        snapshot.give_up_turn()
        self._readers.submit(snapshot.close)

    def close(self) -> None:
        """Waits until running work is done, and ends the threads."""
        self._writer.shutdown()
        self._readers.shutdown()


class _Snapshot(Generic[Part]):
    """A generator that one thread advances and another may close."""

    def __init__(self, parts: Generator[Part, None, None], release: Callable[[], None]) -> None:
        self._parts = parts
        self._release: Callable[[], None] | None = release
        self._lock = threading.Lock()
        self._closed = False

    def step(self) -> tuple[Part] | None:
        with self._lock:
            if self._closed:
                raise Unavailable("nothing was read from the stream for too long, read it again")
            for part in self._parts:
                return (part,)
            return None

    def close(self) -> None:
        with self._lock:
            self._closed = True
            self._parts.close()

    def give_up_turn(self) -> None:
        """Frees the slot at the first call; only the event loop calls it."""
        release, self._release = self._release, None
        if release is not None:
            release()
