"""Reads of one snapshot; every function here runs inside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain, groupby

from blindsight.errors import DataLoss, NotFound, ResourceExhausted
from blindsight.packing.segments import Region, SegmentId
from blindsight.runtime.transfer import CHUNK_BYTES, digest
from blindsight.wire.storage import (
    DIGEST_BYTES,
    ID_BYTES,
    NO_CHAIN,
    NO_VERSION,
    BatchHeader,
    Link,
    LogHeader,
    OriginalHeader,
    SlotBatch,
    SlotPage,
    SlotRun,
    StoredItem,
)
from services.storage.stores.sqlite.appends import next_index
from services.storage.stores.sqlite.rows import (
    Row,
    collection_row,
    for_handles,
    handles_of,
    read_blob,
    to_batch,
)

# Leaves space in a message of 4 MiB for the other fields of 10,000 items.
MAX_ITEMS_BYTES = 3 << 20
_MAX_SEQUENCE = (1 << 63) - 1
_LINK_BYTES = 3 * DIGEST_BYTES + 32


def read_batches(
    db: sqlite3.Connection, collection_id: bytes, after_sequence: int, only: frozenset[SegmentId]
) -> Iterator[LogHeader | BatchHeader | bytes]:
    """Implements `Store.read_batches`."""
    collection = collection_row(db, collection_id)
    key = (collection["number"], min(after_sequence, _MAX_SEQUENCE))
    listed = db.execute(
        "SELECT number, sequence, region, position, first_slot, count, block_size_bytes, block_sha256 "
        "FROM batches WHERE collection = ? AND sequence > ? ORDER BY sequence",
        key,
    ).fetchall()
    wanted = [row for row in listed if not only or _segment(row) in only]
    retired = db.execute(
        "SELECT region, position FROM segments WHERE collection = ? AND retired_sequence > ? "
        "ORDER BY region, position",
        key,
    )
    yield LogHeader(
        collection["sequence"],
        collection["epoch"],
        len(wanted),
        sum(row["block_size_bytes"] for row in wanted),
        tuple(_segment(row) for row in retired),
        collection["chain"],
        _chain_at(db, *key),
    )
    for row in wanted:
        whole = db.execute("SELECT * FROM batches WHERE number = ?", (row["number"],)).fetchone()
        handles_of(whole)  # verifies the batch's place in the log, too
        batch = to_batch(whole)
        yield batch
        yield from read_blob(db, whole["block"], batch.block_size_bytes, batch.block_sha256)


def _chain_at(db: sqlite3.Connection, collection: int, sequence: int) -> bytes:
    query = "SELECT chain FROM links WHERE collection = ? AND sequence = ?"
    row = db.execute(query, (collection, sequence)).fetchone()
    return bytes(row["chain"]) if row is not None else b"" if sequence else NO_CHAIN


def _segment(row: Row) -> SegmentId:
    try:
        return SegmentId(Region(row["region"]), row["position"])
    except ValueError as error:
        raise DataLoss("a segment of the log is damaged") from error


def read_slots(db: sqlite3.Connection, collection_id: bytes, after_sequence: int) -> Iterator[SlotPage]:
    """Implements `Store.read_slots`."""
    collection = collection_row(db, collection_id)
    number, sequence = collection["number"], collection["sequence"]
    main, tail = (next_index(db, number, region) for region in Region)
    page = SlotPage(sequence, collection["epoch"], main, tail, collection["items_added"])
    known = min(after_sequence, sequence - 1)
    entries: list[Link | SlotRun] = []
    size = 0
    found: Iterator[Link | SlotRun] = chain(_links(db, number, known), _runs(db, number))
    for entry in found:
        if entries and size + _entry_bytes(entry) > CHUNK_BYTES:
            yield _page(page, entries)
            entries, size = [], 0
        entries.append(entry)
        size += _entry_bytes(entry)
    yield _page(page, entries)


def _page(page: SlotPage, entries: Sequence[Link | SlotRun]) -> SlotPage:
    links = tuple(one for one in entries if isinstance(one, Link))
    return replace(page, links=links, runs=tuple(one for one in entries if isinstance(one, SlotRun)))


def _entry_bytes(entry: Link | SlotRun) -> int:
    if isinstance(entry, Link):
        return _LINK_BYTES
    return (
        len(entry.handles) + len(entry.versions) + len(entry.batches) * (DIGEST_BYTES + 8) + ID_BYTES
    )  # its own fields


def _links(db: sqlite3.Connection, collection: int, after_sequence: int) -> Iterator[Link]:
    query = "SELECT * FROM links WHERE collection = ? AND sequence > ? ORDER BY sequence"
    for row in db.execute(query, (collection, after_sequence)):
        yield Link(row["sequence"], row["epoch"], row["previous"], row["root"], row["chain"])


def _runs(db: sqlite3.Connection, collection: int) -> Iterator[SlotRun]:
    """Yields one run for each segment, since the slots of its batches are contiguous."""
    rows = db.execute(
        "SELECT * FROM batches WHERE collection = ? ORDER BY region, position, first_slot", (collection,)
    )
    for segment, batches in groupby(rows, key=_segment):
        found = list(batches)
        told = tuple(SlotBatch(row["count"], row["block_sha256"]) for row in found)
        yield SlotRun(segment, 0, b"".join(map(handles_of, found)), told, _versions(found))


def _versions(batches: Sequence[Row]) -> bytes:
    if not any(row["versions"] for row in batches):
        return b""
    return b"".join(row["versions"] or NO_VERSION * row["count"] for row in batches)


def get_items(db: sqlite3.Connection, collection_id: bytes, handles: Sequence[bytes]) -> list[StoredItem]:
    """Implements `Store.get_items`."""
    number = collection_row(db, collection_id)["number"]
    query = (
        "SELECT handle, live.content, metadata, metadata_sha256, original_size_bytes, size_bytes "
        "FROM live LEFT JOIN contents ON contents.number = live.content "
        "LEFT JOIN planes ON planes.content = live.content"
    )
    found: dict[bytes, StoredItem] = {}
    size = 0
    for row in for_handles(db, query, number, list(dict.fromkeys(handles))):
        item = _stored_item(row)
        found[item.handle] = item
        size += len(item.sealed_metadata)
        if size > MAX_ITEMS_BYTES:
            raise ResourceExhausted(
                f"metadata of {len(handles)} items takes more than {MAX_ITEMS_BYTES} bytes, want fewer items"
            )
    return [found.pop(handle) for handle in handles if handle in found]


def _stored_item(row: Row) -> StoredItem:
    if row["content"] is None:
        return StoredItem(row["handle"], b"", 0)
    metadata = row["metadata"]
    if not isinstance(metadata, bytes) or digest(metadata) != row["metadata_sha256"]:
        raise DataLoss("the metadata of an item is not what was written")
    return StoredItem(row["handle"], metadata, row["original_size_bytes"], row["size_bytes"] or 0)


def read_original(
    db: sqlite3.Connection, collection_id: bytes, handle: bytes
) -> Iterator[OriginalHeader | bytes]:
    """Implements `Store.read_original`."""
    number = collection_row(db, collection_id)["number"]
    row = db.execute(
        "SELECT original, original_size_bytes, original_sha256 "
        "FROM live JOIN contents ON contents.number = live.content "
        "WHERE collection = ? AND settled IN (0, 1) AND handle = ?",
        (number, handle),
    ).fetchone()
    if row is None or row["original"] is None:
        raise NotFound("the item is not here, or has no original")
    yield OriginalHeader(row["original_size_bytes"], row["original_sha256"])
    yield from read_blob(db, row["original"], row["original_size_bytes"], row["original_sha256"])
