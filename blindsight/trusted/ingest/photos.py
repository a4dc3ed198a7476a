"""Photos as ingest receives them, and the checks before they are decoded."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from blindsight.errors import BlindsightError, InvalidArgument, InvalidImage
from blindsight.runtime.transfer import MAX_PHOTO_BYTES
from blindsight.trusted.ingest import arrival
from blindsight.wire.metadata import Values
from blindsight.wire.vectors import PhotoVector, check_vectors

# Hashing or sealing these takes less than half a millisecond; a thread costs a tenth of one.
AT_ONCE_BYTES = 256 << 10
MAX_ID_BYTES = 512
MAX_NAME_BYTES = 1024
Result = TypeVar("Result")
# Ids are written one per line in files and on terminals.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo's file as it was received, and what its owner says of it.

    Attributes:
        error: set if it did not arrive in full.
        vectors: of its owner's (embedder external).
        exif: whether what its camera says of it is kept as metadata, where `values` say nothing else.
        arrived: when it came, in microseconds since 1970.
    """

    index: int
    name: str
    data: bytes
    id: str = ""
    error: BlindsightError | None = None
    values: Values = field(default_factory=dict)
    vectors: tuple[PhotoVector, ...] = ()
    exif: bool = False
    arrived: int = field(default_factory=arrival.now)


def check(photo: Photo) -> None:
    """Checks a photo before it is decoded.

    Raises:
        BlindsightError: if it did not arrive in full, is empty, or its id or name is not valid.
    """
    if photo.error is not None:
        raise photo.error
    if not photo.data:
        raise InvalidImage(f"photo is empty: 0 bytes, want 1 to {MAX_PHOTO_BYTES}")
    if photo.id:
        check_id(photo.id)
    check_vectors(photo.vectors)
    if len(photo.name.encode()) > MAX_NAME_BYTES:
        raise InvalidArgument(f"name of {len(photo.name.encode())} bytes, want at most {MAX_NAME_BYTES}")


def check_id(item_id: str) -> None:
    """Checks an item's id.

    Raises:
        InvalidArgument: if it is empty, too long, or has a control character.
    """
    size = len(item_id.encode())
    if not 1 <= size <= MAX_ID_BYTES:
        raise InvalidArgument(f"id of {size} bytes, want 1 to {MAX_ID_BYTES}")
    if _CONTROL.search(item_id):
        raise InvalidArgument("id with a control character, want text of one line")


async def beside_loop(size_bytes: int, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls a function that processes `size_bytes`, in a thread if it would delay the event loop."""
    if size_bytes <= AT_ONCE_BYTES:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)
