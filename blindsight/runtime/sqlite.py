"""What SQLite says of the disk and of its file, as our errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from blindsight.errors import DataLoss, ResourceExhausted, Unavailable

_LOST = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_FORMAT}
_DAMAGED = "the database is damaged: restore it from a copy"
_AWAY = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}


@contextmanager
def translated() -> Iterator[None]:
    """Turns what SQLite says of the disk and of its file into our errors; faults of ours stay as they are."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise DataLoss(_DAMAGED) from error
    except sqlite3.Error as error:
        code = _code(error)
        if code == sqlite3.SQLITE_FULL:
            raise ResourceExhausted("the disk is full: nothing of this write was kept") from error
        if code in _LOST:
            raise DataLoss(_DAMAGED) from error
        if code in _AWAY:
            raise Unavailable("the database does not answer: is its disk there and writable?") from error
        raise


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary code; a text that is none has only the exception of the sqlite3 module."""
    undecodable = isinstance(error, sqlite3.OperationalError) and not hasattr(error, "sqlite_errorcode")
    return sqlite3.SQLITE_CORRUPT if undecodable else getattr(error, "sqlite_errorcode", 0) & 0xFF
