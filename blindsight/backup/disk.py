"""File operations for backups: copies, digests, flushes, and clean-up after failures."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blindsight.errors import DataLoss, ResourceExhausted, Unavailable

CHUNK_BYTES = 1 << 20
_MIB = 1 << 20


@contextmanager
def troubles(what: str) -> Iterator[None]:
    """Reports the block's file system errors in one line.

    Args:
        what: path to name if the error has none.

    Raises:
        Unavailable: if the block raises OSError; with the reason.
    """
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else what
        raise Unavailable(f"{place}: {error.strerror or error}") from error


def entries(folder: Path) -> list[Path]:
    """Returns the sorted entries of a folder without lost+found; none if the folder does not exist."""
    try:
        return sorted(path for path in folder.iterdir() if path.name != "lost+found")
    except FileNotFoundError:
        return []


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are not there, for their owner alone."""
    for one in reversed((folder, *folder.parents)):
        if not one.is_dir():
            one.mkdir(mode=0o700)


def new_file(path: Path) -> int:
    """Creates a file with mode 0600; returns its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def copy(source: Path, target: Path, moved: Callable[[int], None]) -> str:
    """Copies a regular file into a new one, and flushes that; returns the SHA-256 of what it read, in hex.

    Args:
        moved: called with the bytes of each step.

    Raises:
        DataLoss: if the source is not a regular file.
    """
    with os.fdopen(new_file(target), "wb") as file:
        sha256 = _read(source, moved, file.write)
        file.flush()
        os.fsync(file.fileno())
    return sha256


def digest(path: Path, moved: Callable[[int], None]) -> str:
    """Returns the SHA-256 of a regular file, in hex.

    Raises:
        DataLoss: if it is not a regular file.
    """
    return _read(path, moved, lambda _chunk: None)


def _read(path: Path, moved: Callable[[int], None], take: Callable[[bytes], object]) -> str:
    hasher = hashlib.sha256()
    # Reading a pipe or a device in a file's place might never end.
    if not path.is_file() or path.is_symlink():
        raise DataLoss(f"{path} is not a regular file")
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            take(chunk)
            moved(len(chunk))
    return hasher.hexdigest()


def flush(path: Path) -> None:
    """Flushes a file, or the names in a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_room(folder: Path, size_bytes: int) -> None:
    """Checks that the disk has enough free space.

    Raises:
        ResourceExhausted: if it has not; with what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise ResourceExhausted(
            f"{folder} has {free // _MIB} MiB free, want {size_bytes // _MIB + 1} MiB for this"
        )


@contextmanager
def emptied_on_failure(folder: Path) -> Iterator[None]:
    """Creates a folder if it does not exist; removes what the block added to it if the block fails."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = set(entries(folder))
    try:
        yield
    except BaseException:
        for path in set(entries(folder)) - before:
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)
        for made in missing:
            made.rmdir()
        raise
