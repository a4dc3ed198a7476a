"""Erasing: files are overwritten before their names go, as far as a file system lets anybody do so.

One that copies on write, and a disk that moves what it writes, may keep the old bytes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

_PIECE_BYTES = 1 << 20


def overwrite(file: BinaryIO) -> None:
    """Overwrites a file that was replaced with random bytes, to the disk.

    One that has another name is left alone: it is somebody's copy.
    """
    if not os.fstat(file.fileno()).st_nlink:
        _fill(file)


def erase(path: Path) -> None:
    """Overwrites a file, whatever other names it has, and removes this one.

    A symbolic link is followed, and goes with the file that it names.
    """
    target = path.resolve()
    with target.open("r+b") as file:
        _fill(file)
        target.unlink()
    path.unlink(missing_ok=True)
    for folder in {path.parent, target.parent}:
        sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Waits until the names in a folder are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fill(file: BinaryIO) -> None:
    size_bytes = os.fstat(file.fileno()).st_size
    file.seek(0)
    for start in range(0, size_bytes, _PIECE_BYTES):
        file.write(os.urandom(min(_PIECE_BYTES, size_bytes - start)))
    file.flush()
    os.fsync(file.fileno())
