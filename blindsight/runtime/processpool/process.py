"""One worker process, and the socket between it and the process that started it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from blindsight.runtime.processpool.task import Task, function_of
from blindsight.runtime.signals import die_with_parent

# A worker that was told to end, and does not, is killed.
_STOP_SECONDS = 10


# A task, and the name of its function.
Order = tuple[str, Task[Any]]


class Handed:
    """The first order of new workers, in memory that they inherit.

    The standard library would write them into a pipe of 64 KiB.  A worker that is killed before it has read
    them leaves this process waiting for ever, for it holds the reading end of that pipe itself.
    """

    def __init__(self, order: Order) -> None:
        self._descriptor = os.memfd_create("order", os.MFD_CLOEXEC)
        with os.fdopen(self._descriptor, "wb", closefd=False) as file:
            pickle.dump(order, file)

    def __reduce__(self) -> tuple[Callable[[Any], Order], tuple[Any]]:
        return _taken, (reduction.DupFd(self._descriptor),)

    def close(self) -> None:
        """Gives the memory back; no worker can be started any more."""
        os.close(self._descriptor)


def _taken(inherited: Any) -> Order:
    descriptor = inherited.detach()
    try:
        order: Order = pickle.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))  # noqa: S301
    finally:
        os.close(descriptor)
    return order


def _work(connection: Connection, first: Order) -> None:
    """What a worker process does, until this side closes the connection."""
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # it died before the kernel was asked
    # Ctrl-C reaches the whole process group; the service drains, its workers finish what they have.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name, task = first
    function_of(name)(task)
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_outcome(connection.recv_bytes()))


def _dumps(value: object) -> memoryview:
    """Pickles for another process; `bytes` of it would be one copy more."""
    return reduction.ForkingPickler.dumps(value)


def _outcome(request: bytes) -> memoryview:
    """Runs a pickled order; pickled: its result or what it raised, and the seconds of a result."""
    try:
        name, task = pickle.loads(request)  # noqa: S301 - of the process that started this one
        del request  # a result may need the memory
        function = function_of(name)
        started = time.perf_counter()
        result = function(task)
        return _dumps((result, time.perf_counter() - started))
    except BaseException as error:  # noqa: BLE001 - who waits for the task gets it
        error.add_note("in a worker process:\n" + traceback.format_exc())
        try:
            return _dumps((error, None))
        except Exception:  # noqa: BLE001 - pickling fails in many ways
            unknown = RuntimeError(f"a {type(error).__name__} that cannot be sent from a worker")
            return _dumps((unknown, None))


class WorkerDied(Exception):
    """A worker process is no more."""


class WorkerProcess:
    """A worker process, for the thread that makes it.

    That thread must live as long: for the kernel it is the parent, without which the process dies.

    Args:
        first: what it does first.
    """

    def __init__(self, first: Handed) -> None:
        # A fork would copy gRPC's threads and locks in whatever state they are.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, first), daemon=True)
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()  # so that nobody holds this end when the process has died

    def run(self, order: Order) -> tuple[Any, float]:
        """The result of a task over there, and the seconds that it took; raises what it raises.

        Raises:
            WorkerDied: when there is no answer.
        """
        request = _dumps(order)
        try:
            self._connection.send_bytes(request)
            del request  # the answer may need the memory
            answer = self._connection.recv_bytes()
        except Exception as error:  # half a message, for whatever reason, is the end of it
            raise WorkerDied from error
        value, seconds = pickle.loads(answer)  # noqa: S301 - of a process that this one started
        if seconds is None:
            raise value
        return value, seconds

    def is_dead(self) -> bool:
        """Whether it died while it had nothing to do."""
        return self._connection.poll()  # there is nothing to read but the end

    def stop(self) -> None:
        """Lets it end."""
        self._connection.close()
        self._process.join(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Ends it at once, if it has not ended."""
        self._connection.close()
        self._process.kill()
        self._process.join()
