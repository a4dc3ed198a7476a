"""Locks that keep a folder for one process; the kernel releases them however that process ends."""

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
    """Creates a service's data folder with mode 0700, and locks it while the block runs.

    Args:
        folder: data folder of the service.
        taken: error message if another process holds the lock.

    Raises:
        Unavailable: if another process holds the lock.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(folder / LOCK_NAME, taken):
        yield


@contextmanager
def locked(path: Path, taken: str | None = None, *, folder: bool = False) -> Iterator[None]:
    """Holds an exclusive lock on a file or a folder while the block runs.

    Args:
        path: the file, which is created if it does not exist, or the folder.
        taken: error message if another process holds the lock; None: wait for it.
        folder: whether `path` is a folder.

    Raises:
        Unavailable: if another process holds the lock, and `taken` is given.
        OSError: if the path cannot be opened.
    """
    # The file is opened for writing, because NFS refuses an exclusive lock otherwise.
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY if folder else os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if taken is not None else 0))
        except BlockingIOError:
            raise Unavailable(taken or "") from None
        yield
    finally:
        os.close(descriptor)
