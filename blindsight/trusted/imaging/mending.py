"""Files of which every pixel is there, but which Pillow refuses for something else."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

JPEG = b"\xff\xd8\xff"
PNG = b"\x89PNG\r\n\x1a\n"
# Entries of a PNG's text that may name the orientation.
PNG_ORIENTATIONS = (b"XML:com.adobe.xmp", b"Raw profile type exif")

_END = b"\xff\xd9"
# Data of a scan without a marker, which would decode to something if anything were missing.
_MORE = bytes(range(1, 251)) * 16
_CHUNK = struct.Struct(">I4s")
_CHECKSUM = struct.Struct(">I")
_LONGEST_TEXT = 1 << 16


def without_ballast(data: bytes) -> bytes:
    """Returns a PNG file without what no pixel needs; any other file as it is.

    Left out are ancillary chunks with a wrong checksum, colour profiles, and text that names no orientation:
    Pillow refuses the first, and megabytes of the others.
    """
    if not data.startswith(PNG):
        return data
    view, start, at = memoryview(data), 0, len(PNG)
    kept = []
    while at + _CHUNK.size <= len(data):
        length, kind = _CHUNK.unpack_from(data, at)
        stop = at + _CHUNK.size + length + _CHECKSUM.size
        if stop > len(data) or kind == b"IEND":  # whatever follows the last chunk is none
            break
        if kind[0] >= ord("a") and not _is_useful(kind, view[at:stop]):  # critical chunks have a capital
            kept.append(view[start:at])
            start = stop
        at = stop
    return b"".join([*kept, view[start:]]) if kept else data


def _is_useful(kind: bytes, chunk: memoryview) -> bool:
    if kind == b"iCCP" or zlib.crc32(chunk[4:-4]) != _CHECKSUM.unpack(chunk[-4:])[0]:
        return False
    if kind not in (b"tEXt", b"zTXt", b"iTXt"):
        return True
    keyword = bytes(chunk[_CHUNK.size :][:80]).partition(b"\0")[0]
    return keyword in PNG_ORIENTATIONS and len(chunk) <= _LONGEST_TEXT


def with_end(data: bytes, shown: Callable[[bytes], bytes | None]) -> bytes:
    """Returns a JPEG file with its end marker, if that is all it lacks; any other file as it is.

    Args:
        shown: returns something of a file that is equal for equal pixels; None if it cannot be decoded.
    """
    if not data.startswith(JPEG) or data.endswith(_END) or shown(data) is not None:
        return data
    body = data.rstrip(b"\xff")
    # Decoders fill up what is missing. If nothing is, it does not matter what follows.
    ended = shown(body + _END)
    return body + _END if ended is not None and ended == shown(body + _MORE + _END) else data
