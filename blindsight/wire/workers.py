"""Records of what workers of bulk ingest tell the keyholder: outcomes of items, and trials of photos."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Annotated, Self

from blindsight.rpc.keyholder.v1 import workers_pb2 as pb
from blindsight.wire.names import Members
from blindsight.wire.records import Record


class ItemState(IntEnum):
    """The state of an item; the values are those of the contract and of the keyholder's database."""

    QUEUED = 1
    DONE = 2
    DUPLICATE = 3
    FAILED = 4


class TrialState(IntEnum):
    """The state of a trial, see `Trial`; the values are those of the contract."""

    PLANNED = 1
    BEGUN = 2
    OVER = 3


REPORTED = Members("item state", ItemState.DONE, ItemState.DUPLICATE, ItemState.FAILED)
TRIAL_STATE = Members("trial state", *TrialState)


@dataclass(frozen=True, slots=True)
class ItemReport(Record[pb.ItemReport]):
    """The outcome of one item, as a worker reports it.

    Attributes:
        job_id: id of the import, 16 bytes.
        number: number of the item in it.
        reason: a reason of `blindsight.errors`, with FAILED only.
        message: human-readable, one line: why it has failed, or a remark on an item that is stored.
    """

    job_id: bytes
    number: int
    state: Annotated[ItemState, REPORTED]
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Trial(Record[pb.NoteTrialRequest]):
    """A trial: a photo that a worker decodes alone, with no other photo at the same time, and its state.

    Attributes:
        job_id: id of the import, 16 bytes.
        number: number of the item in it.
        trial_id: 16 random bytes.
    """

    job_id: bytes
    number: int
    trial_id: bytes
    state: Annotated[TrialState, TRIAL_STATE]

    def at(self, state: TrialState) -> Self:
        """Returns the same trial with another state."""
        return replace(self, state=state)
