"""The files of the audit log: numbered ones of records, and the head, which says how far they go.

    audit/000000000001.jsonl   records from number 1 on
    audit/000000004711.jsonl   records from number 4711 on
    audit.head                 first and last number, and the last chain: sealed

A head is written after the records that it tells of are on the disk, and before any call is answered that
waits for them.  It has two places in its file that are written by turns, so that one is always whole.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.trusted.audit.records import BEGINNING, Point
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.secrets import Secret

FOLDER_NAME, HEAD_NAME = "audit", "audit.head"
_PURPOSE = "audit"
_PLACE_BYTES = 512
_PLACE = b"audit head"
HALF_DAMAGED = (
    f"one of the two places of {HEAD_NAME} is damaged, and no record stands behind that of the other: "
    "the end of the log may have been cut off"
)


@dataclass(frozen=True, slots=True)
class Head:
    """How far a log goes.

    Attributes:
        point: its last record.
        first: number of the first record that is kept.
    """

    point: Point = BEGINNING
    first: int = 1


def chain_key(keys: KeySet) -> Secret:
    """Returns the key of the chain."""
    return keys.subkey(_PURPOSE)


class HeadFile:
    """The file of a log's head.

    Args:
        folder: the keyholder's.
        keys: of the vault.

    Attributes:
        half_damaged: whether one of its places does not open, which was found when it was read.  A write that
            was cut off does so; but then the records that it was to tell of are on the disk.
    """

    def __init__(self, folder: Path, keys: KeySet) -> None:
        self._path = folder / HEAD_NAME
        self._sealer = Sealer(keys.subkey(_PURPOSE, b"head"))
        self._turn = 0
        self.half_damaged = False

    def read(self) -> Head | None:
        """Returns the head; None if there is no file.

        Raises:
            DataLoss: if it is damaged, or another vault's.
        """
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return None
        places = [data[turn * _PLACE_BYTES : (turn + 1) * _PLACE_BYTES] for turn in range(2)]
        opened = [self._opened(place) for place in places]
        self.half_damaged = any(
            head is None and any(place) for head, place in zip(opened, places, strict=True)
        )
        found = [(head, turn) for turn, head in enumerate(opened) if head is not None]
        if not found:
            raise DataLoss(f"{HEAD_NAME} is damaged, or of another vault")
        newest, at = max(found, key=lambda one: (one[0].point.number, one[0].first))
        self._turn = 1 - at
        return newest

    def _opened(self, place: bytes) -> Head | None:
        size = int.from_bytes(place[:2], "big")
        try:
            told = json.loads(self._sealer.open(place[2 : 2 + size], _PLACE))
            return Head(Point(told["number"], bytes.fromhex(told["chain"])), told["first"])
        except (DataLoss, ValueError, KeyError, TypeError):
            return None

    def write(self, head: Head) -> None:
        """Writes the head; it is on the disk when this returns."""
        told = {"number": head.point.number, "chain": head.point.chain.hex(), "first": head.first}
        sealed = self._sealer.seal(json.dumps(told).encode(), _PLACE)
        place = (len(sealed).to_bytes(2, "big") + sealed).ljust(_PLACE_BYTES, b"\0")
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            os.pwrite(handle, place, self._turn * _PLACE_BYTES)
            os.fdatasync(handle)
        finally:
            os.close(handle)
        self._turn = 1 - self._turn


def record_files(folder: Path) -> list[Path]:
    """Returns the files of records in a keyholder's folder, the oldest first."""
    return sorted((folder / FOLDER_NAME).glob("[0-9]*.jsonl"))


def file_of(folder: Path, first: int) -> Path:
    """Returns the path of the file whose first record has a number."""
    return folder / FOLDER_NAME / f"{first:012d}.jsonl"
