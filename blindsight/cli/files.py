"""Output files: written completely or not at all, and with safe names."""

from __future__ import annotations

import mimetypes
import os
import tempfile
from pathlib import Path

from blindsight.cli.output import Failure

# Common file systems allow names of 255 bytes; a rank and a suffix are added to the stem.
_MAX_STEM_BYTES = 160
_SUFFIXES = {
    "image/heif": ".heic",
    "image/jp2": ".jp2",
    "image/jpeg": ".jpg",
    "image/tiff": ".tif",
    "image/webp": ".webp",
    "image/x-portable-anymap": ".pnm",
    "application/octet-stream": "",
}


def write(path: Path, data: bytes) -> None:
    """Writes `data` to `path` atomically: a reader sees the old file or the new one.

    Raises:
        Failure: if the file cannot be written, or is a folder.
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
    """Checks that a file can be written, before work is done for it.

    Raises:
        Failure: see `write`.
    """
    try:
        if path.is_dir():
            raise Failure(f"{path} is a folder, want a file to write")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}") from None


def require_folder(path: Path) -> None:
    """Checks that a folder is there or can be made, before work is done for it; makes nothing.

    Raises:
        Failure: see `make_folder`.
    """
    nearest = next(one for one in (path.absolute(), *path.absolute().parents) if os.path.lexists(one))
    try:
        # What lies in the way, a file or a dangling link, is refused as `mkdir` would refuse it.
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise Failure(f"cannot make the folder {path}: {error.strerror}") from None


def make_folder(path: Path) -> None:
    """Creates a folder and its parents if they do not exist.

    Raises:
        Failure: if it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the folder {path}: {error.strerror}") from None


def safe_name(name: str, media_type: str) -> str:
    """Returns a safe file name for any name: one path component, printable, with a fitting suffix."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(letter if letter.isprintable() else "_" for letter in last).strip(". ")
    suffix = _SUFFIXES[media_type] if media_type in _SUFFIXES else mimetypes.guess_extension(media_type)
    stem = Path(kept).stem
    # "ignore" drops a character that was cut in the middle.
    short = (stem or "photo").encode("utf-8", "replace")[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    return short + (suffix or Path(kept).suffix)


def _umask() -> int:
    # The umask cannot be read without setting it.
    current = os.umask(0o077)
    os.umask(current)
    return current
