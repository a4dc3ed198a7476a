"""The clock of leases: it runs while the machine sleeps, and nobody can set it."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path


def seconds() -> float:
    """Returns the seconds since the machine's start."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@cache
def start() -> str:
    """Returns the id of the machine's start; what was read from the clock before another says nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
