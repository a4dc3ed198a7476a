"""Answer keys on the disk, in one SQLite file of the keyholder's folder.

A cache: what is lost or damaged is made again from storage's log.  It is sealed, because check sums hold the
keyholder's secret factors.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from blindsight.errors import BlindsightError, DataLoss
from blindsight.packing.segments import Region, SegmentId
from blindsight.ring.tiles import Geometry
from blindsight.runtime import logs
from blindsight.runtime.sqlite import Schema, connect, transaction
from blindsight.trusted.columns import answer_key
from blindsight.trusted.columns.answer_key import AnswerKey
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.keyring.sealing import Sealer

FILE_NAME = "answer_keys.db"
SCHEMA = Schema(__package__, "a database of answer keys", version=1, application_id=0x4253414B)  # "BSAK"


class AnswerKeyStore:
    """A store of answer keys.  Blocking; safe to use from several threads of one process.

    Args:
        path: of the file; created if it does not exist, and made anew if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            self._db = self._open(path)
        except BlindsightError as error:
            logs.get().warning("answer_keys_dropped", reason=error.reason)
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._db = self._open(path)

    @staticmethod
    def _open(path: Path) -> sqlite3.Connection:
        # What a power failure takes is made again, so nothing waits for the disk.
        pragmas = ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON")
        return connect(path, lambda db: SCHEMA.apply(db, path, *pragmas))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, transaction(self._db) as db:
            yield db

    def load(self, collection_id: bytes, keys: CollectionKeys) -> AnswerKey | None:
        """Returns a collection's answer key as it was saved; None if there is none that can be used."""
        try:
            with self._transaction() as db:
                return _read(db, collection_id, keys)
        except (BlindsightError, ValueError) as error:
            logs.get().warning("answer_key_dropped", reason=getattr(error, "reason", "DATA_LOSS"))
            return None

    def save(self, collection_id: bytes, keys: CollectionKeys, before: AnswerKey, key: AnswerKey) -> None:
        """Saves an answer key.

        Args:
            before: what was saved before, of which only the differences are written; empty to write all.
        """
        sealer = _sealer(keys)
        gone = [segment for segment in before.segments if segment not in key.segments]
        changed = {
            segment: held
            for segment, held in key.segments.items()
            if before.segments.get(segment) is not held
        }
        sums = {region: made for region, made in key.sums.items() if before.sums.get(region) is not made}
        with self._transaction() as db:
            if not before.segments:
                _delete(db, collection_id)
            db.execute(
                "INSERT INTO galleries VALUES (?, ?, ?) ON CONFLICT (collection) DO UPDATE "
                "SET sequence = excluded.sequence, epoch = excluded.epoch",
                (collection_id, key.sequence, key.epoch),
            )
            db.executemany(
                "DELETE FROM segments WHERE collection = ? AND region = ? AND position = ?",
                [(collection_id, segment.region, segment.index) for segment in gone],
            )
            db.executemany(
                "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)",
                (
                    (
                        collection_id,
                        segment.region,
                        segment.index,
                        sealer.seal(answer_key.to_bytes(held), _place(collection_id, str(segment))),
                    )
                    for segment, held in changed.items()
                ),
            )
            db.executemany(
                "INSERT OR REPLACE INTO sums VALUES (?, ?, ?)",
                (
                    (collection_id, region, sealer.seal(made.tobytes(), _place(collection_id, region.name)))
                    for region, made in sums.items()
                ),
            )

    def forget(self, collection_id: bytes) -> None:
        """Deletes a collection's answer key."""
        with self._transaction() as db:
            _delete(db, collection_id)

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._db.close()


def _read(db: sqlite3.Connection, collection_id: bytes, keys: CollectionKeys) -> AnswerKey | None:
    found = db.execute(
        "SELECT sequence, epoch FROM galleries WHERE collection = ?", (collection_id,)
    ).fetchone()
    if found is None:
        return None
    sealer = _sealer(keys)
    segments, sums = {}, {}
    for region, position, sealed in db.execute(
        "SELECT region, position, sealed FROM segments WHERE collection = ?", (collection_id,)
    ):
        segment = SegmentId(Region(region), position)
        data = sealer.open(sealed, _place(collection_id, str(segment)))
        segments[segment] = answer_key.from_bytes(data, segment, keys)
    for region, sealed in db.execute(
        "SELECT region, sealed FROM sums WHERE collection = ?", (collection_id,)
    ):
        one = Region(region)
        geometry = Geometry(keys.parameters, keys.layout.of(one).columns)
        data = sealer.open(sealed, _place(collection_id, one.name))
        sums[one] = np.frombuffer(data, np.uint32).reshape(geometry.shape)
    if {segment.region for segment in segments} - set(sums):
        raise DataLoss("answer keys without check sums")
    return AnswerKey(int(found[0]), int(found[1]), segments, sums)


def _delete(db: sqlite3.Connection, collection_id: bytes) -> None:
    for table in ("segments", "sums", "galleries"):
        db.execute(f"DELETE FROM {table} WHERE collection = ?", (collection_id,))  # noqa: S608


def _sealer(keys: CollectionKeys) -> Sealer:
    return Sealer(keys.fixed("answer keys"))


def _place(collection_id: bytes, what: str) -> bytes:
    return collection_id + what.encode()
