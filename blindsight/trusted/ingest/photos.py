"""What ingest makes of one photo: its vector, its seals, its planes.  Streams and bulk ingest share it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from blindsight.errors import BlindsightError, InvalidArgument
from blindsight.packing.columns import Floats
from blindsight.packing.planes import PlaneLayout
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import ItemMetadata, NewItem, NewPlanes
from blindsight.trusted.vault.vault import OpenCollection

# Originals and pixels for planes of one batch; a batch is in memory, and on the wire, as a whole.
BATCH_BYTES = 32 << 20
# Hashing or sealing these takes less than half a millisecond; a thread costs a tenth of one.
AT_ONCE_BYTES = 256 << 10
MAX_ID_BYTES = 512
MAX_NAME_BYTES = 1024
Result = TypeVar("Result")
# An id stands on a line of its own in files and on terminals.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class Photo:
    """A file as it came; or, with `error`, why it did not come whole."""

    index: int
    name: str
    data: bytes
    id: str = ""
    error: BlindsightError | None = None


@dataclass(frozen=True, slots=True)
class PreparedPhoto:
    """A photo that is ready to be stored, and what of it its planes do not hold or a search will not find."""

    item: NewItem
    vector: Floats
    remark: str = ""


def check(photo: Photo) -> None:
    """Refuses a photo that need not be looked at.

    Raises:
        BlindsightError: why.
    """
    if photo.error is not None:
        raise photo.error
    if photo.id:
        check_id(photo.id)
    if len(photo.name.encode()) > MAX_NAME_BYTES:
        raise InvalidArgument(f"name of {len(photo.name.encode())} bytes, want at most {MAX_NAME_BYTES}")


def check_id(item_id: str) -> None:
    """Refuses an id that is none.

    Raises:
        InvalidArgument: when it is empty, too long or not of one line.
    """
    size = len(item_id.encode())
    if not 1 <= size <= MAX_ID_BYTES:
        raise InvalidArgument(f"id of {size} bytes, want 1 to {MAX_ID_BYTES}")
    if _CONTROL.search(item_id):
        raise InvalidArgument("id with a control character, want text of one line")


async def content_id(collection: OpenCollection, data: bytes) -> str:
    """The id of a photo that was given none."""
    return await beside_loop(len(data), collection.content_id, data)


async def beside_loop(size_bytes: int, function: Callable[..., Result], *arguments: Any) -> Result:
    """Calls what goes through so many bytes, in a thread if the event loop would feel it."""
    if size_bytes <= AT_ONCE_BYTES:
        return function(*arguments)
    return await asyncio.to_thread(function, *arguments)


async def prepare(
    crypto: Crypto,
    collection: OpenCollection,
    photo: Photo,
    item_id: str,
    *,
    halo: int | None = None,
    origin: str = "",
) -> PreparedPhoto:
    """Embeds and seals a photo.

    Args:
        halo: of its planes; None: it is to have none.
        origin: of the item, see `ItemMetadata`.

    Raises:
        InvalidImage: when it is none, or too large for planes.
        Unavailable: when it killed its worker process twice.
    """
    config, handle = collection.config, collection.handle(item_id)
    cut, remark = (None, "") if halo is None else await _cut(crypto, collection, photo, halo)
    embedded = await crypto.embed(config.embedder, config.dimension, config.channels, photo.data)
    metadata = ItemMetadata(item_id, photo.name, embedded.media_type, origin)
    keypoints = embedded.keypoints
    item = NewItem(
        handle=handle,
        sealed_metadata=collection.seal_metadata(handle, metadata),
        sealed_original=await beside_loop(len(photo.data), collection.seal_original, handle, photo.data),
        planes=cut,
        sealed_keypoints=collection.seal_keypoints(handle, keypoints) if keypoints else b"",
    )
    remarks = "; ".join(filter(None, [remark, embedded.remark]))
    return PreparedPhoto(item, embedded.vector.astype(np.float64), remarks)


async def _cut(crypto: Crypto, collection: OpenCollection, photo: Photo, halo: int) -> tuple[NewPlanes, str]:
    """A photo's pixels in tiles, and what of the photo they do not hold."""
    pixels = await crypto.pixels(photo.data)
    layout = PlaneLayout.of(pixels.values, collection.parameters.ring_degree, halo)
    return NewPlanes(layout, await asyncio.to_thread(layout.pack, pixels.values)), pixels.remark
