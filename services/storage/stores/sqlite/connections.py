"""Connections to one SQLite database: one that writes, and as many as needed that read snapshots."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from blindsight.errors import BlindsightError, DataLoss
from blindsight.runtime.sqlite import BUSY_MILLISECONDS, Schema, connect, transaction, translated


class _Schema(Schema):
    """A schema that keeps its version in a table."""

    def found(self, db: sqlite3.Connection) -> int | None:
        table = "SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'"
        if db.execute(table).fetchone() is None:
            return None
        return int(db.execute("SELECT version FROM schema_version").fetchone()[0])

    def marks(self, version: int) -> str:
        return f"UPDATE schema_version SET version = {version};"  # noqa: S608 - a number


SCHEMA = _Schema(__package__, "a storage database", version=3, made_version=3)
# Measured with blocks of 4.2 MB and a million items: larger pages rewrite more of the index of random
# handles for each changed entry, smaller ones slow the blocks down.
PAGE_BYTES = 8192
CHECKPOINT_BYTES = 64 << 20
# Holds the index of a million handles, so that an append does not read it from disk again.
WRITER_CACHE_KIB = 64 << 10
READER_CACHE_KIB = 4 << 10
IDLE_READERS = 4
# Prepared statements that a connection keeps; few, since those over thousands of rows are large.
STATEMENTS = 32


class Connections:
    """The connections of one database file, opened and checked.

    Args:
        path: of the file; created if it does not exist.
        max_bytes: the largest size of the file; 0 for SQLite's own limit.

    Raises:
        InvalidArgument: if the file has an unsupported schema version, or is not a storage database.
        DataLoss: if it is damaged.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._writer = connect(path, lambda db: self._prepare(db, max_bytes), statements=STATEMENTS)

    def _prepare(self, db: sqlite3.Connection, max_bytes: int) -> None:
        _prepare_any(db, WRITER_CACHE_KIB)
        SCHEMA.apply(
            db,
            self.path,
            f"page_size = {PAGE_BYTES}",
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            "synchronous = FULL",
            "secure_delete = ON",
            f"journal_size_limit = {CHECKPOINT_BYTES}",
        )
        page = db.execute("PRAGMA page_size").fetchone()[0]
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // page}")
        if max_bytes:
            db.execute(f"PRAGMA max_page_count = {max(max_bytes // page, 1)}")
        if _tables(db) != _expected_tables():
            raise DataLoss(f"{self.path} does not have the tables of schema version {SCHEMA.version}")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Holds the writing connection in one transaction while the block runs.

        Afterwards all of the block's writes are on the disk, or none of them.
        """
        with self._writing, transaction(self._writer) as db:
            yield db

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Holds a connection that reads one state of the database while the block runs."""
        with translated():
            connection = self._reader()
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("ROLLBACK")
            except (BlindsightError, GeneratorExit):
                connection.execute("ROLLBACK")
                self._give_back(connection)
                raise
            except BaseException:
                connection.close()
                raise
            self._give_back(connection)

    def _reader(self) -> sqlite3.Connection:
        with suppress(IndexError):
            return self._idle.pop()
        return connect(self.path, _prepare_reader, statements=STATEMENTS)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < IDLE_READERS:
            self._idle.append(connection)
        else:
            connection.close()

    def shrink(self, most_bytes: int) -> bool:
        """Returns free pages to the file system, at most `most_bytes`; returns whether there are more.

        At the end it empties the write-ahead log, unless a reader needs it: otherwise the log would keep
        deleted bytes until they are overwritten.
        """
        with self._writing, translated():
            before = self._free_pages()
            # Run as a script: `execute` makes one step of a statement without columns, which is one page.
            self._writer.executescript(f"PRAGMA incremental_vacuum({most_bytes // PAGE_BYTES})")
            if 0 < self._free_pages() < before:
                return True
            self._writer.execute("PRAGMA busy_timeout = 0")
            try:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
            return False

    def _free_pages(self) -> int:
        return int(self._writer.execute("PRAGMA freelist_count").fetchone()[0])

    def disk_bytes(self) -> int:
        """Returns the size of the database and of its write-ahead log."""
        return self.path.stat().st_size + self.log_bytes()

    def log_bytes(self) -> int:
        """Returns the size of the write-ahead log."""
        with suppress(FileNotFoundError):
            return Path(f"{self.path}-wal").stat().st_size
        return 0

    def close(self) -> None:
        """Closes all connections; SQLite then moves the write-ahead log into the database."""
        with self._writing:
            for connection in (*self._idle, self._writer):
                connection.close()
            self._idle.clear()


def _prepare_any(db: sqlite3.Connection, cache_kib: int) -> None:
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA cache_size = -{cache_kib}")
    db.execute("PRAGMA foreign_keys = ON")


def _prepare_reader(db: sqlite3.Connection) -> None:
    _prepare_any(db, READER_CACHE_KIB)
    db.execute("PRAGMA query_only = ON")


def _tables(db: sqlite3.Connection) -> set[tuple[object, ...]]:
    """Returns all tables and indices with their columns, without their SQL: a migration changes its text."""
    query = (
        'SELECT tables.name, columns.name, columns.type, columns."notnull", columns.dflt_value, columns.pk '
        "FROM sqlite_schema AS tables LEFT JOIN pragma_table_xinfo(tables.name) AS columns"
    )
    return {tuple(row) for row in db.execute(query)}


def _expected_tables() -> set[tuple[object, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(SCHEMA.text())
        return _tables(db)
