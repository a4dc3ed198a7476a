"""Signals that end a process; worker processes load this, so it needs nothing of a service."""

from __future__ import annotations

import ctypes
import os
import signal

_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Asks the kernel to kill this process when its parent dies, so that none is left behind."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end_on_sigterm() -> None:
    """Ends this process at SIGTERM while it starts, too; a server that serves drains instead.

    Process 1, as a service is in a container, gets no signal that it does not handle.  Nothing is cleaned
    up: an exception out of nowhere, in the middle of gRPC's start, ends in its native code.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
