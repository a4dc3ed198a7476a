"""A process that has imported what workers need, and forks them.

A worker imports for half a second and loads compiled code for as long again.  A fork server does both once,
so that a service starts as fast on many cores as on one, a worker that died is replaced within milliseconds,
and workers share the memory of what they imported.

The service itself cannot fork: a fork would copy gRPC's threads and locks in whatever state they are.  The
server has one thread.  It holds no secret: a worker's first order, which may, comes over the worker's own
socket.  Workers begin with copies of its generators of random numbers, so whatever is
secret must come from the operating system.  The standard library's fork server is not used because it listens
on a socket in a folder for temporary files, where any program of the same user can ask it to run code.
"""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pkgutil import resolve_name

from blindsight.runtime.processpool.task import Compute, Order, function_of

# What the server is sent after the setup: one request for each worker, with the worker's descriptor.
_REQUEST = b"fork"
_ANSWER = b"done"
_MAX_SETUP_BYTES = 64 << 10
_MAX_ANSWER_BYTES = 1 << 10


class ForkServerDied(Exception):
    """The fork server ended before it answered; the text says why, if it could say so."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a fork server does before its first fork.

    Attributes:
        work: "module:function" of what a worker does with its descriptor.
        modules: imported first.
        prepare: run after that, for instance to load compiled code; None for nothing.
    """

    work: str
    modules: tuple[str, ...]
    prepare: Order | None

    @classmethod
    def of(cls, work: str, compute: Compute, prepare: Order | None) -> Setup:
        """Imports the modules of a table of tasks."""
        modules = {name.partition(":")[0] for name in compute.values()}
        return cls(work, tuple(sorted(modules)), prepare)


class ForkServer:
    """A fork server, started with the first worker; for several threads.

    Args:
        setup: what it does before its first fork.
    """

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._asking = threading.Lock()
        self._requests: socket.socket | None = None

    def fork(self, descriptor: int) -> int:
        """Forks a worker, which gets a copy of the descriptor.

        Returns:
            A descriptor of the process (pidfd), which never stands for another one.

        Raises:
            ForkServerDied: if the server ended; the next call starts another.
        """
        with self._asking:
            try:
                return self._ask(descriptor)
            except (OSError, EOFError) as error:
                self._close()
                raise ForkServerDied(error if isinstance(error, EOFError) else "") from error

    def _ask(self, descriptor: int) -> int:
        if self._requests is None:
            self._requests = start()
            self._requests.sendall(pickle.dumps(self._setup))
        socket.send_fds(self._requests, [_REQUEST], [descriptor])
        answer, handles, _, _ = socket.recv_fds(self._requests, _MAX_ANSWER_BYTES, 1)
        if answer != _ANSWER:
            raise EOFError(answer.decode("utf-8", "replace"))
        return handles[0]

    def close(self) -> None:
        """Ends the server, and so its workers."""
        with self._asking:
            self._close()

    def _close(self) -> None:
        if self._requests is not None:
            self._requests.close()
            self._requests = None


def _spawn() -> socket.socket:
    """Starts a fork server that knows nothing yet; it ends when the socket is closed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        try:
            context = multiprocessing.get_context("spawn")
            context.Process(target=serve, args=(theirs,), name="fork server", daemon=True).start()
        except BaseException:
            ours.close()
            raise
    return ours


# How a fork server is started.
start: Callable[[], socket.socket] = _spawn


def serve(requests: socket.socket) -> None:
    """Serves one `ForkServer` until the socket is closed; in a worker, does its work and ends the process."""
    # Ctrl-C reaches the whole process group; the service drains, its workers finish what they have.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    data = requests.recv(_MAX_SETUP_BYTES)
    if not data:
        return
    setup: Setup = pickle.loads(data)  # noqa: S301 - of the process that started this one
    try:
        _prepare(setup)
    except Exception as error:  # noqa: BLE001 - whatever it is, the service tells it
        socket.recv_fds(requests, len(_REQUEST), 1)
        requests.send(f"{type(error).__name__}: {error}".encode("utf-8", "replace")[:_MAX_ANSWER_BYTES])
        return
    gc.collect()
    gc.freeze()  # so that a worker's collections leave shared pages shared
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    while True:
        request, descriptor, _, _ = socket.recv_fds(requests, len(_REQUEST), 1)
        if not request:
            return
        if _fork(requests, *descriptor):
            requests.close()
            _run(setup.work, *descriptor)


def _prepare(setup: Setup) -> None:
    for module in setup.modules:
        importlib.import_module(module)
    if setup.prepare is not None:
        name, task = setup.prepare
        function_of(name)(task)


def _fork(requests: socket.socket, descriptor: int) -> bool:
    """Forks, and answers with a handle of the new process; true in the new one."""
    # A process that is not reaped keeps its number, so that the handle is of this one for certain.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    try:
        child = os.fork()
        if not child:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return True
        handle = os.pidfd_open(child)
        try:
            with suppress(OSError):  # the service was killed meanwhile; the next request does not come
                socket.send_fds(requests, [_ANSWER], [handle])
        finally:
            for one in (handle, descriptor):
                os.close(one)
        return False
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _run(work: str, descriptor: int) -> None:
    code = 1
    try:
        run: Callable[[int], None] = resolve_name(work)
        run(descriptor)
        code = 0
    finally:
        os._exit(code)  # what the server was doing is not the worker's to finish
