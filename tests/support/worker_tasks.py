"""What tests let workers do; a worker imports it."""

import os
import signal
import time


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
