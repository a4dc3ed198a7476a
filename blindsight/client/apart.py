"""A thread for code that an exception in its middle would break."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from contextvars import Context, copy_context
from queue import SimpleQueue
from typing import Any, NamedTuple, TypeVar

Result = TypeVar("Result")


class Outcome(NamedTuple):
    """What came of a function: what it returned, or what it raised."""

    result: Any = None
    error: BaseException | None = None

    @classmethod
    def of(cls, function: Callable[[], Any]) -> Outcome:
        """Returns what comes of a function."""
        try:
            return cls(function())
        except BaseException as error:  # noqa: BLE001 - who waits for it gets it
            return cls(error=error)

    def get(self) -> Any:
        """Returns what was returned, or raises what was raised."""
        if self.error is not None:
            raise self.error
        return self.result


class _Task(NamedTuple):
    context: Context
    function: Callable[[], Any]
    outcomes: SimpleQueue[Outcome]


class Apart:
    """Runs functions in a thread of its own, one after the other.

    Ctrl-C and other signals raise exceptions in the main thread, wherever that is: within gRPC's code, or
    any that uses `threading.Condition`, they are lost, or leave a lock behind that nobody releases.  So the
    main thread waits for this one, by queues whose operations are single steps of the interpreter.
    """

    def __init__(self) -> None:
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        threading.Thread(target=_work, args=(self._tasks,), name="blindsight-calls", daemon=True).start()
        self.close = weakref.finalize(self, self._tasks.put, None)
        """Ends the thread once it has done what it was given."""

    def begin(self, function: Callable[[], Any]) -> SimpleQueue[Outcome]:
        """Has a function run in the caller's context; returns the queue into which its outcome comes."""
        outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._tasks.put(_Task(copy_context(), function, outcomes))
        return outcomes

    def run(self, function: Callable[[], Result]) -> Result:
        """Returns what a function returns, or raises what it raises."""
        result: Result = self.begin(function).get().get()
        return result


def _work(tasks: SimpleQueue[_Task | None]) -> None:
    while (task := tasks.get()) is not None:
        task.outcomes.put(task.context.run(Outcome.of, task.function))
        del task  # and what hangs on it, before the wait for the next
