"""SQLite databases: opening, schema versions, transactions, and SQLite's errors as BlindsightErrors."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

from blindsight.errors import DataLoss, InvalidArgument, ResourceExhausted, Unavailable

# Another process locks a database for some milliseconds, a backup for half a second.
BUSY_MILLISECONDS = 5000

_LOST = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_FORMAT}
# Said with the code of errors in statements, but of a number in the file's header.
_UNKNOWN_FORMAT = "unsupported file format"
_DISK = "the disk"
_DAMAGED = "the database is damaged: restore it from a copy"
_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


@dataclass(frozen=True, slots=True)
class Schema:
    """The schema of one kind of database: `schema.sql`, and `schema_N.sql` to migrate from N - 1 to N.

    Attributes:
        package: package with these files.
        what: what such a database is called in error messages: "a queue".
        version: the newest version.
        made_version: the version that `schema.sql` creates; older ones are refused.
        application_id: SQLite's application id in the header of the file; identifies the kind of database.
    """

    package: str
    what: str
    version: int
    made_version: int = 1
    application_id: int = 0

    def apply(self, db: sqlite3.Connection, path: Path, *pragmas: str) -> None:
        """Creates the tables of a new database, or migrates an older one, version by version.

        Args:
            db: the database.
            path: path of its file, for error messages.
            pragmas: pragmas to set first, once the file is known to be of this kind.

        Raises:
            InvalidArgument: if it is another kind of database, or of a newer version.
        """
        found = self._require(db, path) if db.execute("SELECT 1 FROM sqlite_schema").fetchone() else 0
        for pragma in pragmas:
            db.execute(f"PRAGMA {pragma}")
        if not found:
            found = self.made_version
            self._step(db, self.text(), found)
        for version in range(found + 1, self.version + 1):
            self._step(db, self.text(version), version)

    def _require(self, db: sqlite3.Connection, path: Path) -> int:
        found = self.found(db)
        if found is None:
            raise InvalidArgument(f"{path} is not {self.what} of Blindsight")
        if not self.made_version <= found <= self.version:
            age = "newer" if found > self.version else "older"
            raise InvalidArgument(
                f"{path} has schema version {found}, {age} than this program's {self.version}"
            )
        return found

    def _step(self, db: sqlite3.Connection, statements: str, version: int) -> None:
        # BEGIN and COMMIT are part of the script: `executescript` commits a transaction begun before it.
        try:
            db.executescript(f"BEGIN IMMEDIATE; {statements} {self.marks(version)} COMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def text(self, version: int | None = None) -> str:
        """Returns the statements that create a database, or that migrate the previous version to this one."""
        name = "schema.sql" if version is None else f"schema_{version}.sql"
        return files(self.package).joinpath(name).read_text()

    def found(self, db: sqlite3.Connection) -> int | None:
        """Returns the version of a database with tables; None if it is another kind of database."""
        pragmas = ("PRAGMA application_id", "PRAGMA user_version")
        application_id, version = (db.execute(pragma).fetchone()[0] for pragma in pragmas)
        return version if application_id == self.application_id else None

    def marks(self, version: int) -> str:
        """Returns the statements that store the version, for `found`."""
        return f"PRAGMA application_id = {self.application_id}; PRAGMA user_version = {version};"


def connect(
    path: Path,
    prepare: Callable[[sqlite3.Connection], None],
    *,
    busy_milliseconds: int = BUSY_MILLISECONDS,
    statements: int = 128,
) -> sqlite3.Connection:
    """Opens a database that any thread may use, one at a time; transactions begin explicitly.

    Args:
        path: the file, which is created if it does not exist.
        prepare: called first with the connection, which is closed if it fails.
        busy_milliseconds: how long to wait while another process writes.
        statements: number of prepared statements to cache.

    Raises:
        DataLoss, ResourceExhausted, Unavailable: see `translated`.
    """
    with translated():
        db = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, cached_statements=statements
        )
        try:
            db.execute(f"PRAGMA busy_timeout = {busy_milliseconds}")
            prepare(db)
        except BaseException:
            db.close()
            raise
        return db


@contextmanager
def transaction(db: sqlite3.Connection, disk: str = _DISK) -> Iterator[sqlite3.Connection]:
    """Runs the block in a write transaction: all of it is on the disk afterwards, or nothing.

    Args:
        disk: what errors call its disk.

    Raises:
        DataLoss, ResourceExhausted, Unavailable: see `translated`.
    """
    with translated(disk):
        db.execute("BEGIN IMMEDIATE")
        try:
            yield db
            db.execute("COMMIT")
        except BaseException:
            # When the disk is full, SQLite has rolled back already.
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise


class Store:
    """A small database of one file, of whose every change nothing is lost once it is made.

    Blocking; safe to use from several threads of one process.

    Args:
        path: of the file; created if it does not exist.

    Attributes:
        schema: of the database; each kind of store has its own.

    Raises:
        DataLoss: if the file is damaged.
        InvalidArgument: if it is another kind of database, or of another version.
    """

    schema: ClassVar[Schema]

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        pragmas = ("journal_mode = WAL", "synchronous = FULL")
        self._db = connect(path, lambda db: self.schema.apply(db, path, *pragmas))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Runs the block in a transaction: all of it is on the disk afterwards, or nothing."""
        with self._lock, transaction(self._db) as db:
            yield db

    def close(self) -> None:
        """Closes the database."""
        with self._lock:
            self._db.close()


@contextmanager
def translated(disk: str = _DISK) -> Iterator[None]:
    """Raises SQLite's errors about the disk and the file as BlindsightErrors; lets programming errors pass.

    Args:
        disk: what errors call the disk.

    Raises:
        ResourceExhausted: if the disk is full.
        DataLoss: if the database is damaged.
        Unavailable: if the database is locked, or its disk is not there or not writable.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataLoss(_DAMAGED) from error
    except sqlite3.Error as error:
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            raise ResourceExhausted(f"{disk} is full: nothing of this write was kept") from error
        if code in _LOST:
            raise DataLoss(_DAMAGED) from error
        if code in _AWAY:
            raise Unavailable("the database does not answer: is its disk there and writable?") from error
        raise


def _code(error: sqlite3.Error) -> int:
    """Returns SQLite's primary error code.

    Text that is not UTF-8 raises an OperationalError of the sqlite3 module without a code; the database is
    damaged then.
    """
    undecodable = isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
    if undecodable or str(error) == _UNKNOWN_FORMAT:
        return sqlite3.SQLITE_CORRUPT
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
