"""A process that has imported what services import, and becomes one of them whenever it is asked.

Imports are most of what a start of a service takes, half a second of processor time, and these tests start
hundreds.  A request is one line of JSON with three descriptors: where the service prints, where it logs, and
a pipe for its process id and, later, its exit code.

Not a module of the tests, whose imports it must not share: template.py SOCKET, a descriptor.  Without one it
does no more than compile what is not in numba's cache yet, which takes half a minute, once for all processes.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import struct
import sys
import threading
from pathlib import Path
from typing import NoReturn

from blindsight.runtime.processpool import forkserver
from blindsight.trusted.crypto import tasks as crypto_tasks
from blindsight.trusted.crypto.computing import keys, photos
from services.evaluator import tasks as evaluator_tasks
from services.evaluator.computing import building

# Fork servers of a service.
POOLS = {"evaluator": 1, "keyholder": 2, "worker": 2}
NUMBER = struct.Struct("<i")
MAX_REQUEST_BYTES = 1 << 20

# Pipes by the process whose exit code they wait for.
_waiting: dict[int, int] = {}


def main() -> int:
    """Serves until the socket is closed, if there is one; in a child, runs a service."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end of the tests ends it, by closing the socket
    for name in ("storage", "evaluator", "keyholder", "worker"):
        importlib.import_module(f"services.{name}.__main__")
    building.compile_all(evaluator_tasks.Compile())
    keys.prepare(crypto_tasks.Prepare())
    photos.prepare(crypto_tasks.PrepareDecoding())
    if len(sys.argv) == 1:
        return 0
    gc.collect()
    gc.freeze()  # so that a child's collections leave the shared pages shared
    requests = socket.socket(fileno=int(sys.argv[1]))
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    while True:
        line, descriptors, _, _ = socket.recv_fds(requests, MAX_REQUEST_BYTES, 3)
        if not line:
            return 0
        request = json.loads(line)
        if _fork(descriptors[2]):
            requests.close()
            _end(_become(request, *descriptors[:2]))
        for descriptor in descriptors[:2]:
            os.close(descriptor)


def _fork(report: int) -> bool:
    """Tells the child's process id; true in the child."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    child = os.fork()
    if child:
        os.write(report, NUMBER.pack(child))
        _waiting[child] = report
    else:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (report, *_waiting.values()):
            os.close(descriptor)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    return child == 0


def _reap() -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            report = _waiting.pop(child)
            with contextlib.suppress(BrokenPipeError):
                os.write(report, NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os.close(report)


def _become(request: dict, printed: int, logged: int) -> int:
    """What `python -P -m services.NAME` would do with this environment, in this folder."""
    for descriptor, number in ((printed, 1), (logged, 2)):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    module = sys.modules[f"services.{request['name']}.__main__"]
    sys.argv[:] = [str(Path(module.__file__))]
    sys.modules["__main__"] = module  # a fork server that is spawned asks it what it should import
    spare = [_fork_server() for _ in range(POOLS.get(request["name"], 0))]
    spawn = forkserver.start
    forkserver.start = lambda: spare.pop(0) if spare else spawn()
    return module.main()


def _end(code: int) -> NoReturn:
    """Does what Python does at the end of a process, but does not free the modules of all four services.

    That is a tenth of a second of processor time, most of what a stop takes.  Only here: a service that is
    started in another way takes it.
    """
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _fork_server() -> socket.socket:
    """Forks what a service would otherwise spawn and let import everything, while it has one thread."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork():
        theirs.close()
        return ours
    try:
        ours.close()
        forkserver.serve(theirs)
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
