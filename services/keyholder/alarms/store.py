"""The alarms on the disk, in one SQLite file of the keyholder's folder."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.runtime.sqlite import Schema, Store
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.wire.collections import Alarm
from blindsight.wire.times import of_unix

FILE_NAME = "alarms.db"
_TIMES = "first", "last"
SCHEMA = Schema(__package__, "a database of alarms", version=1, application_id=0x4253414C)  # "BSAL"


class AlarmStore(Store):
    """A store of alarms.

    Args:
        path: of the file; created if it does not exist.
        sealer: seals what an alarm tells.
    """

    schema = SCHEMA

    def __init__(self, path: Path, sealer: Sealer) -> None:
        super().__init__(path)
        self._sealer = sealer

    def load(self) -> list[Alarm]:
        """Returns all alarms, the oldest first.

        Raises:
            DataLoss: if one is damaged.
        """
        with self._transaction() as db:
            return [
                self._alarm(*row) for row in db.execute("SELECT number, alarm FROM alarms ORDER BY number")
            ]

    def newest(self) -> int:
        """Returns the highest number that an alarm ever had; 0 if there was none."""
        with self._transaction() as db:
            row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'alarms'").fetchone()
        return int(row[0]) if row is not None else 0

    def save(self, alarm: Alarm, instead_of: Collection[int] = ()) -> None:
        """Saves an alarm in place of earlier ones; it is on the disk when this returns."""
        sealed = self._sealer.seal(_packed(alarm), _place(alarm.number))
        with self._transaction() as db:
            db.executemany("DELETE FROM alarms WHERE number = ?", [(one,) for one in instead_of])
            db.execute("INSERT INTO alarms VALUES (?, ?)", (alarm.number, sealed))

    def remove(self, numbers: Collection[int]) -> None:
        """Removes alarms."""
        with self._transaction() as db:
            db.executemany("DELETE FROM alarms WHERE number = ?", [(one,) for one in numbers])

    def _alarm(self, number: int, sealed: bytes) -> Alarm:
        try:
            return _unpacked(self._sealer.open(sealed, _place(number)))
        except (DataLoss, ValueError, TypeError, KeyError):
            raise DataLoss(
                f"an alarm of the keyholder is damaged: remove {FILE_NAME}, or restore it"
            ) from None


def _packed(alarm: Alarm) -> bytes:
    times = {f"{name}_unix_seconds": int(getattr(alarm, name).timestamp()) for name in _TIMES}
    told = {name: value for name, value in asdict(alarm).items() if name not in _TIMES}
    return json.dumps({**told, **times}).encode()


def _unpacked(packed: bytes) -> Alarm:
    told = json.loads(packed)
    told |= {name: of_unix(told.pop(f"{name}_unix_seconds")) for name in _TIMES}
    return Alarm(**told)


def _place(number: int) -> bytes:
    return b"alarm:%d" % number
