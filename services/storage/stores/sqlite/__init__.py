"""A store in one SQLite file, by the standard library: nothing else is installed or started.

Write-ahead log, synchronous FULL: an append is one transaction and one flush, and readers never wait for
the writer.  Large bytes are one BLOB each; deleted ones are overwritten with zeros.
"""

from __future__ import annotations

import dataclasses
import sqlite3
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from pathlib import Path

from blindsight.errors import AlreadyExists, DataLoss, ResourceExhausted
from blindsight.packing.segments import SegmentId
from blindsight.runtime import logs
from blindsight.wire.storage import (
    NO_CHAIN,
    Appended,
    AppendHeader,
    AttachmentHeader,
    BatchHeader,
    Deleted,
    Deletion,
    LogHeader,
    OriginalHeader,
    PieceHeader,
    PlanesHeader,
    Settings,
    SlotPage,
    StoredCollection,
    StoredItem,
    Truncation,
    Update,
    Updated,
)
from services.storage.records import Append, StoreStatus
from services.storage.stores.sqlite import appends, attachments, deletions, leases, planes, reads, updates
from services.storage.stores.sqlite.connections import SCHEMA, Connections
from services.storage.stores.sqlite.rows import (
    COLLECTION_FIELDS,
    collection_row,
    insert,
    of_collection,
    require_free_tag,
    to_collection,
)

FILE_NAME = "storage.sqlite3"
# A page of collections fits well into one message.
_PAGE_BYTES = 2 << 20
# Fields that must be equal when a creation is repeated; sealed settings are not, since each sealing differs.
_GIVEN = ("name_tag", "parameter_set", "key_id", "dimension", "stride", "fields")


class SqliteStore:
    """A `Store` in a folder; `stores.Store` describes the methods.

    Args:
        folder: exists, and is used by this process only.
        max_bytes: the largest size of the file; 0 for no limit.
        reserve_bytes: space that is kept for deletions and repacks; 0 for none.
    """

    def __init__(self, folder: Path, max_bytes: int = 0, reserve_bytes: int = 0) -> None:
        self._connections = Connections(folder / FILE_NAME, max_bytes, reserve_bytes)
        # A full disk must not prevent reading and deleting; then staged planes stay until the next start.
        with suppress(ResourceExhausted):
            self._connections.freeing(planes.discard_all)

    def create_collection(self, record: StoredCollection, token: int = 0) -> StoredCollection:
        with self._connections.transaction() as db:
            same_id = db.execute(
                "SELECT * FROM collections WHERE collection_id = ?", (record.collection_id,)
            ).fetchone()
            if same_id is not None:
                return _require_same(to_collection(same_id), record)
            leases.admit(db, record.key_id, token)
            require_free_tag(db, record.name_tag)
            created = dataclasses.replace(record, created_unix_seconds=int(time.time()), chain=NO_CHAIN)
            insert(db, f"collections ({COLLECTION_FIELDS})", [of_collection(created)])
            return created

    def get_collection(self, collection_id: bytes) -> StoredCollection:
        with self._connections.snapshot() as db:
            return to_collection(collection_row(db, collection_id))

    def list_collections(self, after: int, limit: int) -> tuple[list[StoredCollection], int]:
        with self._connections.snapshot() as db:
            rows = db.execute("SELECT * FROM collections WHERE number > ? ORDER BY number", (after,))
            return _page(rows, limit)

    def replace_config(self, settings: Settings) -> int:
        with self._connections.transaction() as db:
            return updates.replace_config(db, settings)

    def delete_collection(self, collection_id: bytes, token: int = 0) -> None:
        self._connections.freeing(lambda db: deletions.delete_collection(db, collection_id, token))

    def admit(self, header: AppendHeader) -> StoredCollection | Appended:
        with self._connections.snapshot() as db:
            collection = collection_row(db, header.collection_id)
            return appends.earlier_answer(db, collection, header) or to_collection(collection)

    def stage(self, upload: bytes, piece: PieceHeader, data: bytes) -> None:
        with self._connections.transaction(len(data)) as db:
            planes.stage(db, upload, piece, data)

    def discard(self, upload: bytes) -> None:
        self._connections.freeing(lambda db: planes.discard(db, upload))

    def append(self, append: Append) -> Appended:
        if append.header.retires:
            return self._connections.freeing(lambda db: appends.append(db, append))
        with self._connections.transaction(append.size_bytes) as db:
            return appends.append(db, append)

    def read_batches(
        self, collection_id: bytes, after_sequence: int, only: Sequence[SegmentId]
    ) -> Generator[LogHeader | BatchHeader | bytes, None, None]:
        with self._connections.snapshot() as db:
            yield from reads.read_batches(db, collection_id, after_sequence, frozenset(only))

    def read_slots(self, collection_id: bytes, after_sequence: int) -> Generator[SlotPage, None, None]:
        with self._connections.snapshot() as db:
            yield from reads.read_slots(db, collection_id, after_sequence)

    def get_items(self, collection_id: bytes, handles: Sequence[bytes]) -> list[StoredItem]:
        with self._connections.snapshot() as db:
            return reads.get_items(db, collection_id, handles)

    def read_original(
        self, collection_id: bytes, handle: bytes
    ) -> Generator[OriginalHeader | bytes, None, None]:
        with self._connections.snapshot() as db:
            yield from reads.read_original(db, collection_id, handle)

    def read_attachments(
        self, collection_id: bytes, handles: Sequence[bytes]
    ) -> Generator[AttachmentHeader | bytes, None, None]:
        with self._connections.snapshot() as db:
            yield from attachments.read(db, collection_id, handles)

    def read_planes(
        self, collection_id: bytes, handle: bytes
    ) -> Generator[PlanesHeader | PieceHeader | bytes, None, None]:
        with self._connections.snapshot() as db:
            yield from planes.read(db, collection_id, handle)

    def delete_items(self, deletion: Deletion) -> Deleted:
        return self._connections.freeing(lambda db: deletions.delete_items(db, deletion))

    def truncate_collection(self, truncation: Truncation) -> int:
        return self._connections.freeing(lambda db: deletions.truncate_collection(db, truncation))

    def update_items(self, update: Update) -> Updated:
        with self._connections.transaction() as db:
            return updates.update_items(db, update)

    def lease(self, key_id: bytes) -> tuple[int, bytes]:
        with self._connections.snapshot() as db:
            return leases.newest(db, key_id)

    def take_lease(self, key_id: bytes, holder_id: bytes) -> int:
        return self._connections.freeing(lambda db: leases.take(db, key_id, holder_id))

    def renew_lease(self, key_id: bytes, holder_id: bytes, token: int) -> None:
        self._connections.freeing(lambda db: leases.renew(db, key_id, holder_id, token))

    def release_lease(self, key_id: bytes, token: int) -> None:
        self._connections.freeing(lambda db: leases.release(db, key_id, token))

    def sweep(self) -> bool:
        more = self._connections.freeing(lambda db: deletions.sweep(db, self._connections.slice_bytes()))
        return self._connections.shrink() or more

    def status(self) -> StoreStatus:
        with self._connections.snapshot() as db:
            row = db.execute("SELECT count(*), coalesce(sum(items), 0) FROM collections").fetchone()
        log_bytes = self._connections.log_bytes()
        return StoreStatus(row[0], row[1], self._connections.disk_bytes(), log_bytes, SCHEMA.version)

    def close(self) -> None:
        self._connections.close()


def _require_same(stored: StoredCollection, record: StoredCollection) -> StoredCollection:
    for field in _GIVEN:
        if getattr(stored, field) != getattr(record, field):
            raise AlreadyExists(f"a collection with this id and another {field} is here already")
    return stored


def _page(rows: sqlite3.Cursor, limit: int) -> tuple[list[StoredCollection], int]:
    page: list[StoredCollection] = []
    size = last = 0
    for row in rows:
        if len(page) == limit or size > _PAGE_BYTES:
            return page, last
        last = row["number"]
        try:
            page.append(to_collection(row))
        except DataLoss:  # its owner misses it, and the others are there
            logs.get().error("collection_damaged", number=last)
            continue
        size += len(row["sealed_config"])
    return page, 0
