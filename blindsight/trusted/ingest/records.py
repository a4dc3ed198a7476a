"""Jobs and items, as the account of bulk ingest has them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from blindsight.wire.imports import ItemState


class JobState(IntEnum):
    """How far a job is; the values are those of the proto and of the database."""

    RECEIVING = 1
    RUNNING = 2
    FINISHED = 3
    CANCELLED = 4

    @property
    def ended(self) -> bool:
        """Whether nothing more happens until somebody retries."""
        return self in (JobState.FINISHED, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Job:
    """One bulk ingest.

    Attributes:
        job_id: 16 random bytes.
        collection_id: where to; storage's id, so a collection of the same name that is made later is another.
        request_id: the caller's word for it: the same word is the same job.
        received: items that were taken; once the job is no longer RECEIVING, all there are.
        next_number: no item from here on was taken.
        done, duplicates, failed: of these; the others are on their way.
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

    @property
    def pending(self) -> int:
        """Items whose outcome is not known."""
        return self.received - self.done - self.duplicates - self.failed


@dataclass(frozen=True, slots=True)
class ItemOutcome:
    """What became of one item.

    Attributes:
        number: of the item in its job, from 0.
        message_id: of its message in the queue, see `envelope`.
        reason: one of `blindsight.errors`, with FAILED only.
        message: one line for people, with FAILED only.
    """

    number: int
    message_id: bytes
    state: ItemState
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class SealedFailure:
    """An item that failed, as it is noted.

    Attributes:
        sealed_name: see `envelope`; empty when the keyholder died before it wrote it down.
    """

    number: int
    reason: str
    message: str
    sealed_name: bytes
