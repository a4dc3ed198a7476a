"""Which files are photos: those whose names or first bytes say so, whether or not they can be decoded."""

from __future__ import annotations

import re
import stat
from pathlib import Path, PurePath

SUFFIXES = frozenset(
    (
        *(".apng", ".arw", ".avif", ".avifs", ".bmp", ".cr2", ".cr3", ".dib", ".dng", ".gif", ".heic"),
        *(".heics", ".heif", ".heifs", ".hif", ".j2c", ".j2k", ".jfif", ".jp2", ".jpc", ".jpe", ".jpeg"),
        *(".jpf", ".jpg", ".jpx", ".jxl", ".mpo", ".nef", ".orf", ".pbm", ".pef", ".pfm", ".pgm", ".png"),
        *(".pnm", ".ppm", ".psd", ".raf", ".raw", ".rw2", ".srw", ".tif", ".tiff", ".webp"),
    )
)
"""Suffixes of files that a camera, a phone or a scanner writes, and of pictures made of them."""

_HEAD_BYTES = 16
_SIGNATURES = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|8BPS\0|BM....\0\0\0\0|P[1-6]\s[\d#]|P[Ff]\n"
    rb"|II\*\0|MM\0\*|IIRO|IIU\0|FUJIFILMCCD-RAW"  # TIFF, which most raw files are, and others of cameras
    rb"|\0\0\0\x0c(?:jP  |JXL )\r\n\x87\n|\xff\x4f\xff\x51|\xff\x0a"  # JPEG 2000, JPEG XL
    rb"|....ftyp(?:he[iv][cxms]|mif1|msf1|avi[fs]|crx )",
    re.DOTALL,
)


def is_photo(name: str, head: bytes) -> bool:
    """Returns whether a file is a photo.

    Args:
        name: its name or path.
        head: its first bytes, at least 16 unless it is shorter.
    """
    return PurePath(name).suffix.lower() in SUFFIXES or _SIGNATURES.match(head) is not None


def is_photo_file(path: Path, *, unreadable: bool = True) -> bool:
    """Returns whether a file on the disk is a photo; it is opened only if its name does not say so.

    Args:
        path: where it is.
        unreadable: what is returned of one that cannot be opened: it may be a photo, and the attempt to read
            it will say what is wrong.
    """
    try:
        if is_photo(path.name, b""):
            return True
        if not stat.S_ISREG(path.stat().st_mode):
            return False  # opening a pipe could block for ever
        with path.open("rb") as file:
            return is_photo("", file.read(_HEAD_BYTES))
    except OSError:
        return unreadable
