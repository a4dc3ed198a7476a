"""Records of bulk ingest: photos for the queue, and the state of an import."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal

from blindsight.rpc.keyholder.v1 import imports_pb2 as pb
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, Receiver
from blindsight.wire.metadata import Metadata
from blindsight.wire.names import Names
from blindsight.wire.records import Record
from blindsight.wire.vectors import PhotoVector

ImportState = Literal["receiving", "running", "finished", "cancelled"]

STATE: Names[ImportState] = Names(
    "import state",
    {
        "receiving": pb.IMPORT_STATE_RECEIVING,
        "running": pb.IMPORT_STATE_RUNNING,
        "finished": pb.IMPORT_STATE_FINISHED,
        "cancelled": pb.IMPORT_STATE_CANCELLED,
    },
)


@dataclass(frozen=True, slots=True)
class ImportInfo(Record[pb.Import]):
    """The state of a bulk ingest at one moment.

    Attributes:
        import_id: identifies it in `blindsight jobs`.
        collection: its name; empty if the collection has been deleted.
        request_id: idempotency key chosen by the caller; the same key is the same import.
        received: number of items that the keyholder accepted; the total, once it is no longer receiving.
        next_number: number of the first item that has not been accepted.
        done: number of items stored by this import.
        duplicates: number of items that were in the collection already.
        waiting: why the keyholder takes no photo at the moment, such as a full queue; empty if it does.
    """

    import_id: str
    collection: str
    request_id: str
    state: Annotated[ImportState, STATE]
    created: datetime
    received: int
    next_number: int
    done: int
    duplicates: int
    failed: int
    waiting: str = ""

    @property
    def settled(self) -> int:
        """The number of items whose outcome is known."""
        return self.done + self.duplicates + self.failed

    @property
    def total(self) -> int | None:
        """The number of items; None while they are still being received."""
        return None if self.state == "receiving" else self.received

    @property
    def ended(self) -> bool:
        """Whether the import is finished or cancelled."""
        return self.state in ("finished", "cancelled")


@dataclass(frozen=True, slots=True)
class FailedItem(Record[pb.FailedItem]):
    """An item of a bulk ingest that could not be stored.

    Attributes:
        number: index of the file, from 0, in the order in which files were given.
        name: file name.
        reason: a reason of `blindsight.errors`.
        message: human-readable, one line.
    """

    number: int
    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class RemarkedItem(Record[pb.RemarkedItem]):
    """An item of a bulk ingest that is stored with a remark.

    Attributes:
        number: index of the file, from 0, in the order in which files were given.
        name: file name.
        remark: why no search will find it, or that it was there and what is said of it now was not kept, as
            human-readable text in one line.
    """

    number: int
    name: str
    remark: str


@dataclass(frozen=True, slots=True)
class ImportHeader(Record[pb.ImportHeader]):
    """The target of a bulk ingest; the first message of its stream.

    Attributes:
        collection: its name.
        request_id: idempotency key, 1 to 128 printable characters; the same key is the same import.
        says_end: whether the caller ends the stream with a message without files, so that a stream that
            breaks off is told from a complete one.
        exif: whether time, camera and place of the EXIF of photos are kept as metadata.
    """

    collection: str
    request_id: str
    says_end: bool
    exif: bool = False


@dataclass(frozen=True, slots=True)
class ImportFile(Record[pb.ImportFile]):
    """A photo, with its first bytes.

    Attributes:
        number: index of the photo in the import, from 0; ascending.
        name: for display; may be empty.
        size_bytes, sha256: size and SHA-256 of the whole photo; None: only the size is checked.
        id: item id; empty: a keyed hash of the content.
        data: the first bytes, all of them if the photo is small; the rest follows in chunks.
        metadata: what is said of it; None: nothing.
        vectors: of its owner's.
    """

    number: int
    name: str
    size_bytes: int
    sha256: bytes | None = None
    id: str = ""
    data: bytes = b""
    metadata: Metadata | None = None
    vectors: tuple[PhotoVector, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether `data` is the whole photo."""
        return len(self.data) == self.size_bytes

    def receiver(self) -> Receiver:
        """Returns a receiver of the photo's bytes.

        Raises:
            ResourceExhausted: if the announced size is over the limit of a photo.
            InvalidArgument: if the digest is not 32 bytes.
        """
        return Receiver(self.size_bytes, self.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a photo")


@dataclass(frozen=True, slots=True)
class ImportFiles(Record[pb.ImportFiles]):
    """Small photos, each with all of its bytes; an empty message ends the stream."""

    files: tuple[ImportFile, ...] = ()
