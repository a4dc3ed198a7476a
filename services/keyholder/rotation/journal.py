"""The journal of a rotation: which collections have a copy, and which items are in it.

It has handles and places, which storage knows, too.  An item is noted after storage has taken its copy: one
that is not noted and there all the same is removed, and copied again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from blindsight.runtime.sqlite import Schema, connect, transaction

FILE_NAME = "journal.db"
SCHEMA = Schema(__package__, "a journal of a rotation", version=1, application_id=0x4253524F)  # "BSRO"

# By the handle of an item: its place and version, packed, and the handle of its copy.
Copied = dict[bytes, tuple[bytes, bytes]]


class Journal:
    """A journal.  Blocking; safe to use from several threads of one process.

    Args:
        path: of the file; created if it does not exist.

    Raises:
        DataLoss: if the file is damaged.
        InvalidArgument: if it is another kind of database, or of another version.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        pragmas = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")
        self._db = connect(path, lambda db: SCHEMA.apply(db, path, *pragmas))

    def twins(self) -> dict[bytes, bytes]:
        """Returns the ids of copies by those of the collections that they are of."""
        with self._lock, transaction(self._db) as db:
            return dict(db.execute("SELECT collection_id, twin_id FROM twins").fetchall())

    def add_twin(self, collection_id: bytes, twin_id: bytes) -> None:
        """Notes a new copy, which is empty."""
        with self._lock, transaction(self._db) as db:
            db.execute("INSERT INTO twins VALUES (?, ?)", (collection_id, twin_id))

    def remove_twin(self, collection_id: bytes) -> None:
        """Forgets a copy, which is gone."""
        with self._lock, transaction(self._db) as db:
            db.execute("DELETE FROM items WHERE collection_id = ?", (collection_id,))
            db.execute("DELETE FROM twins WHERE collection_id = ?", (collection_id,))

    def count(self) -> int:
        """Returns the number of items that were copied."""
        with self._lock, transaction(self._db) as db:
            return int(db.execute("SELECT COUNT(*) FROM items").fetchone()[0])

    def items(self, collection_id: bytes) -> Copied:
        """Returns the items of a collection that were copied."""
        query = "SELECT handle, place, copy FROM items WHERE collection_id = ?"
        with self._lock, transaction(self._db) as db:
            return {handle: (place, copy) for handle, place, copy in db.execute(query, (collection_id,))}

    def add_items(self, collection_id: bytes, copied: Mapping[bytes, tuple[bytes, bytes]]) -> None:
        """Notes items that were copied."""
        rows = [(collection_id, handle, *told) for handle, told in copied.items()]
        with self._lock, transaction(self._db) as db:
            db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?)", rows)

    def remove_items(self, collection_id: bytes, handles: Iterable[bytes]) -> None:
        """Forgets items whose copies are gone."""
        rows = [(collection_id, handle) for handle in handles]
        with self._lock, transaction(self._db) as db:
            db.executemany("DELETE FROM items WHERE collection_id = ? AND handle = ?", rows)

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._db.close()
