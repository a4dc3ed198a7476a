"""What this process and its workers take of the machine."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from blindsight.runtime.transfer import MAX_MESSAGE_BYTES

# Of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Of a control group: the limit's name under version 2, and under version 1.
_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")


def _family() -> Iterator[psutil.Process]:
    service = psutil.Process()
    yield service
    yield from service.children()


def keep_freed_memory(*, up_to_bytes: int, blocks_bytes: int) -> None:
    """Asks the C library to keep some of what this process frees for what it allocates next.

    What is as large as a message or a photo else goes back to the kernel at once, which clears every page of
    the next: half of the system time of an evaluator that answers searches, a fifth of the time that it takes
    to describe a photo, a tenth of what storage needs for one.

    To be called once, when a process starts, by what knows how large the things are that come and go in it.

    Args:
        up_to_bytes: so much is kept at most.
        blocks_bytes: what is larger is the kernel's affair, when it is allocated and when it is freed; glibc
            takes 32 MiB at most.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other libraries than glibc have none
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, blocks_bytes)
        mallopt(_M_TRIM_THRESHOLD, up_to_bytes)


def keep_photos() -> None:
    """Keeps memory of a process in which photos come and go: storage, workers, whatever describes photos.

    A photo and its pixels are some megabytes, and one is there several times over.
    """
    keep_freed_memory(up_to_bytes=64 << 20, blocks_bytes=32 << 20)


def keep_messages() -> None:
    """Keeps memory of a process through which messages pass, the work being done by others.

    Messages are a megabyte, and none is over 4 MiB.  Larger things are not kept: they come once in a while,
    and such a process lives long.
    """
    keep_freed_memory(up_to_bytes=32 << 20, blocks_bytes=2 * MAX_MESSAGE_BYTES)


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


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


def memory_limit_bytes(groups: Path = Path("/proc/self/cgroup"), tree: Path = Path("/sys/fs/cgroup")) -> int:
    """What this process may have: the machine's memory, or less where a container's limit says so.

    Args:
        groups: the control groups of the process, as the kernel lists them.
        tree: where their files are.
    """
    limits = [psutil.virtual_memory().total]
    for folder in _group_folders(groups, tree):
        for name in _LIMIT_FILES:
            try:
                limits.append(int((folder / name).read_text()))
            except (OSError, ValueError):
                continue  # no such file, or "max"
    return int(min(limits))


def _group_folders(groups: Path, tree: Path) -> Iterator[Path]:
    """Folders of a process's control groups and of those around them, the tree itself included."""
    try:
        lines = groups.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", maxsplit=2)
        top = tree / controllers  # version 2 names none
        folder = top / path.lstrip("/")
        yield folder
        yield from (parent for parent in folder.parents if parent.is_relative_to(top))
