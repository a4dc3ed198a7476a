"""Segment files: one page of header, then the segment's block as the kernel reads it.

    offset size
    0      4    magic "BSSG"
    4      2    version, 2
    6      2    number of the parameter set
    8      4    region
    12     4    index of the segment
    16     4    columns
    20     4    tile
    24     8    sequence of the last batch that was added
    32     16   collection id
    48     16   key id
    64     16   checksum of the block
    80     32   SHA-256 of the 80 bytes before
    4096   ...  the block, uint32 little-endian [primes * tiles, columns, tile]

A file is written under another name, renamed when it is complete, and never changed.  Nothing is synced:
this is a cache, and a file that a power failure damaged is found by its checksum and built again.
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.errors import DataLoss, ResourceExhausted
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import BY_NUMBER
from blindsight.ring.tiles import TILE, Geometry
from services.evaluator.geometry import CollectionRecord

MAGIC = b"BSSG"
VERSION = 2
PAGE_BYTES = 4096
_FIELDS = struct.Struct("<4sHHIIIIQ16s16s16s")
_DIGEST = hashlib.sha256().digest_size

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

Checksum = Callable[[Residues], bytes]


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """The header of a segment file.

    Attributes:
        collection_id, key_id: collection and key of the segment.
        key: region and index of the segment.
        geometry: shape of the block.
        sequence: sequence of the last batch in it.
        checksum: checksum of the block; see `checksums.checksum`.
    """

    collection_id: bytes
    key_id: bytes
    key: SegmentId
    geometry: Geometry
    sequence: int
    checksum: bytes = bytes(16)

    @classmethod
    def of(cls, record: CollectionRecord, key: SegmentId, sequence: int) -> SegmentHeader:
        """Returns the header of a collection's segment, without a checksum."""
        return cls(record.collection_id, record.key_id, key, record.geometry(key.region), sequence)

    @property
    def file_bytes(self) -> int:
        """Size of the whole file."""
        return PAGE_BYTES + self.geometry.size_bytes

    def pack(self) -> bytes:
        """Returns the header's page."""
        fields = _FIELDS.pack(
            MAGIC,
            VERSION,
            self.geometry.parameters.number,
            self.key.region,
            self.key.index,
            self.geometry.columns,
            TILE,
            self.sequence,
            self.collection_id,
            self.key_id,
            self.checksum,
        )
        return (fields + hashlib.sha256(fields).digest()).ljust(PAGE_BYTES, b"\0")

    @classmethod
    def parse(cls, page: bytes) -> SegmentHeader:
        """Parses a header's page.

        Raises:
            DataLoss: if the page is damaged, or of another version.
        """
        fields = page[: _FIELDS.size]
        if len(page) < PAGE_BYTES or page[_FIELDS.size :][:_DIGEST] != hashlib.sha256(fields).digest():
            raise DataLoss("segment file with a damaged header")
        magic, version, number, region, index, columns, tile, *rest = _FIELDS.unpack(fields)
        if (magic, version, tile) != (MAGIC, VERSION, TILE) or number not in BY_NUMBER:
            raise DataLoss("segment file of another version")
        sequence, collection_id, key_id, checksum = rest
        key = SegmentId(Region.of(region), index)
        return cls(collection_id, key_id, key, Geometry(BY_NUMBER[number], columns), sequence, checksum)

    def describes(self, record: CollectionRecord, key: SegmentId) -> bool:
        """Returns whether the file is this segment of this collection."""
        return replace(self, checksum=bytes(16)) == SegmentHeader.of(record, key, self.sequence)


def write_segment(path: Path, header: SegmentHeader, block: Residues, checksum: Checksum) -> None:
    """Writes a segment file atomically.

    Raises:
        ResourceExhausted: if the disk is full.
    """
    page = replace(header, checksum=checksum(block)).pack()
    temporary = path.with_suffix(".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(page)
            file.write(np.ascontiguousarray(block, "<u4").data)
        temporary.rename(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise ResourceExhausted("the evaluator's disk has no room for the gallery") from error
        raise


def read_header(path: Path) -> SegmentHeader:
    """Reads and checks a file's header and size, but not its block.

    Raises:
        DataLoss: if the file is missing or damaged.
    """
    try:
        with path.open("rb") as file:
            header = SegmentHeader.parse(file.read(PAGE_BYTES))
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise DataLoss("segment file that cannot be read") from error
    if size != header.file_bytes:
        raise DataLoss(f"segment file of {size} bytes, want {header.file_bytes}")
    return header


def map_segment(path: Path, checksum: Checksum) -> tuple[SegmentHeader, Residues]:
    """Maps a segment file read-only and checks all of it.

    Returns:
        The header, and the block, uint32 [primes * tiles, columns, TILE], on shared pages.

    Raises:
        DataLoss: if the file is missing or damaged.
    """
    header = read_header(path)
    with path.open("rb") as file:
        flags = mmap.MAP_SHARED | mmap.MAP_POPULATE
        mapped = mmap.mmap(file.fileno(), header.file_bytes, flags, mmap.PROT_READ)
    block = np.frombuffer(mapped, "<u4", offset=PAGE_BYTES).reshape(header.geometry.shape)
    if checksum(block) != header.checksum:
        raise DataLoss("segment file with a damaged block")
    return header, block
