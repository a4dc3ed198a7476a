"""Expendable worker processes: native code runs there, and may die there.

A pool wraps the standard library's executor.  When a worker dies, the executor is broken as a
whole; the pool makes a new one and runs the interrupted tasks once more, so tasks must be safe to
repeat (they are computations).  A task that kills its worker twice is reported as unavailable.
"""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import aclosing
from multiprocessing import reduction
from typing import Any, TypeVar, cast

from blindsight.errors import Unavailable

Result = TypeVar("Result")

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies, so that none is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_sigterm() -> None:
    """Ends this process at SIGTERM while it starts, too; a server that serves drains instead.

    Process 1, as a service is in a container, gets no signal that it does not handle.  Nothing is cleaned
    up: an exception out of nowhere, in the middle of gRPC's start, ends in its native code.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


class _Handed:
    """Arguments for new workers, in memory that they inherit.

    The standard library would write them into a pipe of 64 KiB.  A worker that is killed before it has read
    them leaves this process waiting for ever, for it holds the reading end of that pipe itself.
    """

    def __init__(self, arguments: tuple[Any, ...]) -> None:
        self._descriptor = os.memfd_create("arguments", os.MFD_CLOEXEC)
        with os.fdopen(self._descriptor, "wb", closefd=False) as file:
            pickle.dump(arguments, file)

    def __reduce__(self) -> tuple[Callable[[Any], tuple[Any, ...]], tuple[Any]]:
        return _taken, (reduction.DupFd(self._descriptor),)

    def close(self) -> None:
        """Gives the memory back; no worker can be started any more."""
        os.close(self._descriptor)


def _taken(inherited: Any) -> tuple[Any, ...]:
    descriptor = inherited.detach()
    try:
        arguments: tuple[Any, ...] = pickle.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))  # noqa: S301
    finally:
        os.close(descriptor)
    return arguments


def _start(initializer: Callable[..., None] | None, arguments: tuple[Any, ...]) -> None:
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # it died before the kernel was asked
    # Ctrl-C reaches the whole process group; the service drains, its workers finish what they have.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if initializer is not None:
        initializer(*arguments)


class WorkerPool:
    """Runs functions in worker processes, for asyncio callers.

    Args:
        processes: how many workers.
        initializer: runs first in every worker.
        arguments: given to the initializer.
        on_restart: called each time that a dead pool was replaced.
    """

    def __init__(
        self,
        processes: int,
        initializer: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
        on_restart: Callable[[], None] | None = None,
    ) -> None:
        self.processes = processes
        self._initializer = initializer
        self._handed = _Handed(arguments)
        self._on_restart = on_restart
        self._executor = self._make()

    def __repr__(self) -> str:
        return f"WorkerPool({self.processes})"  # arguments may be secret

    def _make(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.processes,
            # A fork would copy gRPC's threads and locks in whatever state they are.
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start,
            initargs=(self._initializer, cast("tuple[Any, ...]", self._handed)),
        )

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs `function(*arguments)` in a worker; repeated once if the worker died.

        Raises:
            Unavailable: when the worker died twice.
        """
        for _ in range(2):
            executor = self._executor
            try:
                future = executor.submit(function, *arguments)
                return await asyncio.wrap_future(future)
            except BrokenProcessPool:
                self._replace(executor)
        raise Unavailable("a worker process died twice over the same task", retry="later")

    async def map(
        self, function: Callable[..., Result], arguments: Iterable[tuple[Any, ...]]
    ) -> AsyncGenerator[Result, None]:
        """Runs `function(*one)` for each, and yields results in this order; close it to give up the rest.

        Few are handed over at a time, so that other work of the pool takes its turn between them.

        Raises:
            Unavailable: see `run`.
        """
        work = (self.run(function, *one) for one in arguments)
        async with aclosing(in_order(work, self.processes + 1)) as results:
            async for result in results:
                yield result

    def _replace(self, broken: ProcessPoolExecutor) -> None:
        if self._executor is not broken:
            return  # another task already did
        self._executor = self._make()
        broken.shutdown(wait=False)
        if self._on_restart is not None:
            self._on_restart()

    async def warm(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Runs `function` once per worker, so that imports and compilation happen before the first task."""
        await asyncio.gather(*(self.run(function, *arguments) for _ in range(self.processes)))

    def close(self) -> None:
        """Stops the workers; running tasks finish, waiting ones are cancelled."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        self._handed.close()


async def in_order(
    works: Iterable[Coroutine[Any, Any, Result]] | AsyncIterable[Coroutine[Any, Any, Result]], at_once: int
) -> AsyncGenerator[Result, None]:
    """Runs works, `at_once` of them, and yields their results in order; close it to give up the rest."""
    running: deque[asyncio.Task[Result]] = deque()
    try:
        async for work in _one_by_one(works):
            running.append(asyncio.create_task(work))
            if len(running) >= at_once:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _one_by_one(works: Iterable[Result] | AsyncIterable[Result]) -> AsyncIterator[Result]:
    if isinstance(works, AsyncIterable):
        async for work in works:
            yield work
    else:
        for work in works:
            yield work
