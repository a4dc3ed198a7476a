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

# A worker that has been told to end, and does not within this time, is killed.
_STOP_SECONDS = 10


# A task, and the name of its function.
Order = tuple[str, Task[Any]]


class Handed:
    """The first order of new workers, in memory that they inherit.

    The standard library would write it into a pipe of 64 KiB.  A worker that is killed before it has read all
    of it would leave this process waiting for ever, because it holds the reading end of that pipe itself.
    """

    def __init__(self, order: Order) -> None:
        self._descriptor = os.memfd_create("order", os.MFD_CLOEXEC)
        with os.fdopen(self._descriptor, "wb", closefd=False) as file:
            pickle.dump(order, file)

    def __reduce__(self) -> tuple[Callable[[Any], Order], tuple[Any]]:
        return _taken, (reduction.DupFd(self._descriptor),)

    def close(self) -> None:
        """Releases the memory; no worker can be started afterwards."""
        os.close(self._descriptor)


def _taken(inherited: Any) -> Order:
    descriptor = inherited.detach()
    try:
        order: Order = pickle.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))  # noqa: S301
    finally:
        os.close(descriptor)
    return order


def _work(connection: Connection, first: Order) -> None:
    """Runs orders in a worker process until the parent closes the connection."""
    die_with_parent()
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid != os.getppid():
        os._exit(1)  # the parent died before `die_with_parent` took effect
    # Ctrl-C reaches the whole process group, but workers must finish their tasks while the service drains.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    name, task = first
    function_of(name)(task)
    with suppress(EOFError, OSError):
        while True:
            connection.send_bytes(_outcome(connection.recv_bytes()))


def _dumps(value: object) -> memoryview:
    """Pickles an object for another process, as a view: `bytes` would make one more copy."""
    return reduction.ForkingPickler.dumps(value)


def _outcome(request: bytes) -> memoryview:
    """Runs a pickled order; returns, pickled, its result and the seconds, or its exception and None."""
    try:
        name, task = pickle.loads(request)  # noqa: S301 - from the process that started this one
        del request  # a result may need the memory
        function = function_of(name)
        started = time.perf_counter()
        result = function(task)
        return _dumps((result, time.perf_counter() - started))
    except BaseException as error:  # noqa: BLE001 - sent to the parent, which raises it
        error.add_note("in a worker process:\n" + traceback.format_exc())
        try:
            return _dumps((error, None))
        except Exception:  # noqa: BLE001 - pickling can raise almost anything
            unknown = RuntimeError(f"a {type(error).__name__} that cannot be sent from a worker")
            return _dumps((unknown, None))


class WorkerDied(Exception):
    """Raised when a worker process has died."""


class WorkerProcess:
    """A worker process, used by the thread that creates it.

    That thread must outlive it: to the kernel the thread is the parent, with which the process dies.

    Args:
        first: first order of the worker.
    """

    def __init__(self, first: Handed) -> None:
        # Not a fork, which would copy gRPC's locks in the middle of its threads' work.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, first), daemon=True)
        try:
            self._process.start()
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()  # so that the connection ends when the worker dies

    def run(self, order: Order) -> tuple[Any, float]:
        """Runs an order in the worker; returns its result and the seconds it took, or raises its exception.

        Raises:
            WorkerDied: if the worker does not answer.
        """
        request = _dumps(order)
        try:
            self._connection.send_bytes(request)
            del request  # the answer may need the memory
            answer = self._connection.recv_bytes()
        except Exception as error:  # after a message that was sent or read in part, the worker is useless
            raise WorkerDied from error
        value, seconds = pickle.loads(answer)  # noqa: S301 - from a process that this one started
        if seconds is None:
            raise value
        return value, seconds

    def is_dead(self) -> bool:
        """Returns whether the worker died while it was idle."""
        return self._connection.poll()  # an idle worker sends nothing, so only its end is readable

    def stop(self) -> None:
        """Asks the worker to end; kills it if it does not within 10 seconds."""
        self._connection.close()
        self._process.join(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Kills the worker, if it still runs."""
        self._connection.close()
        self._process.kill()
        self._process.join()
