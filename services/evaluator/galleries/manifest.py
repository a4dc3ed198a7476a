"""Manifests, which list the segment files of a collection's gallery."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from blindsight import parameters
from blindsight.errors import BlindsightError, DataLoss
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from services.evaluator.geometry import CollectionRecord
from services.evaluator.segments import read_header

NAME = "manifest.json"
VERSION = 3


@dataclass(frozen=True, slots=True)
class SegmentFile:
    """One immutable segment file.

    Attributes:
        key: region and index of the segment.
        path: path of the file.
        size_bytes: size of the file.
    """

    key: SegmentId
    path: Path
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """An immutable state of a gallery, at one sequence of its collection's log.

    Attributes:
        record: the collection.
        sequence, epoch: those of the log that it covers.
        segments: in the order of region and index.
        chain: of the log up to there, which another history of the collection does not have.
    """

    record: CollectionRecord
    sequence: int
    epoch: int
    segments: tuple[SegmentFile, ...]
    chain: bytes

    @property
    def size_bytes(self) -> int:
        """Size of its files."""
        return sum(segment.size_bytes for segment in self.segments)

    def region(self, region: Region) -> tuple[SegmentFile, ...]:
        """Returns the segments of one region."""
        return tuple(segment for segment in self.segments if segment.key.region is region)

    def within(self, regions: Collection[Region]) -> Snapshot:
        """Returns the gallery reduced to these regions."""
        kept = tuple(segment for segment in self.segments if segment.key.region in regions)
        return replace(self, record=self.record.within(regions), segments=kept)


def write(folder: Path, snapshot: Snapshot) -> None:
    """Writes the manifest of a snapshot into the collection's folder, atomically."""
    record = snapshot.record
    content = {
        "version": VERSION,
        "collection_id": record.collection_id.hex(),
        "parameter_set": record.parameters.name,
        "key_id": record.key_id.hex(),
        "fields": record.layout.main.fields,
        "stride": record.layout.main.stride,
        "sequence": snapshot.sequence,
        "epoch": snapshot.epoch,
        "chain": snapshot.chain.hex(),
        "segments": [
            [int(segment.key.region), segment.key.index, segment.path.name] for segment in snapshot.segments
        ],
    }
    temporary = folder / (NAME + ".tmp")
    temporary.write_text(json.dumps(content))
    temporary.rename(folder / NAME)


def read(folder: Path) -> Snapshot:
    """Reads the manifest in a collection's folder, and checks the header and size of every file in it.

    Raises:
        DataLoss: if anything is missing, damaged, or of another collection.
    """
    try:
        content = json.loads((folder / NAME).read_text())
        if content["version"] != VERSION or content["collection_id"] != folder.name:
            raise DataLoss("manifest of another version or collection")
        record = _record(content)
        segments = tuple(_segment(folder, record, *entry) for entry in content["segments"])
        chain = bytes.fromhex(content["chain"])
        return Snapshot(record, int(content["sequence"]), int(content["epoch"]), segments, chain)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataLoss("manifest that cannot be read") from error
    except BlindsightError as error:
        raise DataLoss(f"damaged gallery: {error}") from error


def _record(content: dict[str, Any]) -> CollectionRecord:
    chosen = parameters.PARAMETER_SETS[content["parameter_set"]]
    layout = collection_layout(tuple(content["fields"]), chosen.ring_degree, content["stride"])
    identity, key_id = bytes.fromhex(content["collection_id"]), bytes.fromhex(content["key_id"])
    return CollectionRecord(identity, chosen, key_id, layout)


def _segment(folder: Path, record: CollectionRecord, region: int, index: int, name: str) -> SegmentFile:
    key = SegmentId(Region.of(region), index)
    if Path(name).name != name:
        raise DataLoss("manifest names a file elsewhere")
    header = read_header(folder / name)
    if not header.describes(record, key):
        raise DataLoss("segment file of another collection")
    return SegmentFile(key, folder / name, header.file_bytes)
