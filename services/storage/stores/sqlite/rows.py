"""Conversion between table rows and records, and statements over many rows."""

from __future__ import annotations

import hashlib
import sqlite3
import struct
from collections.abc import Iterator, Mapping, Sequence

from blindsight.errors import NO_COLLECTION, AlreadyExists, Conflict, DataLoss, InvalidArgument, NotFound
from blindsight.packing.segments import Region, SegmentId
from blindsight.runtime.transfer import CHUNK_BYTES, digest
from blindsight.wire.storage import (
    ID_BYTES,
    NO_VERSION,
    VERSION_BYTES,
    BatchHeader,
    Link,
    StoredCollection,
)

Row = sqlite3.Row
# Values bound in one statement, under SQLite's usual 32,766.  Few large statements, because sqlite3
# releases the GIL for each one, and gets it back late when the event loop is busy.
_BOUND = 8192
_PLACE = struct.Struct("<QBIII")

COLLECTION_FIELDS = ", ".join(StoredCollection.__dataclass_fields__)


def collection_row(db: sqlite3.Connection, collection_id: bytes) -> Row:
    """Returns a collection's row.

    Raises:
        NotFound: if the collection does not exist.
    """
    query = f"SELECT number, {COLLECTION_FIELDS} FROM collections WHERE collection_id = ?"  # noqa: S608
    row: Row | None = db.execute(query, (collection_id,)).fetchone()
    if row is None:
        raise NotFound("the collection is not here", **NO_COLLECTION)
    return row


def to_collection(row: Row) -> StoredCollection:
    """Returns the record of a collection's row.

    Raises:
        DataLoss: if it is none that could be sent.
    """
    values = {name: row[name] for name in StoredCollection.__dataclass_fields__}
    try:
        fields = tuple(int(field) for field in values["fields"].split(",") if field)
        record = StoredCollection(**{**values, "fields": fields})
        record.to_message()
    except (InvalidArgument, TypeError, ValueError, AttributeError) as error:
        raise DataLoss("the record of a collection is damaged") from error
    return record


def of_collection(record: StoredCollection) -> tuple[object, ...]:
    """Returns a collection's values in the order of `COLLECTION_FIELDS`."""
    values = {name: getattr(record, name) for name in StoredCollection.__dataclass_fields__}
    return tuple({**values, "fields": ",".join(map(str, record.fields))}.values())


def require_free_tag(db: sqlite3.Connection, name_tag: bytes, collection: int = 0) -> None:
    """Refuses a name tag that a collection other than this one has.

    Raises:
        AlreadyExists: if one has it.
    """
    query = "SELECT 1 FROM collections WHERE name_tag = ? AND number != ?"
    if db.execute(query, (name_tag, collection)).fetchone():
        raise AlreadyExists("a collection with this name_tag is here already")


def require_before(collection: Row, link: Link) -> None:
    """Refuses a write that its sender made for another state of the collection.

    Raises:
        Conflict: if the collection has another history than the link.
    """
    if collection["chain"] != link.previous:
        raise Conflict(f"the collection has another history than the write to sequence {link.sequence}")


def store_link(db: sqlite3.Connection, collection: int, link: Link) -> None:
    """Makes a link the newest of its collection."""
    row = (collection, link.sequence, link.epoch, link.previous, link.root, link.chain)
    insert(db, "links", [row])
    db.execute(
        "UPDATE collections SET sequence = ?, epoch = ?, chain = ? WHERE number = ?",
        (link.sequence, link.epoch, link.chain, collection),
    )


def to_batch(row: Row) -> BatchHeader:
    """Returns the record of a batch's row, unverified; `handles_of` verifies the row."""
    segment = SegmentId(Region.of(row["region"]), row["position"])
    return BatchHeader(
        row["sequence"],
        segment,
        row["first_slot"],
        row["count"],
        row["block_size_bytes"],
        row["block_sha256"],
    )


def batch_digest(batch: BatchHeader, handles: bytes, versions: bytes) -> bytes:
    """Returns a SHA-256 that binds a batch's place in the log, its block, handles and versions together."""
    segment = batch.segment
    place = _PLACE.pack(batch.sequence, segment.region, segment.index, batch.first_slot, batch.count)
    size = batch.block_size_bytes.to_bytes(8, "little")
    return digest(place + size + batch.block_sha256 + handles + versions)


def handles_of(row: Row) -> bytes:
    """Verifies a batch's row; returns its handles.

    Raises:
        DataLoss: if the row is not what was written.
    """
    try:
        expected = batch_digest(to_batch(row), row["handles"], row["versions"])
    except (TypeError, ValueError, AttributeError, struct.error) as error:
        raise DataLoss("a batch of the log is damaged") from error
    if expected != row["row_sha256"]:
        raise DataLoss(f"batch {row['sequence']} of the log is not what was written")
    return bytes(row["handles"])


def given(db: sqlite3.Connection, collection: int, link: Link) -> bool:
    """Returns whether this very write was made before."""
    query = "SELECT 1 FROM links WHERE collection = ? AND sequence = ? AND chain = ?"
    return db.execute(query, (collection, link.sequence, link.chain)).fetchone() is not None


def rewrite_slots(
    db: sqlite3.Connection, collection: int, sequence: int, slots: Mapping[int, tuple[bytes, bytes]]
) -> None:
    """Gives slots of one batch, by their place in it, other handles and versions.

    Raises:
        DataLoss: if the batch is not in the log, or not what was written.
    """
    query = "SELECT * FROM batches WHERE collection = ? AND sequence = ?"
    row = db.execute(query, (collection, sequence)).fetchone()
    if row is None:
        raise DataLoss("the batch of an item is not in the log")
    handles = bytearray(handles_of(row))
    versions = bytearray(row["versions"] or len(handles) // ID_BYTES * NO_VERSION)
    for place, (handle, version) in slots.items():
        handles[place * ID_BYTES : (place + 1) * ID_BYTES] = handle
        versions[place * VERSION_BYTES : (place + 1) * VERSION_BYTES] = version
    kept = bytes(versions) if any(versions) else b""
    checked = batch_digest(to_batch(row), bytes(handles), kept)
    db.execute(
        "UPDATE batches SET handles = ?, versions = ?, row_sha256 = ? WHERE number = ?",
        (bytes(handles), kept, checked, row["number"]),
    )


def read_blob(db: sqlite3.Connection, number: int, size_bytes: int, sha256: bytes) -> Iterator[bytes]:
    """Yields the chunks of a blob, the last one only if the SHA-256 of the whole is right.

    Raises:
        DataLoss: if the blob is missing or not what was written.
    """
    lost = DataLoss(f"stored bytes of {size_bytes} bytes are not what was written")
    try:
        blob = db.blobopen("blobs", "bytes", number, readonly=True)
    except sqlite3.OperationalError as error:
        raise lost from error
    with blob:
        if len(blob) != size_bytes:
            raise lost
        hasher = hashlib.sha256()
        for start in range(0, size_bytes, CHUNK_BYTES):
            chunk = blob.read(CHUNK_BYTES)
            hasher.update(chunk)
            if start + len(chunk) == size_bytes and hasher.digest() != sha256:
                raise lost
            yield chunk


def store_blob(db: sqlite3.Connection, data: bytes) -> int | None:
    """Stores large bytes; returns their row number in `blobs`."""
    return db.execute("INSERT INTO blobs (bytes) VALUES (?)", (data,)).lastrowid


def insert(db: sqlite3.Connection, into: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Inserts many rows; `into` names the table and its columns."""
    if not rows:
        return
    width = len(rows[0])
    one = f"({', '.join('?' * width)})"
    step = _BOUND // width
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        values = [value for row in part for value in row]
        db.execute(f"INSERT INTO {into} VALUES {', '.join([one] * len(part))}", values)  # noqa: S608


def for_handles(
    db: sqlite3.Connection, statement: str, collection: int, handles: Sequence[bytes]
) -> Iterator[Row]:
    """Runs a statement on `live`, given without its WHERE clause, for the rows of any number of handles."""
    for start in range(0, len(handles), _BOUND):
        part = handles[start : start + _BOUND]
        marks = ", ".join("?" * len(part))
        yield from db.execute(
            f"{statement} WHERE collection = ? AND settled IN (0, 1) AND handle IN ({marks})",
            (collection, *part),
        )
