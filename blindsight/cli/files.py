"""Output files: plain ones are written completely or not at all, others written to; and safe names."""

from __future__ import annotations

import mimetypes
import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from blindsight.cli.output import Failure, Reason, Unread

STANDARD_OUTPUT = Path("-")

# Common file systems allow names of 255 bytes; a rank and a suffix are added to the stem.
_MAX_STEM_BYTES = 160
_SUFFIXES = {
    "image/heif": (".heic", ".heif", ".hif"),
    "image/jp2": (".jp2", ".j2k", ".jpx"),
    "image/jpeg": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "image/tiff": (".tif", ".tiff"),
    "image/webp": (".webp",),
    "image/x-portable-anymap": (".pnm", ".pbm", ".pgm", ".ppm"),
    "application/octet-stream": (),
}
_SUFFIX = re.compile(r"(?<=.)\.\w{1,10}$")


def write(path: Path, data: bytes) -> None:
    """Writes `data` to `path`.

    A plain file is replaced atomically: a reader sees the old one or the new one, which keeps its mode.  What
    is none, as a device, a named pipe or a link, is written to, and stays what it is.

    Raises:
        Failure: if the file cannot be written, or is a folder.
        Unread: if it is standard output, which nobody reads.
    """
    if is_standard_output(path):
        _answer(data)
        return
    try:
        if _is_plain(path):
            _replace(path, data)
        else:
            with os.fdopen(os.open(path, _flags(path), 0o666), "wb") as file:
                file.write(data)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", Reason.FILE_ERROR) from None


def write_new(path: Path, data: bytes) -> None:
    """Writes `data` to a file that is not there yet; one that cannot be written completely is removed.

    Raises:
        Failure: if there is something of this name, or the file cannot be written.
    """
    try:
        with path.open("xb") as file:
            _write_all(file, data, path)
    except FileExistsError:
        raise Failure(f"{path} is there already, want -o FILE", Reason.FILE_ERROR) from None
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", Reason.FILE_ERROR) from None


@contextmanager
def new_private(path: Path) -> Iterator[BinaryIO]:
    """Makes a file that is not there yet, for its owner alone to read; it is removed if the block fails.

    Raises:
        Failure: if there is something of this name, or the file cannot be written.
    """
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failure(f"{path} is there already, want the name of a new file", Reason.FILE_ERROR) from None
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", Reason.FILE_ERROR) from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
    except OSError as error:
        path.unlink(missing_ok=True)
        raise Failure(f"cannot write {path}: {error.strerror or error}", Reason.FILE_ERROR) from None
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_all(file: BinaryIO, data: bytes, path: Path) -> None:
    try:
        file.write(data)
        file.flush()
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def require_writable(path: Path) -> None:
    """Checks that a file can be written, before work is done for it.

    Raises:
        Failure: see `write`.
    """
    if is_standard_output(path):
        return
    try:
        if _is_plain(path) or not path.exists():
            with tempfile.TemporaryFile(dir=Path(os.path.realpath(path)).parent):
                pass
        elif not os.access(path, os.W_OK):  # opening it may block, or end what reads a pipe
            raise Failure(f"cannot write {path}: Permission denied", Reason.FILE_ERROR)
    except OSError as error:
        raise Failure(f"cannot write {path}: {error.strerror}", Reason.FILE_ERROR) from None


def is_standard_output(path: Path) -> bool:
    """Returns whether a path is another name of standard output, such as - or /dev/stdout."""
    if path == STANDARD_OUTPUT:
        return True
    try:
        linked = not stat.S_ISREG(path.lstat().st_mode)
        return linked and os.path.samestat(path.stat(), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):  # there is no such file, or no standard output
        return False


def _answer(data: bytes) -> None:
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise Unread from None


def _is_plain(path: Path) -> bool:
    """Returns whether a path is of a plain file, or of none yet.

    Raises:
        Failure: if it is of a folder.
    """
    if path.is_dir():
        raise Failure(f"{path} is a folder, want a file to write", Reason.FILE_ERROR)
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return True


def _flags(path: Path) -> int:
    # Where others may write too, Linux refuses to open their pipes if a file could be made by that.
    return os.O_WRONLY | os.O_TRUNC | (0 if path.exists() else os.O_CREAT)


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:32]}-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o666 & ~_umask()
            os.fchmod(file.fileno(), mode)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


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
        raise Failure(f"cannot make the folder {path}: {error.strerror}", Reason.FILE_ERROR) from None


def make_folder(path: Path) -> None:
    """Creates a folder and its parents if they do not exist.

    Raises:
        Failure: if it cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(f"cannot make the folder {path}: {error.strerror}", Reason.FILE_ERROR) from None


def safe_name(name: str, media_type: str) -> str:
    """Returns a safe file name for any name: one path component, printable, with a fitting suffix.

    A suffix that fits stays as it is; another one is replaced.
    """
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    kept = "".join(letter if letter.isprintable() else "_" for letter in last).strip(". ")
    found = _SUFFIX.search(kept)
    stem, suffix = (kept[: found.start()], found[0]) if found else (kept, "")
    wanted = _suffixes(media_type)
    if wanted and suffix.lower() not in wanted:
        suffix = wanted[0]
    # "ignore" drops a character that was cut in the middle.
    short = (stem or "photo").encode("utf-8", "replace")[:_MAX_STEM_BYTES].decode("utf-8", "ignore")
    return short + suffix


def _suffixes(media_type: str) -> list[str]:
    """Returns the suffixes of a media type, the usual one first; none if files of it may have any."""
    if media_type in _SUFFIXES:
        return [*_SUFFIXES[media_type]]
    usual = mimetypes.guess_extension(media_type)
    return [usual, *mimetypes.guess_all_extensions(media_type, strict=False)] if usual else []


def _umask() -> int:
    # The umask cannot be read without setting it.
    current = os.umask(0o077)
    os.umask(current)
    return current
