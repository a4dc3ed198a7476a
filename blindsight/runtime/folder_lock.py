"""One process per folder: a lock that the kernel lets go of, however the process ends that holds it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blindsight.errors import Unavailable

LOCK_NAME = "lock"


@contextmanager
def locked_folder(folder: Path, taken: str) -> Iterator[None]:
    """Makes a service's data folder, mode 0700, and keeps it for this process.

    Args:
        folder: of the service.
        taken: the message for when another process has it.

    Raises:
        Unavailable: when another process has it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder / LOCK_NAME, taken):
        yield


@contextmanager
def locked(path: Path, taken: str | None = None, *, folder: bool = False) -> Iterator[None]:
    """Holds the lock of a file, which is made where there is none, or of a folder.

    Args:
        path: of the file or folder.
        folder: whether it is a folder.
        taken: the message for when another process holds it; None waits for that process instead.

    Raises:
        Unavailable: when another process holds it.
        OSError: when it cannot be opened.
    """
    # A file for writing: NFS refuses to lock it else.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if taken is not None else 0))
        except BlockingIOError:
            raise Unavailable(taken or "") from None
        yield
    finally:
        os.close(descriptor)
