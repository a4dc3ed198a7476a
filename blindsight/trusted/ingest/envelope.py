"""What of an item leaves the keyholder's memory: the original, sealed for the queue, and its name.

A body opens as the item that it was sealed for and as no other: the associated data names the job and the
message id, and the message id is a keyed hash of job and item number.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass, field

from blindsight.errors import DataLoss
from blindsight.trusted.keyring.keys import KeySet, keyed_hash
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.queue import Message

_NUMBER = struct.Struct("<Q")
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class QueuedPhoto:
    """One file on its way to a worker.

    Attributes:
        collection_id: where to.
        id: as the owner gave it; empty for a keyed hash of the content.
        name: of the file.
        request_id: of the call that brought it, for the logs.
    """

    job_id: bytes
    number: int
    collection_id: bytes
    id: str
    name: str
    data: bytes = field(repr=False)
    request_id: str = ""


class Envelopes:
    """Seals items for the queue and their names for the account.

    Args:
        keys: the owner's key set.
    """

    def __init__(self, keys: KeySet) -> None:
        self._bodies = Sealer(keys.subkey("queue"))
        self._ids = keys.subkey("queue-ids")
        self._names = Sealer(keys.subkey("jobs"))

    def message_id(self, job_id: bytes, number: int) -> bytes:
        """The id of an item's message, the same whenever the item is published."""
        return keyed_hash(self._ids, job_id + _NUMBER.pack(number))

    def seal(self, photo: QueuedPhoto) -> Message:
        """Seals a photo: a length, a JSON header and the file, all of it under the seal."""
        about = [photo.number, photo.collection_id.hex(), photo.id, photo.name, photo.request_id]
        header = json.dumps(about, ensure_ascii=False).encode()
        message_id = self.message_id(photo.job_id, photo.number)
        plain = b"".join((_LENGTH.pack(len(header)), header, photo.data))
        return Message(message_id, photo.job_id, self._bodies.seal(plain, photo.job_id + message_id))

    def open(self, message: Message) -> QueuedPhoto:
        """Opens a message.

        Raises:
            DataLoss: when it was not sealed as this item of this job.
        """
        plain = self._bodies.open(message.body, message.job_id + message.message_id)
        try:
            (length,) = _LENGTH.unpack_from(plain)
            end = _LENGTH.size + length
            number, collection_id, item_id, name, *later = json.loads(plain[_LENGTH.size : end])
            place = bytes.fromhex(collection_id)
            photo = QueuedPhoto(message.job_id, number, place, item_id, name, plain[end:], *later)
        except (ValueError, TypeError, struct.error) as error:
            raise DataLoss("a message of the queue is damaged") from error
        if self.message_id(photo.job_id, photo.number) != message.message_id:
            raise DataLoss("a message of the queue is not of the item that it says")
        return photo

    def seal_name(self, job_id: bytes, number: int, name: str) -> bytes:
        """Seals a file's name for the account."""
        return self._names.seal(name.encode(), job_id + _NUMBER.pack(number))

    def open_name(self, job_id: bytes, number: int, sealed: bytes) -> str:
        """Opens a file's name; nothing for one that was never written down.

        Raises:
            DataLoss: when it is not what was sealed.
        """
        return self._names.open(sealed, job_id + _NUMBER.pack(number)).decode() if sealed else ""
