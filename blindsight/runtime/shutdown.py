"""Shutdown of a process: SIGTERM begins it, a second one hurries it, and a deadline bounds it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

from blindsight.runtime import logs

# Time after the deadline of running calls, to close worker processes, files and connections.
CLOSING_SECONDS = 4.0


class Shutdown:
    """Handles SIGTERM and SIGINT; create it in the event loop that is to end.

    A process that still runs `CLOSING_SECONDS` after its deadline ends at once, as if by SIGKILL, which every
    service survives without loss; its worker processes end with it.

    Args:
        drain_seconds: time from the first signal to the deadline.

    Attributes:
        begun: set once it has begun.
        signalled: whether a signal has come.
    """

    def __init__(self, drain_seconds: float) -> None:
        self._drain_seconds = drain_seconds
        self.begun = asyncio.Event()
        self._hurried = asyncio.Event()
        self.signalled = False
        self._deadline = 0.0
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._signalled)

    def begin(self) -> None:
        """Begins what a signal begins, but for the end of the process."""
        if not self.begun.is_set():
            self._deadline = self._loop.time() + self._drain_seconds
            self.begun.set()

    def _signalled(self) -> None:
        self.signalled = True
        if not self.begun.is_set():
            self._deadline = self._loop.time() + self._drain_seconds
            self.begun.set()
            _end_after(self._drain_seconds + CLOSING_SECONDS)
        elif not self._hurried.is_set():
            logs.get().warning("hurried")
            self._hurried.set()
            _end_after(CLOSING_SECONDS)

    @property
    def overdue(self) -> bool:
        """Whether the deadline has passed, or a second signal has come."""
        return self._hurried.is_set() or (self.begun.is_set() and self._loop.time() >= self._deadline)

    async def wait_for(self, done: asyncio.Event) -> bool:
        """Waits for an event until the deadline or a second signal; returns whether the event is set."""
        waiting = {asyncio.create_task(one.wait()) for one in (done, self._hurried)}
        left = max(0.0, self._deadline - self._loop.time())
        await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            task.cancel()
        return done.is_set()


def _end_after(seconds: float) -> None:
    # In a thread, so that the process ends even if its event loop is stuck.
    timer = threading.Timer(seconds, _end)
    timer.daemon = True
    timer.start()


def _end() -> None:
    logs.get().error("overdue")
    os._exit(1)
