"""Records of bulk-ingest jobs and of the outcomes of their items."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from blindsight.wire.workers import ItemState


class JobState(IntEnum):
    """The state of a job; the values are those of the proto and of the database."""

    RECEIVING = 1
    RUNNING = 2
    FINISHED = 3
    CANCELLED = 4

    @property
    def ended(self) -> bool:
        """Whether nothing more happens unless the job is retried."""
        return self in (JobState.FINISHED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Job:
    """One bulk-ingest job.

    Attributes:
        job_id: 16 random bytes.
        collection_id: the destination, by storage's id: a later collection of the same name is another.
        request_id: chosen by the caller: the same id means the same job.
        received: number of items that were taken; final once the job is no longer RECEIVING.
        next_number: no item of this number or a later one was taken.
        done, duplicates, failed: numbers of these items; the others are pending.
        waiting: why no item is taken at the moment; empty if they are.
    """

    job_id: bytes
    collection_id: bytes
    request_id: str
    state: JobState
    created_unix_seconds: int
    received: int
    next_number: int
    done: int
    duplicates: int
    failed: int
    waiting: str = ""

    @property
    def pending(self) -> int:
        """The number of items whose outcome is not known."""
        return self.received - self.done - self.duplicates - self.failed


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """The outcome of one item.

    Attributes:
        number: the item's number in its job, from 0.
        message_id: id of its message in the queue, see `envelope`.
        reason: one of `blindsight.errors`, with FAILED only.
        message: one line of human-readable text: why it has failed, or a remark on an item that is stored.
    """

    number: int
    message_id: bytes
    state: ItemState
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class SealedOutcome:
    """The record of an item of which there is something to say.

    Attributes:
        state, reason, message: see `ItemOutcome`.
        sealed_name: see `envelope`; empty if the keyholder died before it was recorded.
    """

    number: int
    state: ItemState
    reason: str
    message: str
    sealed_name: bytes
