"""`blindsight up --detach`: a process that goes on by itself once everything serves."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType

from blindsight.cli import output
from blindsight.cli.local.service_log import ServiceLog
from blindsight.runtime import leaving

LOG_NAME = "log.jsonl"
_READY = b"."
_LAST_SECONDS = 5.0


def detach(folder: Path) -> Callable[[], None]:
    """Splits this process in two, of which the second returns, in a session of its own.

    The first waits for it, passes signals on to it, and ends when it is ready or has ended, with its exit
    code.  Locks and open files go with the second.

    Args:
        folder: where the second writes its log, once it is ready.

    Returns:
        What the second calls when it is ready: from then on nothing ties it to the terminal.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    read, write = os.pipe2(os.O_CLOEXEC)
    process = os.fork()
    if process:
        os.close(write)
        os._exit(_waited(process, read))
    os.close(read)
    os.setsid()

    def ready() -> None:
        _leave_terminal(ServiceLog(folder / LOG_NAME, "up"))
        os.write(write, _READY)
        os.close(write)

    return ready


def _waited(process: int, read: int) -> int:
    """Waits until the other process is ready or has ended; returns the exit code of this one."""

    def pass_on(_number: int, _frame: FrameType | None) -> None:
        os.kill(process, signal.SIGTERM)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, pass_on)
    if os.read(read, 1) == _READY:
        return 0
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    return code if code >= 0 else 128 - code


def _end_log(log: ServiceLog) -> None:
    """Waits until the log has what was said last."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):  # the ends of its pipe
        os.dup2(nothing, descriptor)
    log.finish(_LAST_SECONDS)


def _leave_terminal(log: ServiceLog) -> None:
    """Sends what this process still says to its log."""
    said = log.pipe()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(descriptor, place)
    os.close(nothing)
    os.close(said)
    leaving.at_last(partial(_end_log, log))
    for console in (output.stdout, output.stderr):  # which know the colours of the terminal
        console.cache_clear()
