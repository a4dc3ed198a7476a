"""Writes what people asked for: whole or not at all, and never outside the folder they named."""

from __future__ import annotations

import mimetypes
import os
import tempfile
from pathlib import Path

from blindsight.cli.output import Failure

# The longest name that common file systems take is 255 bytes; rank and suffix need some of it.
_MAX_STEM_BYTES = 160
_SUFFIXES = {"image/jpeg": ".jpg", "image/tiff": ".tif", "image/webp": ".webp"}


def write(path: Path, data: bytes) -> None:
    """Puts `data` at `path` in one step: a reader sees the old file or the new one.

    Raises:
        Failure: when it cannot be written, or is a folder.
    """
    try:
        if path.is_dir():
            raise Failure(f"{path} is a folder, want a file to write")
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:32]}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                os.fchmod(file.fileno(), 0o666 & ~_umask())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None


def require_writable(path: Path) -> None:
    """Refuses a file that could not be written, before work is done for it.

    Raises:
        Failure: as `write`.
    """
    try:
        if path.is_dir():
            raise Failure(f"{path} is a folder, want a file to write")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None


def make_folder(path: Path) -> None:
    """Makes a folder where there is none.

    Raises:
        Failure: when it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the folder {path}: {error.strerror}") from None


def safe_name(name: str, media_type: str) -> str:
    """A file name made of a name that may be anything: one part, printable, with a fitting suffix."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(letter if letter.isprintable() else "_" for letter in last).strip(". ")
    suffix = _SUFFIXES.get(media_type) or mimetypes.guess_extension(media_type) or ""
    stem = Path(kept).stem if suffix or mimetypes.guess_type(kept)[0] else kept
    # A stem that is cut in the middle of a letter loses the letter.
    short = (stem or "photo").encode("utf-8", "replace")[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    return short + (suffix or Path(kept).suffix)


def _umask() -> int:
    # There is no way to ask without setting it.
    current = os.umask(0o077)
    os.umask(current)
    return current
