"""The last step of a process that used gRPC."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_last: list[Callable[[], None]] = []


def at_last(function: Callable[[], None]) -> None:
    """Has `leave` call a function when everything else is done and said."""
    _last.append(function)


def leave(code: int) -> NoReturn:
    """Ends this process, whose work is done and whose files are closed, with an exit code.

    gRPC's threads outlive its channels, and an interpreter that ends beneath them can wait for a lock that
    no thread will release (grpc/grpc#40620).  So the interpreter does not take itself apart: what it would
    write at its end is written here, and the system frees the rest.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # full, closed, or never open
            stream.flush()
    for function in _last:
        function()
    os._exit(code)
