"""What this process and its workers take of the machine."""

from __future__ import annotations

from collections.abc import Iterator

import psutil


def _family() -> Iterator[psutil.Process]:
    service = psutil.Process()
    yield service
    yield from service.children()


def memory_bytes() -> int:
    """Resident bytes: proportional set sizes, so that pages which processes share count once."""
    total = 0
    for process in _family():
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # a worker that ended just now
    return total


def cpu_seconds() -> float:
    """Processor time since the start, of workers that have ended too."""
    service = psutil.Process().cpu_times()
    total = service.children_user + service.children_system
    for process in _family():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return float(total)
