"""The last step of a process that used gRPC."""

from __future__ import annotations

import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

_last: list[Callable[[], None]] = []


def at_last(function: Callable[[], None]) -> None:
    """Has `leave` call a function when everything else is done and said."""
    _last.append(function)


def leave(main: Callable[[], int]) -> NoReturn:
    """Runs a program, and ends its process with the exit code that it returns.

    gRPC's threads outlive its channels, and an interpreter that ends beneath them can wait for a lock that
    no thread will release (grpc/grpc#40620).  So the interpreter does not take itself apart, however the
    program ends: what it would write at its end is written here, and the system frees the rest.
    """
    code = _code(main)
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # full, closed, or never open
            stream.flush()
    for function in _last:
        function()
    os._exit(code)


def _code(main: Callable[[], int]) -> int:
    try:
        return main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BaseException:  # noqa: BLE001 - the interpreter would do the same
        traceback.print_exc()
        return 1
