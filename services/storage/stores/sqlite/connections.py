"""Connections to one SQLite database: one that writes, and as many as needed that read snapshots."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from blindsight.errors import BlindsightError, DataLoss, ResourceExhausted
from blindsight.runtime.sqlite import BUSY_MILLISECONDS, Schema, connect, transaction, translated
from services.storage.stores.sqlite.reserve import DISK, Reserve

Done = TypeVar("Done")


class _Schema(Schema):
    """A schema that keeps its version in a table."""

    def found(self, db: sqlite3.Connection) -> int | None:
        table = "SELECT 1 FROM sqlite_schema WHERE name = 'schema_version'"
        if db.execute(table).fetchone() is None:
            return None
        return int(db.execute("SELECT version FROM schema_version").fetchone()[0])

    def marks(self, version: int) -> str:
        return f"UPDATE schema_version SET version = {version};"  # noqa: S608 - a number


SCHEMA = _Schema(__package__, "a storage database", version=5, made_version=5)
# Measured with blocks of 4.2 MB and a million items: larger pages rewrite more of the index of random
# handles for each changed entry, smaller ones slow the blocks down.
PAGE_BYTES = 8192
# Bytes freed in one transaction; an append that waits for it waits for less than a second.
SLICE_BYTES = 64 << 20
RESERVE_NAME = "reserve"
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
        reserve_bytes: space beyond that, and on the disk, for what frees space; 0 for none.

    Raises:
        InvalidArgument: if the file has an unsupported schema version, or is not a storage database.
        DataLoss: if it is damaged.
    """

    def __init__(self, path: Path, max_bytes: int, reserve_bytes: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._reserve = Reserve(path.with_name(RESERVE_NAME), reserve_bytes)
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._writer = connect(path, self._prepare, statements=STATEMENTS)
        self._reserve.hold()

    def _prepare(self, db: sqlite3.Connection) -> None:
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
        # What is in the log must fit into the file, also when nothing but the reserve is left for it.
        checkpoint_bytes = min(CHECKPOINT_BYTES, self._reserve.size_bytes // 2 or CHECKPOINT_BYTES)
        db.execute(f"PRAGMA wal_autocheckpoint = {checkpoint_bytes // PAGE_BYTES}")
        self._limit(db, self._max_bytes)
        if _tables(db) != _expected_tables():
            raise DataLoss(f"{self.path} does not have the tables of schema version {SCHEMA.version}")

    def _limit(self, db: sqlite3.Connection, max_bytes: int) -> None:
        if self._max_bytes:
            db.execute(f"PRAGMA max_page_count = {max(max_bytes // PAGE_BYTES, 1)}")

    @contextmanager
    def transaction(self, size_bytes: int = 0) -> Iterator[sqlite3.Connection]:
        """Holds the writing connection in one transaction while the block runs.

        Afterwards all of the block's writes are on the disk, or none of them.

        Args:
            size_bytes: the large bytes that are written.

        Raises:
            ResourceExhausted: also while the reserve is not held, or if the disk might not hold all of it.
        """
        with self._writing:
            self._reserve.require()
            self._require_disk(size_bytes)
            with transaction(self._writer, DISK) as db:
                yield db

    def _require_disk(self, size_bytes: int) -> None:
        """Refuses what would fit into the log, and not from there into the file: that would be the end."""
        want = 2 * size_bytes + self.log_bytes() if self._reserve.size_bytes else 0
        free = shutil.disk_usage(self.path.parent).free
        if free < want:
            raise ResourceExhausted(f"{DISK} is full: {free} bytes are free, want {want}")

    def freeing(self, work: Callable[[sqlite3.Connection], Done]) -> Done:
        """Calls a function that frees space in one transaction; a full disk is no hindrance."""

        def run() -> Done:
            with transaction(self._writer, DISK) as db:
                return work(db)

        with self._writing:
            self._limit(self._writer, self._max_bytes + self._reserve.size_bytes)
            try:
                return self._with_reserve(run)
            finally:
                self._limit(self._writer, self._max_bytes)

    def _with_reserve(self, run: Callable[[], Done]) -> Done:
        """Calls a function, and again with the reserve if it finds the disk full."""
        try:
            return run()
        except ResourceExhausted as error:
            if not isinstance(error.__cause__, sqlite3.Error):
                raise  # not the disk, but a limit of ours
        self._reserve.release()
        self._empty_log()
        return run()

    def slice_bytes(self) -> int:
        """Returns how much to free in one transaction, whose log must fit into what was reserved."""
        return SLICE_BYTES if self._reserve.held else min(SLICE_BYTES, self._reserve.size_bytes // 4)

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

    def shrink(self) -> bool:
        """Returns free pages to the file system, at most `slice_bytes`; returns whether there are more.

        At the end it empties the write-ahead log, unless a reader needs it: otherwise the log would keep
        deleted bytes until they are overwritten.
        """
        with self._writing:
            more = self._with_reserve(self._shrink)
            if not more:
                self._reserve.hold()
            return more

    def _shrink(self) -> bool:
        with translated():
            before = self._free_pages()
            # Run as a script: `execute` makes one step of a statement without columns, which is one page.
            self._writer.executescript(f"PRAGMA incremental_vacuum({self.slice_bytes() // PAGE_BYTES})")
            more = 0 < self._free_pages() < before
        if not more or not self._reserve.held:
            self._empty_log()
        return more

    def _empty_log(self) -> None:
        """Moves the write-ahead log into the file and returns its space, unless a reader needs it."""
        with translated():
            self._writer.execute("PRAGMA busy_timeout = 0")
            try:
                self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                self._writer.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")

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
