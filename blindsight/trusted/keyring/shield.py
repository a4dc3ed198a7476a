"""The memory of processes with keys, kept from other processes of the same user and from core dumps."""

from __future__ import annotations

import ctypes
import resource

_PR_SET_DUMPABLE = 4


def raise_shield() -> None:
    """Keeps this process from being dumped, traced, or read under /proc by other processes of its user.

    So are those that it forks.  What it starts anew is not, and neither is any process from root.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0)
