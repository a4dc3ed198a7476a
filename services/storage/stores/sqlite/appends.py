"""The transaction of an append; every function here runs inside it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from operator import itemgetter

from blindsight.errors import AlreadyExists, Conflict, InvalidArgument, ResourceExhausted
from blindsight.packing.segments import SegmentId
from blindsight.parameters import MAX_BATCHES_PER_SEGMENT, by_name
from blindsight.runtime.transfer import digest
from blindsight.wire.storage import NO_HANDLE, NO_VERSION, Appended, AppendHeader, AppendItem, BatchHeader
from services.storage.records import Append
from services.storage.stores.sqlite import attachments, leases, planes
from services.storage.stores.sqlite.deletions import remove
from services.storage.stores.sqlite.rows import (
    Row,
    batch_digest,
    collection_row,
    for_handles,
    handles_of,
    insert,
    require_before,
    store_blob,
    store_link,
)
from services.storage.stores.sqlite.updates import replace_metadata
from services.storage.validation import brings, split_handles

# Number of positions that an AlreadyExists names.
_NAMED = 3
# Sequences between two moves of new handles to the large part of the index of `live` (see schema.sql).
# Measured with a million items: an append of 4 MB writes 18 MB, log and checkpoint together; with an index
# of one part it writes 64 MB.
_SETTLE_EVERY = 16
_SEGMENT = "collection = ? AND region = ? AND position = ?"


def earlier_answer(db: sqlite3.Connection, collection: Row, header: AppendHeader) -> Appended | None:
    """Returns the answer that the same batch got before, None if it is a new one.

    Raises:
        Fenced: if it is a new one, and another keyholder has taken over.
        Conflict: if it is a new one, and the collection is not in the state that its sender expects.
    """
    found = db.execute(
        "SELECT sequence, epoch FROM appends WHERE collection = ? AND batch_id = ?",
        (collection["number"], header.batch_id),
    ).fetchone()
    if found is not None:
        return Appended(found["sequence"], found["epoch"])
    leases.refuse_older(db, collection["key_id"], header.fencing_token)
    if collection["sequence"] != header.expected_sequence:
        raise Conflict(
            f"the collection is at sequence {collection['sequence']}, the append expects "
            f"{header.expected_sequence}"
        )
    require_before(collection, header.link)
    return None


def append(db: sqlite3.Connection, batch: Append) -> Appended:
    """Implements `Store.append`."""
    header = batch.header
    collection = collection_row(db, header.collection_id)
    earlier = earlier_answer(db, collection, header)
    if earlier is not None:
        planes.discard(db, batch.upload)
        return earlier
    leases.admit(db, collection["key_id"], header.fencing_token)
    number, first = collection["number"], collection["sequence"] + 1
    answer = Appended(header.link.sequence, header.link.epoch)
    moved, freed = _retire(db, number, header.retires, first)
    _require_nothing_lost(moved, batch.items)
    grown = plane_bytes = 0
    if header.batches:
        for record in header.batches:
            _take_slots(db, number, record)
        if header.replaces:
            remove(db, number, split_handles(header.replaces))
        _require_free(db, number, batch.items)
        contents, grown = _store_contents(db, batch, moved)
        parameters = by_name(collection["parameter_set"])
        plane_bytes = planes.take(db, parameters, batch.upload, batch.items, contents)
        _store_batches(db, number, batch, contents)
        grown += header.block_size_bytes + plane_bytes
        grown += attachments.store(db, batch.items, contents, batch.attachments)
    insert(db, "appends", [(number, header.batch_id, answer.sequence, answer.epoch)])
    added = len(batch.items) - len(moved)
    with_planes = sum(item.planes is not None for item in batch.items)
    db.execute(
        "UPDATE collections SET items = items + ?, items_added = items_added + ?, "
        "size_bytes = size_bytes + ?, plane_items = plane_items + ?, plane_bytes = plane_bytes + ? "
        "WHERE number = ?",
        (added, added, grown - freed, with_planes, plane_bytes, number),
    )
    store_link(db, number, header.link)
    return answer


def _retire(
    db: sqlite3.Connection, collection: int, segments: Sequence[SegmentId], sequence: int
) -> tuple[dict[bytes, int | None], int]:
    """Retires segments; returns the contents of their live items, and the bytes of the dropped blocks."""
    live: list[bytes] = []
    freed = 0
    for segment in segments:
        key = (collection, segment.region, segment.index)
        in_use = f"UPDATE segments SET retired_sequence = ? WHERE {_SEGMENT} AND retired_sequence IS NULL"  # noqa: S608
        if db.execute(in_use, (sequence, *key)).rowcount != 1:
            raise InvalidArgument(f"retires: segment {segment} is not in use")
        for row in db.execute(f"SELECT * FROM batches WHERE {_SEGMENT}", key):  # noqa: S608
            live.extend(split_handles(handles_of(row)))
            freed += row["block_size_bytes"]
        db.execute(f"INSERT INTO garbage SELECT block FROM batches WHERE {_SEGMENT}", key)  # noqa: S608
        db.execute(f"DELETE FROM batches WHERE {_SEGMENT}", key)  # noqa: S608
    live = [handle for handle in live if handle != NO_HANDLE]
    moved = {
        row["handle"]: row["content"]
        for row in for_handles(db, "SELECT handle, content FROM live", collection, live)
    }
    list(for_handles(db, "DELETE FROM live", collection, live))
    return moved, freed


def _require_nothing_lost(moved: dict[bytes, int | None], items: Sequence[AppendItem]) -> None:
    """Checks that the append has every live item of the retired segments, with nothing new but metadata."""
    lost = len(moved.keys() - {item.handle for item in items})
    if lost:
        raise InvalidArgument(f"retires: {lost} live items of the retired segments are not in the batch")
    for position, item in enumerate(items):
        if item.handle not in moved or not brings(item):
            continue
        if moved[item.handle] is None or brings(replace(item, sealed_metadata=b"")):
            raise InvalidArgument(f"item {position} moves and keeps what it has, want nothing but metadata")


def _take_slots(db: sqlite3.Connection, collection: int, batch: BatchHeader) -> None:
    segment = batch.segment
    key = (collection, segment.region, segment.index)
    row = db.execute(f"SELECT * FROM segments WHERE {_SEGMENT}", key).fetchone()  # noqa: S608
    if row is None:
        wanted = next_index(db, collection, segment.region)
        if segment.index != wanted:
            raise InvalidArgument(f"new segment {segment}, want index {wanted}")
        insert(db, "segments", [(*key, 0, 0, None)])
    elif row["retired_sequence"] is not None:
        raise InvalidArgument(f"segment {segment} is retired, want one in use or a new one")
    elif row["batches"] >= MAX_BATCHES_PER_SEGMENT:
        raise ResourceExhausted(f"segment {segment} has {row['batches']} batches, want a new segment")
    filled = 0 if row is None else row["filled"]
    if batch.first_slot != filled:
        raise InvalidArgument(f"first_slot {batch.first_slot} of segment {segment}, want {filled}")
    db.execute(
        f"UPDATE segments SET filled = filled + ?, batches = batches + 1 WHERE {_SEGMENT}",  # noqa: S608
        (batch.count, *key),
    )


def next_index(db: sqlite3.Connection, collection: int, region: int) -> int:
    """Returns the index of the next new segment; retired ones count."""
    query = "SELECT coalesce(max(position) + 1, 0) FROM segments WHERE collection = ? AND region = ?"
    return int(db.execute(query, (collection, region)).fetchone()[0])


def _require_free(db: sqlite3.Connection, collection: int, items: Sequence[AppendItem]) -> None:
    handles = [item.handle for item in items]
    taken = {row["handle"] for row in for_handles(db, "SELECT handle FROM live", collection, handles)}
    if taken:
        positions = [position for position, handle in enumerate(handles) if handle in taken]
        named = ", ".join(map(str, positions[:_NAMED]))
        more = " and more" if len(positions) > _NAMED else ""
        raise AlreadyExists(
            f"{len(positions)} handles are in the collection already: of the items {named}{more}",
            positions=named,
        )


def _store_contents(
    db: sqlite3.Connection, batch: Append, moved: dict[bytes, int | None]
) -> tuple[list[int | None], int]:
    """Stores metadata and originals; returns the row number of each item's content, and their bytes."""
    number = db.execute(
        "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'contents'"
    ).fetchone()[0]
    contents: list[int | None] = []
    rows: list[tuple[object, ...]] = []
    taken = 0
    for item, original in zip(batch.items, batch.originals, strict=True):
        if item.handle in moved or not brings(item):
            contents.append(moved.get(item.handle))
            if item.sealed_metadata:
                taken += replace_metadata(db, contents[-1], item.sealed_metadata)
            continue
        number += 1
        contents.append(number)
        blob = store_blob(db, original) if original else None
        sha256 = item.original_sha256 or None
        metadata = item.sealed_metadata
        rows.append((number, metadata, digest(metadata), blob, len(original), sha256))
        taken += len(metadata) + len(original)
    insert(db, "contents", rows)
    return contents, taken


def _store_batches(
    db: sqlite3.Connection, collection: int, append: Append, contents: Sequence[int | None]
) -> None:
    start = 0
    for record, block in zip(append.header.batches, append.blocks, strict=True):
        end = start + record.count
        _store_batch(db, collection, record, block, append.items[start:end])
        _store_live(db, collection, record.sequence, append.items[start:end], contents[start:end])
        start = end


def _store_batch(
    db: sqlite3.Connection, collection: int, record: BatchHeader, block: bytes, items: Sequence[AppendItem]
) -> None:
    handles = b"".join(item.handle for item in items)
    versions = b""
    if any(item.version for item in items):
        versions = b"".join(item.version or NO_VERSION for item in items)
    row = {
        "collection": collection,
        "sequence": record.sequence,
        "region": record.segment.region,
        "position": record.segment.index,
        "first_slot": record.first_slot,
        "count": record.count,
        "block": store_blob(db, block),
        "block_size_bytes": record.block_size_bytes,
        "block_sha256": record.block_sha256,
        "row_sha256": batch_digest(record, handles, versions),
        "handles": handles,
        "versions": versions,
    }
    insert(db, f"batches ({', '.join(row)})", [tuple(row.values())])


def _store_live(
    db: sqlite3.Connection,
    collection: int,
    sequence: int,
    items: Sequence[AppendItem],
    contents: Sequence[int | None],
) -> None:
    rows = [
        (item.handle, place, content)
        for place, (item, content) in enumerate(zip(items, contents, strict=True))
    ]
    # Sorted in the order of the index, so that each of its pages is visited once.
    rows.sort(key=itemgetter(0))
    into = "live (handle, place, content, collection, sequence, settled)"
    insert(db, into, [(*row, collection, sequence, 0) for row in rows])
    if sequence % _SETTLE_EVERY == 0:
        db.execute(
            "INSERT INTO live SELECT collection, 1, handle, sequence, place, content FROM live "
            "WHERE collection = ? AND settled = 0 ORDER BY handle",
            (collection,),
        )
        db.execute("DELETE FROM live WHERE collection = ? AND settled = 0", (collection,))
