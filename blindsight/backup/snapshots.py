"""Snapshots of several databases at one moment, unaffected by later writes.

SQLite's online backup copies the state that its source connection reads.  So a snapshot is a read transaction
on each database, all begun while nobody can write to any of them.  That takes some milliseconds, during which
services wait as they wait for each other's writes.  The copying may then take any time.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from blindsight.backup.parts import Database
from blindsight.errors import DataLoss, InvalidArgument
from blindsight.runtime.backoff import Backoff
from blindsight.runtime.sqlite import translated

# Services wait five seconds for a database; locks are held for a fraction of that at most.
_GUARD_SECONDS = 0.5
_WAIT_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
# Pages of one step of a copy: progress is reported, and Ctrl-C handled, between steps.
_STEP_PAGES = 512


class Snapshot:
    """The state of a database at a moment.

    Attributes:
        schema_version: schema version of the file.
        counts: results of the part's queries, by name.
        size_bytes: size of a copy.

    Raises:
        InvalidArgument: if a newer version wrote the database.
        DataLoss: if it is damaged, or another kind of database.
    """

    def __init__(self, part: Database, db: sqlite3.Connection, path: Path) -> None:
        self._part = part
        self._db = db
        try:
            self.schema_version = int(db.execute(part.version_query).fetchone()[0])
            require_known(part, self.schema_version, str(path))
            self.counts = {name: int(db.execute(query).fetchone()[0]) for name, query in part.counts.items()}
        except (sqlite3.OperationalError, TypeError, ValueError) as error:
            raise DataLoss(f"{path} is damaged, or no database of Blindsight") from error
        self._page_bytes = int(db.execute("PRAGMA page_size").fetchone()[0])
        self.size_bytes = self._page_bytes * int(db.execute("PRAGMA page_count").fetchone()[0])

    def copy(self, path: Path, moved: Callable[[int], None]) -> None:
        """Copies the database into an empty file, which the caller must flush.

        Args:
            moved: called with the bytes of each step.
        """
        done = 0

        def step(_status: int, remaining: int, total: int) -> None:
            nonlocal done
            moved((total - remaining) * self._page_bytes - done)
            done = (total - remaining) * self._page_bytes

        with translated(), closing(sqlite3.connect(path, isolation_level=None)) as target:
            target.execute("PRAGMA synchronous = OFF")
            self._db.backup(target, pages=_STEP_PAGES, progress=step)
            if self._part.forget and self.schema_version == self._part.schema_version:
                target.execute(self._part.forget)


@contextmanager
def moment(databases: Sequence[tuple[Database, Path]]) -> Iterator[list[Snapshot]]:
    """Opens snapshots of all databases at the same moment; they are valid while the block runs.

    Raises:
        Unavailable: if a service keeps one locked for a minute, or a disk does not answer.
        InvalidArgument, DataLoss: see `Snapshot`.
    """
    with translated(), ExitStack() as stack:
        readers = [stack.enter_context(closing(_open(path))) for _, path in databases]
        with _nobody_writes([path for _, path in databases]):
            for reader in readers:
                reader.execute("BEGIN")
                reader.execute(
                    "SELECT COUNT(*) FROM sqlite_schema"
                ).fetchone()  # BEGIN alone takes no snapshot: the first read does
        yield [Snapshot(part, reader, path) for (part, path), reader in zip(databases, readers, strict=True)]


@contextmanager
def _nobody_writes(paths: Sequence[Path]) -> Iterator[None]:
    with ExitStack() as stack:
        guards = [stack.enter_context(closing(_open(path))) for path in paths]
        backoff = Backoff(_WAIT_SECONDS, longest_seconds=_PAUSE_SECONDS)
        while not _held(guards, last=not backoff.left_seconds):
            time.sleep(backoff.pause_in_time() or 0)
        yield  # closing a guard ends its transaction


def _held(guards: Sequence[sqlite3.Connection], *, last: bool) -> bool:
    """Takes the write lock of all databases, or of none; returns whether it did."""
    try:
        for guard in guards:
            guard.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        for guard in guards:
            if guard.in_transaction:
                guard.execute("ROLLBACK")
        if last or getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(_uri(path, "mode=rw"), uri=True, isolation_level=None, timeout=_GUARD_SECONDS)


def _uri(path: Path, how: str) -> str:
    return f"file:{quote(str(path.absolute()))}?{how}"


def require_known(part: Database, version: int, where: str) -> None:
    """Checks that this program knows a schema version.

    Raises:
        InvalidArgument: if it is newer.
    """
    if version > part.schema_version:
        raise InvalidArgument(
            f"{where} has schema version {version}, newer than this program's {part.schema_version}"
        )


def require_whole(part: Database, path: Path, version: int) -> None:
    """Runs SQLite's integrity check on a copy, without writing any file beside it.

    Raises:
        DataLoss: if the copy is damaged, or has another schema version.
    """
    # The file is not trusted yet, so its schema must not call functions.
    try:
        with closing(sqlite3.connect(_uri(path, "mode=ro&immutable=1"), uri=True)) as db:
            db.execute("PRAGMA trusted_schema = OFF")
            found = db.execute("PRAGMA integrity_check(1)").fetchall()
            whole = found == [("ok",)] and db.execute(part.version_query).fetchone() == (version,)
    except sqlite3.DatabaseError as error:
        raise DataLoss(f"{path} is damaged: SQLite says {error}") from error
    if not whole:
        raise DataLoss(f"{path} is damaged, or not of schema version {version}")
