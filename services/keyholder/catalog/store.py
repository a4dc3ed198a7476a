"""Items' metadata on the disk, in one SQLite file of the keyholder's folder that SQLCipher encrypts.

It is an index of what storage has sealed: one that is lost or damaged is made anew from there.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlcipher3 import dbapi2 as sqlcipher

from blindsight.errors import ResourceExhausted
from blindsight.runtime import logs
from blindsight.trusted.keyring.handles import block_of, is_short
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.secrets import Secret
from blindsight.wire.metadata import Values

FILE_NAME = "catalog.db"
VERSION = 3
WORD_BYTES = 8
# Values bound in one statement.
_BOUND = 8192
_PRAGMAS = (
    "cipher_memory_security = OFF",  # the metadata are in this process's memory anyway
    "journal_mode = WAL",
    "synchronous = NORMAL",  # what a crash takes is read from storage again
    "secure_delete = ON",
    "cache_size = -16384",
)

Words = npt.NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Entry:
    """An item as the catalog has it; it is up to date if the slot map has this version of it.

    Attributes:
        handle: 16 bytes.
        version: 8 bytes without marks.
    """

    handle: bytes
    version: bytes
    metadata: ItemMetadata

    @property
    def place(self) -> bytes:
        """What an entry has its place by among others of the same time.

        What has no time was nothing but a short id before something was said of it, and stays in its place.
        """
        encoded = self.metadata.id.encode()
        return self.handle if self.metadata.added_microseconds or not is_short(encoded) else block_of(encoded)


# A record ends with a list of lists then, or with that and 16 hex digits: quotes within a text are escaped.
_LABELLED = f"(record LIKE '%]]' OR record LIKE '%]],\"{'_' * 16}\"]')"


class CatalogStore:
    """A store of entries.  Blocking; safe to use from several threads of one process.

    Args:
        path: of the file; created if it does not exist, and anew if it cannot be read.
        key: encrypts the file.

    Raises:
        ResourceExhausted: if the disk is full.
    """

    def __init__(self, path: Path, key: Secret) -> None:
        self._path = path
        self._key = key
        self._lock = threading.Lock()
        try:
            self._db = self._open()
        except sqlcipher.DatabaseError:
            self._db = self._anew()

    def _open(self) -> Any:
        db = sqlcipher.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            db.execute(f"PRAGMA key = \"x'{self._key.reveal_secret().hex()}'\"")
            for pragma in _PRAGMAS:
                db.execute(f"PRAGMA {pragma}")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, VERSION):
                raise sqlcipher.DatabaseError(f"version {version}")
            if not version:
                schema = files(__package__).joinpath("schema.sql").read_text()
                db.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version = {VERSION}; COMMIT;")
        except BaseException:
            db.close()
            raise
        return db

    def _anew(self) -> Any:
        """Opens an empty file in the place of one that cannot be read."""
        logs.get().warning("catalog_made_anew")
        for suffix in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                self._path.with_name(self._path.name + suffix).unlink()
        return self._open()

    @contextmanager
    def _using(self) -> Iterator[Any]:
        """Gives the database to the block, in a transaction; one that is found damaged is made anew.

        Raises:
            ResourceExhausted: if the disk is full.
            LookupError: if the file was damaged, and is empty now.
        """
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:
                        self._db.execute("ROLLBACK")
                    raise
            except sqlcipher.Error as error:
                if "full" in str(error):
                    raise ResourceExhausted("the keyholder's disk is full") from error
                self._db.close()
                self._db = self._anew()
                raise LookupError("the catalog is made anew") from error

    def versions(self, collection_id: bytes) -> tuple[Words, Words]:
        """Returns the first words of the handles of all entries, and their versions, both uint64 [n]."""
        parts = [
            b"".join(handle[:WORD_BYTES] + version for handle, version in rows)
            for rows in self._all(collection_id, "handle, version", "collection = ?")
        ]
        words = np.frombuffer(b"".join(parts), "<u8").reshape(-1, 2)
        return words[:, 0].copy(), words[:, 1].copy()

    def _all(self, collection_id: bytes, columns: str, where: str) -> Iterator[list[tuple[Any, ...]]]:
        """Yields all rows, some at a time, between which others may use the file."""
        last = b""
        while True:
            with self._using() as db:
                query = f"SELECT {columns} FROM items WHERE {where} AND handle > ? ORDER BY handle LIMIT ?"  # noqa: S608
                rows = db.execute(query, (collection_id, last, _BOUND)).fetchall()
            if not rows:
                return
            yield rows
            last = rows[-1][0]

    def put(self, collection_id: bytes, entries: Sequence[Entry]) -> None:
        """Adds entries, in the places of those of the same items."""
        rows = [
            (
                collection_id,
                entry.handle,
                entry.version,
                entry.metadata.id,
                entry.metadata.added_microseconds,
                entry.place,
                entry.metadata.to_json(),
                bool(entry.metadata.values),
            )
            for entry in entries
        ]
        with self._using() as db:
            db.executemany("INSERT OR REPLACE INTO items VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    def find(self, collection_id: bytes, handles: Sequence[bytes]) -> dict[bytes, Entry]:
        """Returns entries by handle."""
        found: dict[bytes, Entry] = {}
        with self._using() as db:
            for start in range(0, len(handles), _BOUND):
                part = handles[start : start + _BOUND]
                marks = ", ".join("?" * len(part))
                query = (
                    f"SELECT handle, version, record FROM items WHERE collection = ? AND handle IN ({marks})"  # noqa: S608
                )
                for handle, version, record in db.execute(query, (collection_id, *part)):
                    found[handle] = Entry(handle, version, ItemMetadata.from_json(record))
        return found

    def collections(self) -> list[bytes]:
        """Returns the ids of the collections of whose items owners said something."""
        with self._using() as db:
            return [row[0] for row in db.execute("SELECT DISTINCT collection FROM items WHERE has_values")]

    def count_values(self, collection_id: bytes) -> int:
        """Returns how many entries `values` yields."""
        query = "SELECT COUNT(*) FROM items WHERE collection = ? AND has_values"
        with self._using() as db:
            return int(db.execute(query, (collection_id,)).fetchone()[0])

    def values(self, collection_id: bytes) -> Iterator[tuple[int, Values]]:
        """Yields what owners said of their items, by the first word of the handle."""
        for rows in self._all(collection_id, "handle, record", "collection = ? AND has_values"):
            for handle, record in rows:
                yield int.from_bytes(handle[:WORD_BYTES], "little"), ItemMetadata.values_of(record)

    def with_vectors(self, collection_id: bytes) -> Iterator[Entry]:
        """Yields the entries of items of whose vectors something is said."""
        for rows in self._all(collection_id, "handle, version, record", f"collection = ? AND {_LABELLED}"):
            for handle, version, record in rows:
                yield Entry(handle, version, ItemMetadata.from_json(record))

    def page(
        self,
        collection_id: bytes,
        order: str,
        after: tuple[Any, bytes] | None,
        limit: int,
        *,
        descending: bool,
    ) -> list[Entry]:
        """Returns entries in an order.

        Args:
            order: "id" or "added".
            after: the last entry of the page before: what it is ordered by, and its place; None: none is.
        """
        way, beyond = ("DESC", "<") if descending else ("ASC", ">")
        where, bound = "", tuple[Any, ...]()
        if after is not None:
            where, bound = f"AND ({order}, place) {beyond} (?, ?)", after
        query = (
            f"SELECT handle, version, record FROM items WHERE collection = ? {where} "  # noqa: S608
            f"ORDER BY {order} {way}, place {way} LIMIT ?"
        )
        with self._using() as db:
            rows = db.execute(query, (collection_id, *bound, limit)).fetchall()
        return [Entry(handle, version, ItemMetadata.from_json(record)) for handle, version, record in rows]

    def remove(self, collection_id: bytes, words: Sequence[bytes]) -> None:
        """Removes entries, by the first 8 bytes of their handles."""
        rest = HANDLE_BYTES - WORD_BYTES
        with self._using() as db:
            db.executemany(
                "DELETE FROM items WHERE collection = ? AND handle BETWEEN ? AND ?",
                [(collection_id, word + bytes(rest), word + b"\xff" * rest) for word in words],
            )

    def forget(self, collection_id: bytes) -> None:
        """Removes all entries of a collection."""
        with self._using() as db:
            db.execute("DELETE FROM items WHERE collection = ?", (collection_id,))

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._db.close()
