"""Gives items other metadata, and collections other settings; every function here runs in a transaction."""

from __future__ import annotations

import sqlite3
from collections import defaultdict

from blindsight.errors import DataLoss, InvalidArgument
from blindsight.runtime.transfer import digest
from blindsight.wire.storage import Settings, Update, Updated
from services.storage.stores.sqlite import leases
from services.storage.stores.sqlite.rows import (
    collection_row,
    for_handles,
    given,
    require_before,
    require_free_tag,
    rewrite_slots,
    store_link,
)
from services.storage.validation import require_link


def replace_config(db: sqlite3.Connection, settings: Settings) -> int:
    """Implements `Store.replace_config`."""
    collection = collection_row(db, settings.collection_id)
    number, link = collection["number"], settings.link
    if given(db, number, link):
        return link.sequence
    leases.admit(db, collection["key_id"], settings.fencing_token)
    require_before(collection, link)
    require_link(link, collection["sequence"] + 1, collection["epoch"])
    require_free_tag(db, settings.name_tag, number)
    db.execute(
        "UPDATE collections SET name_tag = ?, sealed_config = ? WHERE number = ?",
        (settings.name_tag, settings.sealed_config, number),
    )
    store_link(db, number, link)
    return link.sequence


def update_items(db: sqlite3.Connection, update: Update) -> Updated:
    """Implements `Store.update_items`."""
    collection = collection_row(db, update.collection_id)
    number, link = collection["number"], update.link
    if given(db, number, link):
        return Updated(link.sequence)
    leases.admit(db, collection["key_id"], update.fencing_token)
    require_before(collection, link)
    require_link(link, collection["sequence"] + 1, collection["epoch"])
    items = {item.handle: item for item in update.items}
    query = "SELECT handle, sequence, place, content FROM live"
    rows = list(for_handles(db, query, number, list(items)))
    if len(rows) != len(items):
        raise InvalidArgument(f"{len(items)} items to update, of which {len(rows)} are live, want all")
    places: dict[int, dict[int, tuple[bytes, bytes]]] = defaultdict(dict)
    grown = 0
    for row in rows:
        item = items[row["handle"]]
        places[row["sequence"]][row["place"]] = item.handle, item.version
        if row["content"] is None:
            grown += _give_content(db, number, item.handle, item.sealed_metadata)
        else:
            grown += replace_metadata(db, row["content"], item.sealed_metadata)
    for sequence, slots in places.items():
        rewrite_slots(db, number, sequence, slots)
    db.execute("UPDATE collections SET size_bytes = size_bytes + ? WHERE number = ?", (grown, number))
    store_link(db, number, link)
    return Updated(link.sequence)


def replace_metadata(db: sqlite3.Connection, content: int | None, metadata: bytes) -> int:
    """Gives the contents of an item other metadata; returns by how many bytes they are longer.

    Raises:
        DataLoss: if the contents are lost.
    """
    query = "SELECT length(metadata) AS length FROM contents WHERE number = ?"
    row = db.execute(query, (content,)).fetchone()
    if row is None:
        raise DataLoss("an item has lost all that it had")
    db.execute(
        "UPDATE contents SET metadata = ?, metadata_sha256 = ? WHERE number = ?",
        (metadata, digest(metadata), content),
    )
    return len(metadata) - int(row["length"])


def _give_content(db: sqlite3.Connection, collection: int, handle: bytes, metadata: bytes) -> int:
    """Gives an item that was nothing but a handle metadata; returns their size in bytes."""
    content = db.execute(
        "INSERT INTO contents (metadata, metadata_sha256, original_size_bytes) VALUES (?, ?, 0)",
        (metadata, digest(metadata)),
    ).lastrowid
    db.execute(
        "UPDATE live SET content = ? WHERE collection = ? AND settled IN (0, 1) AND handle = ?",
        (content, collection, handle),
    )
    return len(metadata)
