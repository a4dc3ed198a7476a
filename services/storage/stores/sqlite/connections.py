"""Connections to one SQLite database: one that writes, as many as needed that read snapshots."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.resources import files
from pathlib import Path

from blindsight.errors import BlindsightError, DataLoss, InvalidArgument
from blindsight.runtime.sqlite import translated

SCHEMA_VERSION = 3
# From here on a database is brought up to date when it is opened, by `schema_2.sql` and so on.
OLDEST_VERSION = 1
# Measured with blocks of 4.2 MB beside a million items: larger pages write the index of random
# handles more often than its entries change, smaller ones slow the blocks down.
PAGE_BYTES = 8192
CHECKPOINT_BYTES = 64 << 20
# Holds the index of a million handles, so that an append does not read it again.
WRITER_CACHE_KIB = 64 << 10
READER_CACHE_KIB = 4 << 10
BUSY_MILLISECONDS = 5000
IDLE_READERS = 4
# Prepared statements that a connection keeps; those over thousands of rows are large.
STATEMENTS = 32


class Connections:
    """Opens, checks and hands out the connections of one database file.

    Args:
        path: of the file; made when it is not there.
        max_bytes: how large the file may get; 0 for as large as SQLite allows.

    Raises:
        InvalidArgument: when the file is of another schema version, or no storage database.
        DataLoss: when it is damaged.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        self.path = path
        self._writing = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        with translated():
            self._writer = self._open(WRITER_CACHE_KIB)
            try:
                self._prepare(max_bytes)
            except BaseException:
                self._writer.close()
                raise

    def _open(self, cache_kib: int) -> sqlite3.Connection:
        connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
        )
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self, max_bytes: int) -> None:
        self._writer.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
        self._writer.execute("PRAGMA journal_mode = WAL")
        self._writer.execute("PRAGMA synchronous = FULL")
        self._writer.execute("PRAGMA secure_delete = ON")
        self._writer.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_BYTES}")
        page = self._writer.execute("PRAGMA page_size").fetchone()[0]
        self._writer.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // page}")
        if max_bytes:
            self._writer.execute(f"PRAGMA max_page_count = {max(max_bytes // page, 1)}")
        self._require_schema()

    def _require_schema(self) -> None:
        tables = _tables(self._writer)
        if not tables:
            self._writer.executescript(f"BEGIN IMMEDIATE; {_schema()} COMMIT;")
            return
        if not any(table == "schema_version" for table, *_ in tables):
            raise InvalidArgument(f"{self.path} is not a storage database of Blindsight")
        version = self._writer.execute("SELECT version FROM schema_version").fetchone()[0]
        if not OLDEST_VERSION <= version <= SCHEMA_VERSION:
            age = "newer" if version > SCHEMA_VERSION else "older"
            raise InvalidArgument(
                f"{self.path} has schema version {version}, {age} than this program's {SCHEMA_VERSION}"
            )
        self._migrate(version)
        if _tables(self._writer) != _expected_tables():
            raise DataLoss(f"{self.path} does not have the tables of schema version {SCHEMA_VERSION}")

    def _migrate(self, version: int) -> None:
        """Brings an older database up to date, each step in a transaction of its own."""
        for following in range(version + 1, SCHEMA_VERSION + 1):
            try:
                step = _resource(f"schema_{following}.sql")
                self._writer.executescript(f"BEGIN IMMEDIATE; {step} COMMIT;")
            except sqlite3.Error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """The one connection that writes: all of it is on the disk afterwards, or nothing."""
        with self._writing, translated():
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back when the disk is full.
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection that reads one state of the database, whatever is written meanwhile."""
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
        connection = self._open(READER_CACHE_KIB)
        connection.execute("PRAGMA query_only = ON")
        return connection

    def _give_back(self, connection: sqlite3.Connection) -> None:
        if len(self._idle) < IDLE_READERS:
            self._idle.append(connection)
        else:
            connection.close()

    def shrink(self, most_bytes: int) -> bool:
        """Gives free pages back to the disk, at most so many bytes; true while there are more.

        At the end it empties the write-ahead log, unless a reader needs it: the log would keep what was
        deleted until it is written over.
        """
        with self._writing, translated():
            before = self._free_pages()
            # As a script: `execute` takes one step of a statement without columns, which is one page.
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
        """Size of the database and of its write-ahead log."""
        return self.path.stat().st_size + self.log_bytes()

    def log_bytes(self) -> int:
        """Size of the write-ahead log."""
        with suppress(FileNotFoundError):
            return Path(f"{self.path}-wal").stat().st_size
        return 0

    def close(self) -> None:
        """Closes all connections; the last one puts the write-ahead log into the database."""
        with self._writing:
            for connection in (*self._idle, self._writer):
                connection.close()
            self._idle.clear()


def _schema() -> str:
    return _resource("schema.sql").format(version=SCHEMA_VERSION)


def _resource(name: str) -> str:
    return files(__package__).joinpath(name).read_text()


def _tables(db: sqlite3.Connection) -> set[tuple[object, ...]]:
    """All tables and indices with their columns; not their SQL, which a migration writes in another way."""
    query = (
        'SELECT tables.name, columns.name, columns.type, columns."notnull", columns.dflt_value, columns.pk '
        "FROM sqlite_schema AS tables LEFT JOIN pragma_table_xinfo(tables.name) AS columns"
    )
    return {tuple(row) for row in db.execute(query)}


def _expected_tables() -> set[tuple[object, ...]]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(_schema())
        return _tables(db)
