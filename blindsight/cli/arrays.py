"""Readers of .npy files and lists of ids, with one-line errors."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blindsight.cli.pixels import NUMPY
from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.runtime import paths

_MAGIC = b"\x93NUMPY"
_ARCHIVE = b"PK"  # of several arrays


def load_matrix(path: Path) -> Any:
    """Maps the array in a .npy file into memory without reading it, as it may be larger than memory.

    A pipe is read to its end.

    Raises:
        InvalidArgument: if the file does not exist, is damaged, or is not a .npy file.
    """
    return _array(path, io.BytesIO(_read(path)) if paths.is_pipe(path) else path)


def matrix_or_text(path: Path) -> Any:
    """Returns the array of a .npy file, or the text of any other; its content decides, not its name.

    Raises:
        InvalidArgument: see `load_matrix`, or if it is neither.
    """
    if path.suffix.lower() == NUMPY:
        return load_matrix(path)
    pipe = paths.is_pipe(path)
    data = _read(path, None if pipe else len(_MAGIC))
    if data.startswith((_MAGIC, _ARCHIVE)):
        return _array(path, io.BytesIO(data)) if pipe else load_matrix(path)
    try:
        return (data if pipe else _read(path)).decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is neither a .npy file nor lines of JSON in UTF-8") from None


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Puts the name of a file into the error that the block raises of its vectors."""
    try:
        yield
    except InvalidVector as error:
        raise type(error)(f"{path}: {error.message}", **error.metadata) from None


def picture_or_array(path: Path) -> Any:
    """Returns the array of a .npy file, or a photo's path; of a pipe its array, or the bytes of its photo.

    Raises:
        InvalidArgument: see `load_matrix`.
    """
    if path.suffix.lower() == NUMPY:
        return load_matrix(path)
    if not paths.is_pipe(path):
        return str(path)
    data = _read(path)
    return _array(path, io.BytesIO(data)) if data.startswith(_MAGIC) else data


def load_ids(path: Path) -> list[str]:
    """Reads a list of ids, one per line.

    Raises:
        InvalidArgument: if the file cannot be read, or is not UTF-8 text.
    """
    return load_text(path).splitlines()


def load_text(path: Path) -> str:
    """Reads a file or a pipe of text.

    Raises:
        InvalidArgument: if it cannot be read, or is not UTF-8 text.
    """
    try:
        return _read(path).decode()
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is not UTF-8 text") from None


def _read(path: Path, most_bytes: int | None = None) -> bytes:
    try:
        with paths.opened(path) as file:
            return file.read(-1 if most_bytes is None else most_bytes)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from None


def _array(path: Path, source: Path | io.BytesIO) -> Any:
    import numpy as np

    try:
        if isinstance(source, Path) and source.stat().st_size == 0:
            raise InvalidArgument(f"{path} is empty, want a .npy file")
        loaded = np.load(source, mmap_mode="r" if source is path else None, allow_pickle=False)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror or 'damaged'}") from None
    except (ValueError, EOFError, OverflowError, SyntaxError) as error:
        raise InvalidArgument(f"{path} is not a .npy file of numbers, or it is damaged") from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise InvalidArgument(f"{path} holds several arrays, want a .npy file with one")
    return loaded
