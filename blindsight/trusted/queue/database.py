"""The file of an embedded queue."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from blindsight.errors import ResourceExhausted, Unavailable
from blindsight.runtime.folder_lock import locked
from blindsight.runtime.sqlite import Schema, connect, transaction, translated

SCHEMA = Schema(__package__, "a queue", version=2, made_version=2, application_id=0x42535155)  # "BSQU"
BUSY_MILLISECONDS = 30_000
PAGE_BYTES = 8192
CHECKPOINT_BYTES = 64 << 20
# Free pages are reused; a file without messages that has more of them than this is shrunk.
SPARE_BYTES = 64 << 20
CUT_BYTES = 64 << 20


class Database:
    """The file, and this process's one connection to it.

    Raises:
        InvalidArgument: if the file has another schema version, or is not a queue.
        DataLoss: if it is damaged.
        Unavailable: if it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        with _alone(path):
            self._connection: sqlite3.Connection | None = connect(
                path, self._prepare, busy_milliseconds=BUSY_MILLISECONDS
            )

    def _prepare(self, db: sqlite3.Connection) -> None:
        SCHEMA.apply(
            db,
            self._path,
            f"page_size = {PAGE_BYTES}",
            "auto_vacuum = INCREMENTAL",
            "journal_mode = WAL",
            # Bodies are sealed, so deleted ones need no overwriting.  Where SQLite does that by default, as
            # Debian's does, an acknowledgement would cost as much as publishing.
            "secure_delete = OFF",
            f"journal_size_limit = {CHECKPOINT_BYTES}",
            f"wal_autocheckpoint = {CHECKPOINT_BYTES // PAGE_BYTES}",
        )

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Locks the connection for one read-only statement while the block runs."""
        with self._lock, translated():
            yield self._require_open()

    @contextmanager
    def transaction(self, *, flush: bool = True) -> Iterator[sqlite3.Connection]:
        """Holds a transaction, the only one that writes to the file, while the block runs.

        It is committed in full or not at all.

        Args:
            flush: whether the commit is on the disk afterwards.  False for changes that may be lost with the
                machine's processes when its power fails; the next flush writes them, too.
        """
        with self._lock, translated():
            db = self._require_open()
            db.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
            with transaction(db):
                yield db

    def require_disk(self, size_bytes: int) -> None:
        """Checks that a body does not fill the disk: on a full disk no message could be acknowledged.

        A body is written to the write-ahead log, which may grow until its next checkpoint; the checkpoint
        then copies the log to the file.

        Raises:
            ResourceExhausted: if too little space is free.
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
        """Returns the body of a message, or None if it is gone."""
        with self.reading() as db:
            row = db.execute("SELECT body FROM bodies WHERE number = ?", (number,)).fetchone()
        return None if row is None else row[0]

    def cut_when_empty(self) -> None:
        """Returns some free space to the disk once no bodies are left that would have to be moved.

        Not all at once: the file is locked meanwhile, and a queue of a million photos leaves 80 GB.
        """
        with self.reading() as db:
            spare = db.execute("PRAGMA freelist_count").fetchone()[0] * PAGE_BYTES
            if spare > SPARE_BYTES and db.execute("SELECT 1 FROM bodies LIMIT 1").fetchone() is None:
                # As a script, because `execute` makes one step of a statement without columns, and each
                # step frees only one page.
                db.executescript(f"PRAGMA incremental_vacuum({CUT_BYTES // PAGE_BYTES})")

    def _require_open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise Unavailable("the queue is closed")
        return self._connection

    def close(self) -> None:
        """Closes the connection; the last process to close merges the write-ahead log into the file."""
        with self._lock, translated():
            if self._connection is not None:
                self._connection.close()
                self._connection = None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Locks the creation of the file while the block runs.

    SQLite does not wait while another process changes the journal mode.
    """
    with ExitStack() as stack:
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(Path(f"{path}.lock")))
        except OSError as error:
            raise Unavailable(f"the queue {path} cannot be opened: {error.strerror}") from error
        yield
