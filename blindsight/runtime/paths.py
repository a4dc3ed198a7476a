"""Paths as people give them: `~` for a home, `-` for standard input, pipes that can be read once only."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import BinaryIO

_told: Callable[[Path], AbstractContextManager[object]] = nullcontext
_STANDARD_INPUT = {"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}


def at_home(path: str) -> str:
    """Returns a path with its `~` or `~user` replaced, which a shell leaves in quotes and after a `=`."""
    return path if os.path.lexists(path) else os.path.expanduser(path)  # noqa: PTH111 - that one may raise


def is_pipe(path: Path) -> bool:
    """Returns whether a path is a pipe or standard input, whose bytes come once, and at no known size."""
    if _is_standard_input(path):
        return True
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # of a NUL in it
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def tell_of_waiting(told: Callable[[Path], AbstractContextManager[object]]) -> None:
    """Sets what runs while a pipe has nothing to read; at first nothing does."""
    global _told  # noqa: PLW0603 - what reads a pipe may be any library; the command alone says something
    _told = told


def opened(path: Path) -> BinaryIO:
    """Opens a file or pipe to be read, a pipe once there is something in it; of standard input what is left.

    Raises:
        OSError: if it cannot be opened.
    """
    if not is_pipe(path):
        return path.open("rb")
    with _told(path):
        # By its own descriptor: another one of a socket cannot be opened, and one of a file begins anew.
        file = os.fdopen(os.dup(0), "rb") if _is_standard_input(path) else path.open("rb")
        try:
            file.peek(1)
        except OSError:
            file.close()
            raise
        return file


def _is_standard_input(path: Path) -> bool:
    return str(path) in _STANDARD_INPUT or (path == Path("-") and not os.path.lexists(path))
