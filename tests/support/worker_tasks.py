"""What tests let workers do; a worker imports it."""

import os
import signal
import stat
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from blindsight.runtime.processpool import Compute, Task


@dataclass(frozen=True, slots=True)
class Call(Task[Any]):
    """Calls a function."""

    function: Callable[..., Any]
    arguments: tuple[Any, ...]

    @classmethod
    def of(cls, function, *arguments):
        return cls(function, arguments)


def call(task):
    return task.function(*task.arguments)


@dataclass(frozen=True, slots=True)
class Say(Task[tuple[npt.NDArray[np.uint8], str]]):
    """Answers with bytes of its own choice: a worker that somebody else has taken over."""

    said: bytes
    stays: bool = False
    most_bytes: ClassVar[int] = 10_000

    def check(self, result):
        if result[0].shape != (3,):
            raise ValueError("not three numbers")


def say(task):
    """Writes to the socket of this worker, and waits to be ended or ends."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if stat.S_ISSOCK(os.fstat(int(link.name)).st_mode):
                os.write(int(link.name), task.said)
    time.sleep(600 if task.stays else 0)
    os._exit(0)


def message(payload: bytes) -> bytes:
    """What a worker sends for a payload."""
    return struct.pack("<Q", len(payload)) + payload


COMPUTE: Compute = {Call: "support.worker_tasks:call", Say: "support.worker_tasks:say"}


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError


def fail_unpicklably():
    raise Unpicklable


def kill_once(path):
    """Dies the first time, without a word."""
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid()


def count_and_wait(path, seconds):
    """How often this was run."""
    with path.open("a") as file:
        file.write("x")
    time.sleep(seconds)
    return path.stat().st_size
