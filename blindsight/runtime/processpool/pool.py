"""Several worker processes and the tasks that wait for them."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from blindsight.errors import Unavailable
from blindsight.runtime import callers, logs
from blindsight.runtime.processpool.answers import WrongAnswer
from blindsight.runtime.processpool.fair import FairQueue
from blindsight.runtime.processpool.forkserver import ForkServer, Setup
from blindsight.runtime.processpool.order import in_order, one_by_one
from blindsight.runtime.processpool.process import WORK, WorkerDied, WorkerProcess
from blindsight.runtime.processpool.task import Compute, Order, Ready, Task, ready

Result = TypeVar("Result")


# Interval at which idle workers are checked for having died.
_LOOK_SECONDS = 1.0


@dataclass
class _Waiting:
    """A task that waits for a worker, and the future of its result."""

    order: Order
    future: Future[tuple[Any, float]] = field(default_factory=Future)


class _Place:
    """A worker and its successors, one at a time; for one thread."""

    def __init__(self, start: Callable[[], WorkerProcess], on_restart: Callable[[], None]) -> None:
        self._start = start
        self._on_restart = on_restart
        self._worker: WorkerProcess | None = None
        self._used = 0.0

    @property
    def idle_seconds(self) -> float:
        """How long the worker has had nothing to do."""
        return time.monotonic() - self._used

    @property
    def empty(self) -> bool:
        """Whether there is no worker now."""
        return self._worker is None

    def look(self) -> None:
        """Cleans up a worker that died while it was idle."""
        if self._worker is not None and self._worker.is_dead():
            self._lose()

    def perform(self, waiting: _Waiting) -> None:
        try:
            waiting.future.set_result(self._result(waiting.order))
        except BaseException as error:  # noqa: BLE001 - raised again where the result is awaited
            # Frames of this thread hold the task, and the future would hold them: such a ring is not freed
            # when it is no longer used.  What happened in the worker stands in the error's notes.
            waiting.future.set_exception(error.with_traceback(None))
        self._used = time.monotonic()

    def _result(self, order: Order) -> tuple[Any, float]:
        self.look()
        wrong = why = ""
        for _ in range(2):
            try:
                self._worker = self._worker or self._start()
                return self._worker.run(order)
            except WorkerDied as error:
                self._lose()
                why = str(error)
            except WrongAnswer as error:
                self._lose()
                wrong = str(error)
                break
        if wrong:
            logs.get().error("worker_answer_refused", why=wrong)
            raise Unavailable(
                f"a worker process gave an answer that its task cannot have, and was ended: {wrong}"
            )
        if why:
            raise Unavailable(f"no worker process starts: {why}")
        raise Unavailable("a worker process died twice over the same task", retry="later")

    def _lose(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
        self._on_restart()

    def leave(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()


class WorkerPool:
    """Runs tasks in worker processes, for asyncio callers, of all tenants in turn.

    Workers start with their first tasks.

    Args:
        processes: number of workers.
        compute: name of the function of each type of task, imported by workers only.
        start: first task of every worker, which alone learns what secrets it holds.
        on_restart: called for each worker that died or was ended, from any thread.
        prepare: task of the process that forks the workers, before the first one; it must hold no secret.
        beside: a pool with the same table, whose fork server forks these workers too; close it later.
        seconds: how long a task may take before its worker counts as dead; None for any time.
        idle_seconds: a worker that has nothing to do for so long ends; None: it stays.

    Attributes:
        restarts: number of workers that died so far, each with what its tasks had left in its memory.
    """

    def __init__(
        self,
        processes: int,
        compute: Compute,
        start: Task[None] | None = None,
        on_restart: Callable[[], None] | None = None,
        prepare: Task[None] | None = None,
        beside: WorkerPool | None = None,
        seconds: float | None = None,
        idle_seconds: float | None = None,
    ) -> None:
        self.processes = processes
        self.restarts = 0
        self._compute: Compute = {Ready: f"{ready.__module__}:{ready.__name__}", **compute}
        prepared = None if prepare is None else self._order(prepare)
        self._beside = beside
        self._server: ForkServer = (
            beside._server if beside else ForkServer(Setup.of(WORK, self._compute, prepared))
        )
        self._first = self._order(start or Ready())
        self._seconds = seconds
        self._idle_seconds = idle_seconds
        self._on_restart = on_restart
        self._tasks: FairQueue[_Waiting | None] = FairQueue()
        self._closing, self._counting = threading.Lock(), threading.Lock()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name="worker pool", daemon=True) for _ in range(processes)
        ]
        for thread in self._threads:
            thread.start()

    def __repr__(self) -> str:
        return f"WorkerPool({self.processes})"

    @property
    def at_once(self) -> int:
        """The number of tasks of one caller that keeps all workers busy: one each, and one in the queue."""
        return self.processes + 1

    def _order(self, task: Task[Any]) -> Order:
        return self._compute[type(task)], task

    async def run(self, task: Task[Result]) -> Result:
        """Runs a task in a worker, and repeats it once if the worker died.

        Raises:
            Unavailable: if the worker died twice, or gave an answer that the task cannot have and was
                replaced, or the pool is closed.
            WorkerError: if the task raised what is not one of Blindsight's errors.
        """
        return (await self.timed(task))[0]

    async def timed(self, task: Task[Result]) -> tuple[Result, float]:
        """Runs a task like `run`; returns its result, and the seconds that the worker computed.

        Raises:
            Unavailable: see `run`.
        """
        waiting = _Waiting(self._order(task))
        with self._closing:
            if self._closed:
                raise Unavailable("the workers of this service have been stopped", retry="later")
            self._tasks.put(callers.tenant.get(), waiting)
        done = asyncio.wrap_future(waiting.future)
        del waiting  # its future would hold an error, and the error this frame
        try:
            return await done
        finally:
            del done

    def _serve(self) -> None:
        place = _Place(lambda: WorkerProcess(self._server, self._first, self._seconds), self._lost)
        while self._serve_one(place):
            pass
        place.leave()

    def _lost(self) -> None:
        with self._counting:
            self.restarts += 1
        if self._on_restart is not None:
            self._on_restart()

    def _serve_one(self, place: _Place) -> bool:
        """Runs one task; returns false at the end.

        It is a method of its own so that no local variable keeps the task's data during the next wait.
        """
        try:
            waiting = self._tasks.get(timeout=None if place.empty else _LOOK_SECONDS)
        except queue.Empty:
            place.look()
            if self._idle_seconds is not None and place.idle_seconds >= self._idle_seconds:
                place.leave()
            return True
        if waiting is not None and waiting.future.set_running_or_notify_cancel():
            place.perform(waiting)
        return waiting is not None

    async def map(
        self, tasks: Iterable[Task[Result]] | AsyncIterable[Task[Result]]
    ) -> AsyncGenerator[tuple[Result, float], None]:
        """Runs tasks, and yields results and seconds in order; close the generator to give up the rest.

        At most `at_once` tasks are submitted at a time, so that other callers' tasks run between them.

        Raises:
            Unavailable: see `run`.
        """
        async with aclosing(in_order(self._works(tasks), self.at_once)) as results:
            async for result in results:
                yield result

    async def _works(
        self, tasks: Iterable[Task[Result]] | AsyncIterable[Task[Result]]
    ) -> AsyncGenerator[Coroutine[Any, Any, tuple[Result, float]], None]:
        async for task in one_by_one(tasks):
            yield self.timed(task)

    async def warm(self, task: Task[Any] | None = None) -> None:
        """Runs a task as often as there are workers, so that they import and compile before real work."""
        await asyncio.gather(*(self.run(task or Ready()) for _ in range(self.processes)))

    def close(self) -> None:
        """Stops the workers; running tasks finish, waiting ones are cancelled."""
        with self._closing:
            self._closed = True
        with suppress(queue.Empty):
            while waiting := self._tasks.get(timeout=0):
                waiting.future.cancel()
        for _ in self._threads:
            self._tasks.put("", None)
        for thread in self._threads:
            thread.join()
        if self._beside is None:
            self._server.close()
