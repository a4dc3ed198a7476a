"""What was put in, as it comes back: a photo's file, and its pixels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from blindsight.client import calls
from blindsight.client.calls import Connection
from blindsight.client.models import Original
from blindsight.errors import DataLoss
from blindsight.packing.tiling import CHANNELS, MAX_PIXELS
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import transfer
from blindsight.wire.items import OriginalHeader, PlanesHeader

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def get(connection: Connection, collection: str, item_id: str) -> Original:
    """Requests a photo; one attempt."""
    request = pb.GetOriginalRequest(collection=collection, id=item_id)
    messages = calls.answers(connection.keyholder.GetOriginal(request), expects=pb.GetOriginalResponse)
    header = OriginalHeader.from_message(_header_of(item_id, next(messages, None)))
    data = _whole(messages, header, header.size_bytes, "the original", transfer.MAX_PHOTO_BYTES)
    return Original(header.id, header.name, header.media_type, data)


def planes(connection: Connection, collection: str, item_id: str) -> npt.NDArray[np.uint8]:
    """Requests the pixels of a photo; one attempt."""
    request = pb.GetPlanesRequest(collection=collection, id=item_id)
    messages = calls.answers(connection.keyholder.GetPlanes(request), expects=pb.GetPlanesResponse)
    header = PlanesHeader.from_message(_header_of(item_id, next(messages, None)))
    limit = MAX_PIXELS * max(CHANNELS)
    return header.pixels(_whole(messages, header, header.size_bytes, "the planes", limit))


def _header_of(item_id: str, message: Any) -> Any:
    header = transfer.part_of(message, "header")
    if header.id != item_id:
        raise DataLoss("the keyholder answered with another item than was asked for")
    return header


def _whole(messages: Iterator[Any], header: Any, size_bytes: int, what: str, limit_bytes: int) -> bytes:
    """Reads the data that a header announced, and checks that the answer ends with it."""
    with transfer.answer_of(calls.PEER):
        receiver = transfer.Receiver(size_bytes, header.sha256, limit_bytes=limit_bytes, what=what)
        data = transfer.announced_sync(messages, receiver)
    transfer.require_end(next(messages, None))
    return data
