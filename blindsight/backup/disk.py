"""Files that are whole and on the disk, or not there."""

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
    """Turns what the system says of files into one line.

    Raises:
        Unavailable: with the reason.
    """
    try:
        yield
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else what
        raise Unavailable(f"{place}: {error.strerror or error}") from error


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, but for what a file system puts into its root; nothing when it is not there."""
    try:
        return sorted(path for path in folder.iterdir() if path.name != "lost+found")
    except FileNotFoundError:
        return []


def new_file(path: Path) -> int:
    """Makes a file for its owner alone; returns its descriptor."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def copy(source: Path, target: Path, moved: Callable[[int], None]) -> str:
    """Copies a regular file into a new one, flushed; returns the SHA-256 of what it read, in hex.

    Args:
        moved: told the bytes of each step.
    """
    with os.fdopen(new_file(target), "wb") as file:
        sha256 = _read(source, moved, file.write)
        file.flush()
        os.fsync(file.fileno())
    return sha256


def digest(path: Path, moved: Callable[[int], None]) -> str:
    """The SHA-256 of a regular file, in hex."""
    return _read(path, moved, lambda _chunk: None)


def _read(path: Path, moved: Callable[[int], None], take: Callable[[bytes], object]) -> str:
    hasher = hashlib.sha256()
    # A pipe or a device that stands in a file's place would not end.
    if not path.is_file() or path.is_symlink():
        raise DataLoss(f"{path} is no regular file")
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
            take(chunk)
            moved(len(chunk))
    return hasher.hexdigest()


def flush(path: Path) -> None:
    """Puts a file, or the names in a folder, on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def require_room(folder: Path, size_bytes: int) -> None:
    """Refuses what the disk has no room for.

    Raises:
        ResourceExhausted: with what is free.
    """
    free = shutil.disk_usage(folder).free
    if free < size_bytes:
        raise ResourceExhausted(
            f"{folder} has {free // _MIB} MiB free, want {size_bytes // _MIB + 1} MiB for this"
        )


@contextmanager
def emptied_on_failure(folder: Path) -> Iterator[None]:
    """Makes a folder where there is none; what a block leaves in it stays only if the block ends well."""
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
