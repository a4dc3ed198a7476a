"""One worker process, and the socket between it and the process that started it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import time
import traceback
from contextlib import suppress
from multiprocessing import reduction
from multiprocessing.connection import Connection
from typing import Any

from blindsight.runtime.processpool.forkserver import ForkServer, ForkServerDied
from blindsight.runtime.processpool.task import Order, function_of
from blindsight.runtime.signals import die_with_parent

# A worker that was told to end, and does not, is killed.
_STOP_SECONDS = 10


class Handed:
    """The first order of new workers, in memory that they are handed."""

    def __init__(self, order: Order) -> None:
        self.descriptor = os.memfd_create("order", os.MFD_CLOEXEC)
        with os.fdopen(self.descriptor, "wb", closefd=False) as file:
            pickle.dump(order, file)

    def close(self) -> None:
        """Gives the memory back; no worker can be started any more."""
        os.close(self.descriptor)


def _taken(descriptor: int) -> Order:
    try:
        order: Order = pickle.loads(os.pread(descriptor, os.fstat(descriptor).st_size, 0))  # noqa: S301
    finally:
        os.close(descriptor)
    return order


WORK = f"{__name__}:work"


def work(connection_descriptor: int, first_descriptor: int) -> None:
    """Does what a worker process does, until the service closes the connection.

    Args:
        connection_descriptor: of the socket to the service.
        first_descriptor: of the first order.
    """
    server = os.getppid()
    die_with_parent()
    if server != os.getppid():
        return  # the fork server died before the kernel was asked
    with Connection(connection_descriptor) as connection:
        name, task = _taken(first_descriptor)
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
    """A worker process.

    Args:
        server: forks it.
        first: what it does first.

    Raises:
        WorkerDied: if the fork server died.
    """

    def __init__(self, server: ForkServer, first: Handed) -> None:
        ours, theirs = socket.socketpair()
        with ours, theirs:  # so that nobody holds its end when the process has died
            try:
                self._handle = server.fork((theirs.fileno(), first.descriptor))
            except ForkServerDied as error:
                raise WorkerDied from error
            self._connection = Connection(ours.detach())

    def run(self, order: Order) -> tuple[Any, float]:
        """Runs a task over there; returns its result, and the seconds that it took; raises what it raises.

        Raises:
            WorkerDied: if there is no answer.
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
        """Returns whether it died while it had nothing to do."""
        return self._connection.poll()  # there is nothing to read but the end

    def stop(self) -> None:
        """Lets it end."""
        self._connection.close()
        self._has_ended(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """Ends it at once, if it has not ended."""
        self._connection.close()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)
        self._has_ended(None)
        os.close(self._handle)

    def _has_ended(self, seconds: float | None) -> bool:
        poller = select.poll()
        poller.register(self._handle, select.POLLIN)
        return bool(poller.poll(None if seconds is None else 1000 * seconds))
