"""Rotations of keys as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from blindsight.rpc.keyholder.v1 import keys_pb2 as pb
from blindsight.wire.records import Record


class RotationState(IntEnum):
    """How far a rotation is."""

    NONE = 1
    COPYING = 2
    SWITCHING = 3
    CLEARING = 4


@dataclass(frozen=True, slots=True)
class Rotation(Record[pb.Rotation]):
    """How far a rotation of keys is.

    Attributes:
        state: what it does.
        key_id: of the keys that count, 16 bytes.
        new_key_id: of those that will; empty if there are none yet.
        items_copied, items_total: of all collections.
        message: what it waits for; empty: nothing.
    """

    state: RotationState
    key_id: bytes
    new_key_id: bytes = b""
    items_copied: int = 0
    items_total: int = 0
    message: str = ""
