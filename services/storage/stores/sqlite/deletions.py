"""Deletes items and collections, and frees their bytes; every function here runs in a transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Sequence

from blindsight.errors import InvalidArgument
from blindsight.wire.storage import NO_HANDLE, NO_VERSION, Deleted, Deletion, Truncation
from services.storage.stores.sqlite import attachments, leases, planes
from services.storage.stores.sqlite.rows import (
    Row,
    collection_row,
    for_handles,
    given,
    insert,
    require_before,
    rewrite_slots,
    store_link,
)
from services.storage.validation import require_link

_DOOMED = "SELECT content FROM live WHERE collection = :number AND content IS NOT NULL"
_DELETE_ITEMS = (
    "INSERT INTO garbage SELECT block FROM batches WHERE collection = :number",
    f"INSERT INTO garbage SELECT original FROM contents WHERE original NOT NULL AND number IN ({_DOOMED})",  # noqa: S608
    f"INSERT INTO garbage SELECT blob FROM attachments WHERE content IN ({_DOOMED})",  # noqa: S608
    f"DELETE FROM attachments WHERE content IN ({_DOOMED})",  # noqa: S608
    f"INSERT INTO garbage SELECT blob FROM plane_pieces WHERE content IN ({_DOOMED})",  # noqa: S608
    f"DELETE FROM plane_pieces WHERE content IN ({_DOOMED})",  # noqa: S608
    f"DELETE FROM planes WHERE content IN ({_DOOMED})",  # noqa: S608
    f"DELETE FROM contents WHERE number IN ({_DOOMED})",  # noqa: S608
    "DELETE FROM live WHERE collection = :number",
    "DELETE FROM batches WHERE collection = :number",
)
_DELETE_COLLECTION = (
    *_DELETE_ITEMS,
    "DELETE FROM segments WHERE collection = :number",
    "DELETE FROM appends WHERE collection = :number",
    "DELETE FROM links WHERE collection = :number",
    "DELETE FROM collections WHERE number = :number",
)

_RETIRE_ALL = (
    """
    UPDATE segments SET retired_sequence = :sequence
    WHERE collection = :number AND retired_sequence IS NULL
    """,
    """
    UPDATE collections SET items = 0, size_bytes = 0, plane_items = 0, plane_bytes = 0
    WHERE number = :number
    """,
)


def delete_collection(db: sqlite3.Connection, collection_id: bytes, token: int) -> None:
    """Implements `Store.delete_collection`."""
    collection = collection_row(db, collection_id)
    leases.admit(db, collection["key_id"], token)
    for statement in _DELETE_COLLECTION:
        db.execute(statement, {"number": collection["number"]})


def truncate_collection(db: sqlite3.Connection, truncation: Truncation) -> int:
    """Implements `Store.truncate_collection`."""
    collection = collection_row(db, truncation.collection_id)
    number, link = collection["number"], truncation.link
    if given(db, number, link):
        return link.sequence
    leases.admit(db, collection["key_id"], truncation.fencing_token)
    require_before(collection, link)
    require_link(link, collection["sequence"] + 1, collection["epoch"] + 1)
    for statement in (*_DELETE_ITEMS, *_RETIRE_ALL):
        db.execute(statement, {"number": number, "sequence": link.sequence})
    store_link(db, number, link)
    return link.sequence


def delete_items(db: sqlite3.Connection, deletion: Deletion) -> Deleted:
    """Implements `Store.delete_items`."""
    collection = collection_row(db, deletion.collection_id)
    number, link = collection["number"], deletion.link
    answer = Deleted(len(set(deletion.handles)), link.sequence)
    if given(db, number, link):
        return answer
    leases.admit(db, collection["key_id"], deletion.fencing_token)
    require_before(collection, link)
    require_link(link, collection["sequence"] + 1, collection["epoch"])
    removed = remove(db, number, deletion.handles)
    if removed != answer.deleted:
        raise InvalidArgument(f"{answer.deleted} items to delete, of which {removed} are live, want all")
    store_link(db, number, link)
    return answer


def remove(db: sqlite3.Connection, collection: int, handles: Sequence[bytes]) -> int:
    """Makes tombstones of those of these items that are live, and drops all that they have.

    Returns:
        their number.
    """
    query = (
        "SELECT handle, sequence, place, live.content, original, original_size_bytes, "
        "length(metadata) AS length, size_bytes AS plane_bytes "
        "FROM live LEFT JOIN contents ON contents.number = live.content "
        "LEFT JOIN planes ON planes.content = live.content"
    )
    rows = list(for_handles(db, query, collection, list(dict.fromkeys(handles))))
    places: dict[int, dict[int, tuple[bytes, bytes]]] = defaultdict(dict)
    for row in rows:
        places[row["sequence"]][row["place"]] = NO_HANDLE, NO_VERSION
    for sequence, slots in places.items():
        rewrite_slots(db, collection, sequence, slots)
    freed = _drop_contents(db, [row for row in rows if row["content"] is not None])
    list(for_handles(db, "DELETE FROM live", collection, [row["handle"] for row in rows]))
    plane_bytes = [row["plane_bytes"] for row in rows if row["plane_bytes"] is not None]
    db.execute(
        "UPDATE collections SET items = items - ?, size_bytes = size_bytes - ?, "
        "plane_items = plane_items - ?, plane_bytes = plane_bytes - ? WHERE number = ?",
        (len(rows), freed + sum(plane_bytes), len(plane_bytes), sum(plane_bytes), collection),
    )
    return len(rows)


def _drop_contents(db: sqlite3.Connection, rows: Sequence[Row]) -> int:
    originals = [(row["original"],) for row in rows if row["original"] is not None]
    insert(db, "garbage", originals)
    planes.drop(db, [row["content"] for row in rows if row["plane_bytes"] is not None])
    freed = attachments.drop(db, [row["content"] for row in rows])
    db.executemany("DELETE FROM contents WHERE number = ?", [(row["content"],) for row in rows])
    sizes: list[int] = [row["length"] + row["original_size_bytes"] for row in rows]
    return freed + sum(sizes)


def sweep(db: sqlite3.Connection, most_bytes: int) -> bool:
    """Implements the deletions of `Store.sweep`, of about `most_bytes`; returns whether garbage is left."""
    rows = db.execute(
        "SELECT blob, coalesce(length(bytes), 0) AS size "
        "FROM garbage LEFT JOIN blobs ON blobs.number = garbage.blob ORDER BY blob LIMIT 1000"
    )
    numbers: list[int] = []
    size = 0
    for row in rows:
        numbers.append(row["blob"])
        size += row["size"]
        if size >= most_bytes:
            break
    gone = [(number,) for number in numbers]
    db.executemany("DELETE FROM garbage WHERE blob = ?", gone)
    db.executemany("DELETE FROM blobs WHERE number = ?", gone)
    return bool(db.execute("SELECT EXISTS (SELECT 1 FROM garbage)").fetchone()[0])
