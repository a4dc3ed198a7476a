"""Leases of key sets and their fencing tokens; every function here runs in a transaction."""

from __future__ import annotations

import sqlite3

from blindsight.errors import Fenced, ResourceExhausted
from services.storage.validation import MAX_TOKEN

_NEWEST = (
    "INSERT INTO leases (key_id, fencing_token, holder_id) VALUES (?, ?, ?) "
    "ON CONFLICT (key_id) DO UPDATE SET fencing_token = excluded.fencing_token"
)
_HELD = f"{_NEWEST}, holder_id = excluded.holder_id"


def newest(db: sqlite3.Connection, key_id: bytes) -> tuple[int, bytes]:
    """Implements `Store.lease`."""
    row = db.execute("SELECT fencing_token, holder_id FROM leases WHERE key_id = ?", (key_id,)).fetchone()
    return (row["fencing_token"], bytes(row["holder_id"])) if row is not None else (0, b"")


def take(db: sqlite3.Connection, key_id: bytes, holder_id: bytes) -> int:
    """Implements `Store.take_lease`."""
    token = newest(db, key_id)[0] + 1
    if token > MAX_TOKEN:
        raise ResourceExhausted(f"the key set has had all {MAX_TOKEN} fencing tokens")
    db.execute(_HELD, (key_id, token, holder_id))
    return token


def renew(db: sqlite3.Connection, key_id: bytes, holder_id: bytes, token: int) -> None:
    """Implements `Store.renew_lease`."""
    refuse_older(db, key_id, token)
    db.execute(_HELD, (key_id, token, holder_id))


def release(db: sqlite3.Connection, key_id: bytes, token: int) -> None:
    """Implements `Store.release_lease`."""
    db.execute("UPDATE leases SET holder_id = x'' WHERE key_id = ? AND fencing_token = ?", (key_id, token))


def refuse_older(db: sqlite3.Connection, key_id: bytes, token: int) -> None:
    """Refuses a token that is older than the newest.

    Raises:
        Fenced: if it is.
    """
    known, _ = newest(db, key_id)
    if token < known:
        raise Fenced(f"fencing token {token}, want {known}: another keyholder of these keys has taken over")


def admit(db: sqlite3.Connection, key_id: bytes, token: int) -> None:
    """Refuses the write of an older token; notes a newer one, which a restored backup does not have.

    Raises:
        Fenced: if it is older.
    """
    refuse_older(db, key_id, token)
    if token > newest(db, key_id)[0]:
        db.execute(_NEWEST, (key_id, token, b""))
