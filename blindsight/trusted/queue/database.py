"""The file of an embedded queue."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.resources import files
from pathlib import Path

from blindsight.errors import InvalidArgument, ResourceExhausted, Unavailable
from blindsight.runtime.folder_lock import locked
from blindsight.runtime.sqlite import translated

SCHEMA_VERSION = 1
APPLICATION_ID = 0x42535155  # "BSQU", where `file` looks for whose database it is
BUSY_MILLISECONDS = 30_000
PAGE_BYTES = 8192
CHECKPOINT_BYTES = 64 << 20
# Free pages are used again; an empty file that has more of them than this is cut.
SPARE_BYTES = 64 << 20
CUT_BYTES = 64 << 20


class Database:
    """The file, and this process's one connection to it.

    Raises:
        InvalidArgument: when the file is of another schema version, or no queue.
        DataLoss: when it is damaged.
        Unavailable: when it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with translated(), _alone(path):
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            try:
                self._prepare(connection)
            except BaseException:
                connection.close()
                raise
        self._connection: sqlite3.Connection | None = connection

    def _prepare(self, db: sqlite3.Connection) -> None:
        db.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
        found = _found(db)
        if found == (0, 0, 0):
            db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        # Bodies are sealed.  Where SQLite was built to write zeros over what is deleted, as Debian's is, an
        # acknowledgement would cost as much as publishing.
        db.execute("PRAGMA secure_delete = OFF")
        db.execute(f"PRAGMA journal_size_limit = {CHECKPOINT_BYTES}")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_BYTES // PAGE_BYTES}")
        if found == (0, 0, 0):
            marks = f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA_VERSION};"
            schema = files(__package__).joinpath("schema.sql").read_text()
            db.executescript(f"BEGIN IMMEDIATE; {schema} {marks} COMMIT;")
        elif found[0] != APPLICATION_ID:
            raise InvalidArgument(f"{self._path} is not a queue of Blindsight")
        elif found[1] != SCHEMA_VERSION:
            raise InvalidArgument(f"{self._path} has schema version {found[1]}, want {SCHEMA_VERSION}")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for one statement that changes nothing."""
        with self._lock, translated():
            yield self._require_open()

    @contextmanager
    def transaction(self, *, flush: bool = True) -> Iterator[sqlite3.Connection]:
        """The connection, alone in the file: all of it is on the disk afterwards, or nothing.

        Args:
            flush: false for what a machine that loses its power may forget, as it forgets its processes;
                the next flush takes it along.
        """
        with self._lock, translated():
            db = self._require_open()
            db.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                # SQLite itself rolls back when the disk is full.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def require_disk(self, size_bytes: int) -> None:
        """Refuses a body that would fill the disk: on a full one nobody could acknowledge anything.

        A body is written to the log, which may grow until its next checkpoint; then what is in the log
        goes to the file.

        Raises:
            ResourceExhausted: when too little is free.
        """
        with self.reading() as db:
            pragmas = ("PRAGMA page_count", "PRAGMA freelist_count")
            pages, spare = (db.execute(one).fetchone()[0] * PAGE_BYTES for one in pragmas)
        log, file = (Path(f"{self._path}{suffix}").stat().st_size for suffix in ("-wal", ""))
        of_log = max(CHECKPOINT_BYTES + size_bytes - log, 0)
        want = of_log + max(pages - file, 0) + max(size_bytes - spare, 0)
        free = shutil.disk_usage(self._path.parent).free
        if free < want:
            raise ResourceExhausted(f"the queue's disk is full: {free} bytes are free, want {want}")

    def body(self, number: int) -> bytes | None:
        """The body of a message; None when it is gone."""
        with self.reading() as db:
            row = db.execute("SELECT body FROM bodies WHERE number = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def cut_when_empty(self) -> None:
        """Gives some room back to the disk when no bodies are left that would have to be moved for it.

        Not all at once: the file is locked meanwhile, and a queue of a million photos leaves 80 GB.
        """
        with self.reading() as db:
            spare = db.execute("PRAGMA freelist_count").fetchone()[0] * PAGE_BYTES
            if spare > SPARE_BYTES and db.execute("SELECT 1 FROM bodies LIMIT 1").fetchone() is None:
                # As a script: `execute` takes one step of a statement without columns, which is one page.
                db.executescript(f"PRAGMA incremental_vacuum({CUT_BYTES // PAGE_BYTES})")

    def _require_open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable("the queue is closed")
        return self._connection

    def close(self) -> None:
        """The last process to close puts the write-ahead log into the file."""
        with self._lock, translated():
            if self._connection is not None:
                self._connection.close()
                self._connection = None


def _found(db: sqlite3.Connection) -> tuple[int, int, int]:
    """Application id, schema version and number of tables; zeros in a new file."""
    pragmas = ("PRAGMA application_id", "PRAGMA user_version", "SELECT COUNT(*) FROM sqlite_schema")
    application, version, tables = (db.execute(one).fetchone()[0] for one in pragmas)
    return application, version, tables


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time makes the file: SQLite does not wait while another changes its journal mode."""
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(Path(f"{path}.lock")))
        except OSError as error:
            raise Unavailable(f"the queue {path} cannot be opened: {error.strerror}") from error
        yield
