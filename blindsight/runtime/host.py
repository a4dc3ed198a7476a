"""The memory, processor time and limits of this process and its workers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from blindsight.runtime.transfer import MAX_MESSAGE_BYTES

# Constants of glibc's <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
# Files with the memory limit of a control group: version 2, version 1.
_LIMIT_FILES = ("memory.max", "memory.limit_in_bytes")


def _family() -> Iterator[psutil.Process]:
    service = psutil.Process()
    yield service
    yield from service.children(recursive=True)


def keep_freed_memory(*, up_to_bytes: int, blocks_bytes: int) -> None:
    """Asks the C library to keep freed memory for later allocations of this process.

    By default blocks as large as a message or a photo go back to the kernel at once, which clears every page
    of the next allocation.  That costs half of the system time of an evaluator that answers searches, a fifth
    of the time to describe a photo, and a tenth of the time that storage needs for one.

    Call it once, when a process starts, from code that knows the sizes of the blocks that it allocates.

    Args:
        up_to_bytes: maximum of what is kept.
        blocks_bytes: larger blocks are still mapped from the kernel and given back when they are freed; glibc
            accepts at most 32 MiB.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # only glibc has it
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, blocks_bytes)
        mallopt(_M_TRIM_THRESHOLD, up_to_bytes)


def keep_photos() -> None:
    """Keeps freed memory in processes that handle photos: storage, workers, all that describe photos.

    A photo and its pixels are some megabytes, and a process holds several copies of each.
    """
    keep_freed_memory(up_to_bytes=64 << 20, blocks_bytes=32 << 20)


def keep_messages() -> None:
    """Keeps freed memory in processes that pass messages on while workers do the computing.

    Messages are a megabyte, and none is over 4 MiB.  Memory of larger blocks is not kept: they are rare, and
    such a process lives long.
    """
    keep_freed_memory(up_to_bytes=32 << 20, blocks_bytes=2 * MAX_MESSAGE_BYTES)


def cores() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))


def memory_bytes() -> int:
    """Returns resident bytes: the sum of proportional set sizes, so that shared pages count once."""
    total = 0
    for process in _family():
        try:
            total += _own_bytes(process)
        except psutil.NoSuchProcess:
            continue  # a worker that has just ended
    return total


def _own_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.AccessDenied:  # a worker with keys tells nobody but root what it shares, and with how many
        plain = process.memory_info()
        return int(plain.rss - plain.shared)


def cpu_seconds() -> float:
    """Returns the processor time since the start, including that of workers which have ended."""
    total = 0.0
    for process in _family():
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory_limit_bytes(groups: Path = Path("/proc/self/cgroup"), tree: Path = Path("/sys/fs/cgroup")) -> int:
    """Returns the memory that this process may use: the machine's, or a container's lower limit.

    Args:
        groups: file in which the kernel lists the control groups of the process.
        tree: mount point of the control groups' file system.
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
    """Yields the folders of a process's control groups and of all their parents up to the root."""
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
