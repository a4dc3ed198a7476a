"""Sealing of queued originals and of file names, before they leave the keyholder's memory.

A body can be opened only as the item that it was sealed for: the associated data names the job and the
message id, and the message id is a keyed hash of job and item number.
"""

from __future__ import annotations

import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from itertools import starmap

import numpy as np

from blindsight.errors import DataLoss
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.keyring.keys import KeySet, keyed_hash
from blindsight.trusted.keyring.padding import pad, unpad
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.queue import Message
from blindsight.trusted.records import packed, unpacked
from blindsight.wire.metadata import Values
from blindsight.wire.vectors import Box, PhotoVector

_NUMBER = struct.Struct("<Q")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class QueuedPhoto:
    """One photo on its way to a worker.

    Attributes:
        collection_id: the destination.
        id: the owner's id; empty for a keyed hash of the content.
        name: the file's name.
        request_id: id of the call that brought it, for the logs.
        values, vectors, exif, arrived: as of `Photo`.
    """

    job_id: bytes
    number: int
    collection_id: bytes
    id: str
    name: str
    data: bytes = field(repr=False)
    request_id: str = ""
    values: Values = field(default_factory=dict)
    vectors: tuple[PhotoVector, ...] = ()
    exif: bool = False
    arrived: int = 0

    @property
    def photo(self) -> Photo:
        """The photo as it came."""
        return Photo(
            self.number,
            self.name,
            self.data,
            self.id,
            values=self.values,
            vectors=self.vectors,
            exif=self.exif,
            arrived=self.arrived,
        )


class Envelopes:
    """The sealing of items for the queue and of their names for the job store.

    Args:
        keys: the owner's key set.
    """

    def __init__(self, keys: KeySet) -> None:
        self._bodies = Sealer(keys.subkey("queue"))
        self._ids = keys.subkey("queue-ids")
        self._names = Sealer(keys.subkey("jobs"))

    def message_id(self, job_id: bytes, number: int) -> bytes:
        """Returns the id of an item's message, which is the same whenever the item is published."""
        return keyed_hash(self._ids, job_id + _NUMBER.pack(number))

    def seal(self, photo: QueuedPhoto) -> Message:
        """Seals a photo as a message; sealed are a length, a JSON header and the file, padded."""
        about = [photo.number, photo.collection_id.hex(), photo.id, photo.name, photo.request_id]
        about += [packed(photo.values), list(map(_packed, photo.vectors)), photo.exif, photo.arrived]
        header = json.dumps(about, ensure_ascii=False).encode()
        message_id = self.message_id(photo.job_id, photo.number)
        plain = b"".join((_LENGTH.pack(len(header)), header, photo.data))
        return Message(message_id, photo.job_id, self._bodies.seal(pad(plain), photo.job_id + message_id))

    def open(self, message: Message) -> QueuedPhoto:
        """Opens a message.

        Raises:
            DataLoss: if it is damaged, or was not sealed as this item of this job.
        """
        plain = unpad(self._bodies.open(message.body, message.job_id + message.message_id))
        try:
            (length,) = _LENGTH.unpack_from(plain)
            end = _LENGTH.size + length
            number, collection_id, item_id, name, request_id, values, vectors, exif, arrived = json.loads(
                plain[_LENGTH.size : end]
            )
            photo = QueuedPhoto(
                message.job_id,
                number,
                bytes.fromhex(collection_id),
                item_id,
                name,
                plain[end:],
                request_id,
                unpacked(values),
                tuple(starmap(_unpacked, vectors)),
                exif,
                arrived,
            )
        except (ValueError, TypeError, AttributeError, struct.error) as error:
            raise DataLoss("a message of the queue is damaged") from error
        if self.message_id(photo.job_id, photo.number) != message.message_id:
            raise DataLoss("a message of the queue is not of the item that it says")
        return photo

    def seal_name(self, job_id: bytes, number: int, name: str) -> bytes:
        """Seals a file's name for the job store."""
        return self._names.seal(name.encode(), job_id + _NUMBER.pack(number))

    def open_name(self, job_id: bytes, number: int, sealed: bytes) -> str:
        """Opens a file's name; returns "" if it was never recorded.

        Raises:
            DataLoss: if it is damaged or another item's.
        """
        return self._names.open(sealed, job_id + _NUMBER.pack(number)).decode() if sealed else ""


def _packed(vector: PhotoVector) -> tuple[object, ...]:
    """Returns a vector as it stands in JSON: its values as base64, its name, its box."""
    values = b64encode(vector.values.astype("<f4").tobytes()).decode()
    return values, vector.name, astuple(vector.box) if vector.box is not None else None


def _unpacked(values: str, name: str, box: Sequence[float] | None) -> PhotoVector:
    said = Box(*box) if box is not None else None
    return PhotoVector(np.frombuffer(b64decode(values), "<f4"), name, said)
