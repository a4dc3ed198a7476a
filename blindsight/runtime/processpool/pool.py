"""Several worker processes and the tasks that wait for them."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Future
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from blindsight.errors import Unavailable
from blindsight.runtime.processpool.order import in_order
from blindsight.runtime.processpool.process import Died, Handed, Worker

Result = TypeVar("Result")


# How soon the death of an idle worker is noticed.
_LOOK_SECONDS = 1.0


@dataclass
class _Task:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: Future[Any] = field(default_factory=Future)


class _Place:
    """A worker, or the one that took its place; for one thread, which is their parent."""

    def __init__(self, start: Callable[[], Worker], on_restart: Callable[[], None] | None) -> None:
        self._start = start
        self._on_restart = on_restart
        self._worker: Worker | None = None

    def look(self) -> None:
        """Buries a worker that died while it had nothing to do."""
        if self._worker is not None and self._worker.is_dead():
            self._lose(self._worker)

    def perform(self, task: _Task) -> None:
        try:
            task.future.set_result(self._result(task))
        except BaseException as error:  # noqa: BLE001 - who waits for the task gets it
            task.future.set_exception(error)

    def _result(self, task: _Task) -> Any:
        self.look()
        for _ in range(2):
            worker = self._worker = self._worker or self._start()
            try:
                return worker.run(task.function, task.arguments)
            except Died:
                self._lose(worker)
        raise Unavailable("a worker process died twice over the same task", retry="later")

    def _lose(self, worker: Worker) -> None:
        self._worker = None
        worker.kill()
        if self._on_restart is not None:
            self._on_restart()

    def leave(self) -> None:
        if self._worker is not None:
            self._worker.stop()


class WorkerPool:
    """Runs functions in worker processes, for asyncio callers.  Workers start with their first tasks.

    Args:
        processes: how many workers.
        initializer: runs first in every worker.
        arguments: given to the initializer.
        on_restart: called for each worker that died, from any thread.
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
        self._handed = Handed(arguments)
        self._on_restart = on_restart
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._threads = [
            threading.Thread(target=self._serve, name="worker pool", daemon=True) for _ in range(processes)
        ]
        for thread in self._threads:
            thread.start()

    def __repr__(self) -> str:
        return f"WorkerPool({self.processes})"  # arguments may be secret

    async def run(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """Runs `function(*arguments)` in a worker; repeated once if the worker died.

        Raises:
            Unavailable: when the worker died twice, or the pool is closed.
        """
        task = _Task(function, arguments)
        with self._closing:
            if self._closed:
                raise Unavailable("the workers of this service have been stopped", retry="later")
            self._tasks.put(task)
        return cast("Result", await asyncio.wrap_future(task.future))

    def _serve(self) -> None:
        place = _Place(lambda: Worker(self._initializer, self._handed), self._on_restart)
        while self._serve_one(place):
            pass
        place.leave()

    def _serve_one(self, place: _Place) -> bool:
        """One task, whose data are not kept while the next one is awaited; false at the end."""
        try:
            task = self._tasks.get(timeout=_LOOK_SECONDS)
        except queue.Empty:
            place.look()
            return True
        if task is not None and task.future.set_running_or_notify_cancel():
            place.perform(task)
        return task is not None

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

    async def warm(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Runs `function` once per worker, so that imports and compilation happen before the first task."""
        await asyncio.gather(*(self.run(function, *arguments) for _ in range(self.processes)))

    def close(self) -> None:
        """Stops the workers; running tasks finish, waiting ones are cancelled."""
        with self._closing:
            self._closed = True
        with suppress(queue.Empty):
            while waiting := self._tasks.get_nowait():
                waiting.future.cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        self._handed.close()
