"""Bulk ingest: what is given to the queue, what became of it, and what workers report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, Literal, Self

from blindsight.rpc.keyholder.v1 import imports_pb2 as pb
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, Receiver
from blindsight.wire.names import Members, Names
from blindsight.wire.records import Record

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
    """A bulk ingest as it is at one moment.

    Attributes:
        import_id: names it in `blindsight jobs`.
        collection: its name; empty when the collection is gone.
        request_id: the caller's word for it; the same word is the same import.
        received: items that the keyholder took; all there are, once it is no longer receiving.
        next_number: no item from here on was taken.
        done: stored by this import.
        duplicates: were in the collection already.
    """

    import_id: str
    collection: str
    request_id: str
    state: Annotated[ImportState, STATE]
    created_unix_seconds: int
    received: int
    next_number: int
    done: int
    duplicates: int
    failed: int

    @property
    def settled(self) -> int:
        """Items whose outcome is known."""
        return self.done + self.duplicates + self.failed

    @property
    def total(self) -> int | None:
        """How many items there are; None while they are still coming."""
        return None if self.state == "receiving" else self.received

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in ("finished", "cancelled")


@dataclass(frozen=True, slots=True)
class FailedItem(Record[pb.FailedItem]):
    """An item of a bulk ingest that could not be stored.

    Attributes:
        number: of the file, from 0, in the order in which files were given.
        name: of the file.
        reason: one of `blindsight.errors`.
        message: one line for people.
    """

    number: int
    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ImportHeader(Record[pb.ImportHeader]):
    """Where photos go.

    Attributes:
        collection: its name.
        request_id: 1 to 128 printable characters; the same is the same import.
        says_end: whether the stream ends with a message of no files, which a caller who breaks off does not
            send.
    """

    collection: str
    request_id: str
    says_end: bool


@dataclass(frozen=True, slots=True)
class ImportFile(Record[pb.ImportFile]):
    """A photo, with its first bytes.

    Attributes:
        number: of the photo in the import, from 0; ascending.
        name: for people; may be empty.
        size_bytes, sha256: of the whole photo.
        id: empty: a keyed hash of the content.
        data: the first bytes, all of them where it is small; what is missing follows in chunks.
    """

    number: int
    name: str
    size_bytes: int
    sha256: bytes
    id: str = ""
    data: bytes = b""

    @property
    def whole(self) -> bool:
        """Whether it has all of its bytes with it."""
        return len(self.data) == self.size_bytes

    def receiver(self) -> Receiver:
        """What takes its bytes.

        Raises:
            ResourceExhausted, InvalidArgument: when it announces too much, or no digest.
        """
        return Receiver(self.size_bytes, self.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a photo")


@dataclass(frozen=True, slots=True)
class ImportFiles(Record[pb.ImportFiles]):
    """Small photos, each with all of its bytes; none: those before were all."""

    files: tuple[ImportFile, ...] = ()


class ItemState(IntEnum):
    """What became of an item; the values are those of the contract and of the keyholder's database."""

    QUEUED = 1
    DONE = 2
    DUPLICATE = 3
    FAILED = 4


class TrialState(IntEnum):
    """How far a trial is; the values are those of the contract."""

    PLANNED = 1
    BEGUN = 2
    OVER = 3


REPORTED = Members("item state", ItemState.DONE, ItemState.DUPLICATE, ItemState.FAILED)
TRIAL_STATE = Members("trial state", *TrialState)


@dataclass(frozen=True, slots=True)
class ItemReport(Record[pb.ItemReport]):
    """What a worker says of one item.

    Attributes:
        job_id: of the import, 16 bytes.
        number: of the item in it.
        reason: one of `blindsight.errors`, with FAILED only.
        message: one line for people, with FAILED only.
    """

    job_id: bytes
    number: int
    state: Annotated[ItemState, REPORTED]
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Trial(Record[pb.NoteTrialRequest]):
    """One photo that a worker opens with none beside it, and how far it is.

    Attributes:
        job_id: of the import, 16 bytes.
        number: of the item in it.
        trial_id: 16 random bytes.
    """

    job_id: bytes
    number: int
    trial_id: bytes
    state: Annotated[TrialState, TRIAL_STATE]

    def at(self, state: TrialState) -> Self:
        """The same trial, further on."""
        return replace(self, state=state)
