"""Sealed attachments of items: stored with their content, read for many items at a time, and dropped."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence

from blindsight.wire.storage import AppendItem, AttachmentHeader
from services.storage.stores.sqlite.rows import collection_row, for_handles, insert, read_blob, store_blob


def store(
    db: sqlite3.Connection,
    items: Sequence[AppendItem],
    contents: Sequence[int | None],
    attachments: Mapping[int, bytes],
) -> int:
    """Stores attachments, given by the position of their item, which has content; returns their bytes."""
    rows = [
        (contents[position], store_blob(db, data), len(data), items[position].attachment_sha256)
        for position, data in attachments.items()
    ]
    insert(db, "attachments", rows)
    return sum(map(len, attachments.values()))


def read(
    db: sqlite3.Connection, collection_id: bytes, handles: Sequence[bytes]
) -> Iterator[AttachmentHeader | bytes]:
    """Implements `Store.read_attachments`."""
    number = collection_row(db, collection_id)["number"]
    query = "SELECT handle, attachments.* FROM live JOIN attachments ON attachments.content = live.content"
    rows = list(for_handles(db, query, number, list(dict.fromkeys(handles))))
    for row in rows:
        yield AttachmentHeader(row["handle"], row["size_bytes"], row["sha256"])
        yield from read_blob(db, row["blob"], row["size_bytes"], row["sha256"])


def drop(db: sqlite3.Connection, contents: Sequence[int]) -> int:
    """Drops the attachments of those items that have one; returns how many bytes `sweep` will free."""
    freed = 0
    for content in contents:
        row = db.execute("SELECT blob, size_bytes FROM attachments WHERE content = ?", (content,)).fetchone()
        if row is not None:
            freed += row["size_bytes"]
            insert(db, "garbage", [(row["blob"],)])
            db.execute("DELETE FROM attachments WHERE content = ?", (content,))
    return freed
