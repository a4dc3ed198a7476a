"""One worker process, and the socket between it and the process that started it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import socket
import time
from contextlib import suppress
from multiprocessing import reduction
from typing import Any

from blindsight.runtime.processpool import answers, messages
from blindsight.runtime.processpool.forkserver import ForkServer, ForkServerDied
from blindsight.runtime.processpool.task import Order, function_of
from blindsight.runtime.signals import die_with_parent

# A worker that was told to end, and does not, is killed.
_STOP_SECONDS = 10


WORK = f"{__name__}:work"


def work(connection_descriptor: int) -> None:
    """Does what a worker process does, until the service closes the connection.

    Args:
        connection_descriptor: of the socket to the service.
    """
    server = os.getppid()
    die_with_parent()
    if server != os.getppid():
        return  # the fork server died before the kernel was asked
    with socket.socket(fileno=connection_descriptor) as connection, suppress(EOFError, OSError):
        while True:
            messages.send(connection, _outcome(messages.receive(connection)))


def _outcome(request: bytearray) -> bytes:
    """Runs a pickled order; returns its result, or what it raised, for `answers.read`."""
    try:
        name, task = pickle.loads(request)  # noqa: S301 - of the process that started this one
        del request  # a result may need the memory
        function = function_of(name)
        started = time.perf_counter()
        result = function(task)
        return answers.of_result(result, time.perf_counter() - started)
    except BaseException as error:  # noqa: BLE001 - who waits for the task gets it
        return answers.of_error(error)


class WorkerDied(Exception):
    """A worker process is no more; the text says why, if that is known."""


class WorkerProcess:
    """A worker process.

    Args:
        server: forks it.
        first: what it does first.  It may hold secrets, which go to the worker alone, and are kept nowhere.
        seconds: how long a task may take; None for any time.

    Raises:
        WorkerDied: if the fork server died, or the worker before it had done that.
    """

    def __init__(self, server: ForkServer, first: Order, seconds: float | None) -> None:
        self._seconds = seconds
        ours, theirs = socket.socketpair()
        try:
            with theirs:  # so that nobody holds its end when the process has died
                self._handle = server.fork(theirs.fileno())
        except ForkServerDied as error:
            ours.close()
            raise WorkerDied(str(error)) from error
        self._connection = ours
        try:
            self.run(first)
        except Exception as error:
            self.kill()
            raise WorkerDied from error

    def run(self, order: Order) -> tuple[Any, float]:
        """Runs a task over there; returns its result, and the seconds that it took; raises what it raises.

        Raises:
            WorkerDied: if there is no answer in time.
            WrongAnswer: if the task cannot have this answer.
        """
        _, task = order
        request = reduction.ForkingPickler.dumps(order)  # `bytes` of it would be one copy more
        try:
            messages.send(self._connection, request, self._seconds)
            del request  # the answer may need the memory
            answer = messages.receive(self._connection, most=task.most_bytes, seconds=self._seconds)
        except messages.TooLong as error:
            raise answers.WrongAnswer(str(error)) from None
        except Exception as error:  # half a message, for whatever reason, is the end of it
            raise WorkerDied from error
        return answers.read(task, answer)

    def is_dead(self) -> bool:
        """Returns whether it died while it had nothing to do, or said something then."""
        poller = select.poll()
        poller.register(self._connection, select.POLLIN)
        return bool(poller.poll(0))

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
