"""Signals that end a process; worker processes import this module, so it needs nothing of a service."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies, so that no orphan is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_sigterm() -> None:
    """Makes SIGTERM end this process during its start too; a server that serves drains instead.

    In a container a service is process 1, to which the kernel delivers no signal without a handler.  The
    process exits without cleaning up, because an exception in the middle of gRPC's start would be raised
    into its native code.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
