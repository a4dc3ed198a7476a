"""What tests let workers do; a worker imports it."""

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


COMPUTE: Compute = {Call: "support.worker_tasks:call"}


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
