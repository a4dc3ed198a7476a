"""Encrypted pixel planes: staged piece by piece, taken over by an append, read, and dropped.

Each piece is one blob, and so is the seal of all, which comes last and is read first.  While it is staged,
only its upload refers to it; the append that takes it over is one transaction, so an item has all of its
planes or none.
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterable, Iterator, Sequence

from blindsight.errors import DataLoss, InvalidArgument, NotFound
from blindsight.parameters import Parameters, ParameterSet, by_name, of_ring
from blindsight.runtime.transfer import digest
from blindsight.wire.storage import AppendItem, PieceHeader, Planes, PlanesHeader
from services.storage.stores.sqlite.rows import Row, collection_row, insert, read_blob, store_blob

_GEOMETRY = struct.Struct("<4Q")
_LOST = "the planes of an item are not what was written"
_UNSEALED = "the planes of an item have no seal, as those of earlier versions: delete it, and ingest it again"


def stage(db: sqlite3.Connection, upload: bytes, piece: PieceHeader, data: bytes) -> None:
    """Implements `Store.stage`."""
    taken = db.execute("SELECT count(*) FROM staged WHERE upload = ?", (upload,)).fetchone()[0]
    insert(db, "staged", [(upload, taken, store_blob(db, data), piece.size_bytes, piece.sha256)])


def discard(db: sqlite3.Connection, upload: bytes) -> None:
    """Implements `Store.discard`."""
    db.execute("INSERT INTO garbage SELECT blob FROM staged WHERE upload = ?", (upload,))
    db.execute("DELETE FROM staged WHERE upload = ?", (upload,))


def discard_all(db: sqlite3.Connection) -> None:
    """Drops everything that is staged, which an earlier process left."""
    db.execute("INSERT INTO garbage SELECT blob FROM staged")
    db.execute("DELETE FROM staged")


def take(
    db: sqlite3.Connection,
    parameters: Parameters,
    upload: bytes,
    items: Sequence[AppendItem],
    contents: Sequence[int | None],
) -> int:
    """Gives the staged pieces of an upload to its items; returns their size in bytes.

    Args:
        contents: the content's row number of each item; not None for an item with planes.
    """
    staged = db.execute("SELECT * FROM staged WHERE upload = ? ORDER BY position", (upload,)).fetchall()
    start = size = 0
    for item, content in zip(items, contents, strict=True):
        if item.planes is not None:
            end = start + len(item.planes.tiling(of_ring(parameters, "planes")).pieces) + 1
            size += _store(db, content, item.planes, staged[start:end])
            start = end
    if start != len(staged):
        raise InvalidArgument(f"{len(staged)} pieces of planes are staged, want {start}")
    db.execute("DELETE FROM staged WHERE upload = ?", (upload,))
    return size


def _store(db: sqlite3.Connection, content: int | None, planes: Planes, staged: Sequence[Row]) -> int:
    pieces = [
        (content, position, row["blob"], row["size_bytes"], row["sha256"])
        for position, row in enumerate(staged)
    ]
    size: int = sum(row["size_bytes"] for row in staged)
    geometry = planes.width, planes.height, planes.channels, planes.halo
    checked = _row_digest(geometry, size, (row["sha256"] for row in staged))
    insert(db, "planes", [(content, *geometry, size, checked)])
    insert(db, "plane_pieces", pieces)
    return size


def _row_digest(geometry: tuple[int, int, int, int], size_bytes: int, digests: Iterable[bytes]) -> bytes:
    """Returns a SHA-256 that binds the geometry to the pieces and their order."""
    return digest(_GEOMETRY.pack(*geometry) + size_bytes.to_bytes(8, "little") + b"".join(digests))


def read(
    db: sqlite3.Connection, collection_id: bytes, handle: bytes
) -> Iterator[PlanesHeader | PieceHeader | bytes]:
    """Implements `Store.read_planes`."""
    collection = collection_row(db, collection_id)
    row = db.execute(
        "SELECT planes.* FROM live JOIN planes ON planes.content = live.content "
        "WHERE collection = ? AND settled IN (0, 1) AND handle = ?",
        (collection["number"], handle),
    ).fetchone()
    if row is None:
        raise NotFound("the item is not here, or has no planes")
    pieces = db.execute(
        "SELECT * FROM plane_pieces WHERE content = ? ORDER BY position", (row["content"],)
    ).fetchall()
    planes = _verified(row, pieces, of_ring(by_name(collection["parameter_set"]), "planes"))
    yield PlanesHeader(planes, row["size_bytes"])
    for piece in (pieces[-1], *pieces[:-1]):
        yield PieceHeader(piece["size_bytes"], piece["sha256"])
        yield from read_blob(db, piece["blob"], piece["size_bytes"], piece["sha256"])


def _verified(row: Row, pieces: Sequence[Row], parameters: ParameterSet) -> Planes:
    """Returns the geometry.

    Raises:
        DataLoss: if it or the list of pieces is not what was written.
    """
    geometry = row["width"], row["height"], row["channels"], row["halo"]
    try:
        expected = _row_digest(geometry, row["size_bytes"], (piece["sha256"] for piece in pieces))
        if expected != row["row_sha256"]:
            raise DataLoss(_LOST)
        planes = Planes(*geometry)
        tiling = planes.tiling(parameters)
        if len(pieces) == len(tiling.pieces):
            raise DataLoss(_UNSEALED)
        if tiling.size_bytes(parameters) != sum(piece["size_bytes"] for piece in pieces):
            raise DataLoss(_LOST)
    except (TypeError, struct.error, OverflowError, InvalidArgument) as error:
        raise DataLoss(_LOST) from error
    return planes


def drop(db: sqlite3.Connection, contents: Sequence[int]) -> None:
    """Drops the planes of those items that have some; `sweep` then frees the bytes."""
    gone = [(content,) for content in contents]
    db.executemany("INSERT INTO garbage SELECT blob FROM plane_pieces WHERE content = ?", gone)
    db.executemany("DELETE FROM plane_pieces WHERE content = ?", gone)
    db.executemany("DELETE FROM planes WHERE content = ?", gone)
