"""Segment files: what is written is what is mapped, and anything else is noticed."""

import hashlib
import struct

import numpy as np
import pytest
from support.evaluator import PARAMETERS

from blindsight.errors import DataLoss
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from services.evaluator.computing.checksums import checksum
from services.evaluator.geometry import CollectionRecord
from services.evaluator.segments import PAGE_BYTES, SegmentHeader, map_segment, read_header, write_segment

RECORD = CollectionRecord(
    b"collection sixteen"[:16],
    PARAMETERS,
    b"a key's sixteen.",
    collection_layout((8,), PARAMETERS.ring_degree, 4),
)
KEY = SegmentId(Region.MAIN, 3)
HEADER = SegmentHeader.of(RECORD, KEY, 17)


@pytest.fixture
def block():
    return np.random.default_rng(1).integers(0, 1 << 27, HEADER.geometry.shape, np.uint32)


@pytest.fixture
def path(tmp_path, block):
    path = tmp_path / "one.seg"
    write_segment(path, HEADER, block, checksum)
    return path


def test_a_mapped_segment_is_what_was_written(path, block):
    header, mapped = map_segment(path, checksum)
    assert (mapped == block).all()
    assert not mapped.flags.writeable
    assert header.describes(RECORD, KEY)
    assert (header.sequence, header.checksum) == (17, checksum(block))
    assert [entry.name for entry in path.parent.iterdir()] == ["one.seg"]


def test_a_mapping_outlives_its_file(path, block):
    _, mapped = map_segment(path, checksum)
    path.unlink()
    assert (mapped == block).all()


@pytest.mark.parametrize("change", ["collection_id", "key_id", "layout"])
def test_a_segment_of_another_collection_is_told_apart(path, change):
    others = {
        "collection_id": bytes(16),
        "key_id": bytes(16),
        "layout": collection_layout((16,), PARAMETERS.ring_degree, 4),
    }
    fields = {name: getattr(RECORD, name) for name in ("collection_id", "parameters", "key_id", "layout")}
    other = CollectionRecord(**{**fields, change: others[change]})
    assert not read_header(path).describes(other, KEY)
    assert not read_header(path).describes(RECORD, SegmentId(Region.MAIN, 4))
    assert not read_header(path).describes(RECORD, SegmentId(Region.TAIL, 3))


@pytest.mark.parametrize("place", [0, 4, 6, 8, 16, 24, 40, 60, 70, 80, 111])
def test_a_damaged_header_is_noticed(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataLoss, match="damaged header"):
        read_header(path)


@pytest.mark.parametrize(
    ("place", "kind", "value"),
    [(4, "<H", 1), (6, "<H", 999), (20, "<I", 16), (8, "<I", 0)],
    ids=["an earlier version", "an unknown parameter set", "another tile", "no region"],
)
def test_a_whole_header_of_another_kind_is_noticed(path, place, kind, value):
    content = bytearray(path.read_bytes())
    struct.pack_into(kind, content, place, value)
    content[80:112] = hashlib.sha256(content[:80]).digest()
    path.write_bytes(content)
    with pytest.raises(DataLoss, match=r"another version|a segment of region 0"):
        read_header(path)


@pytest.mark.parametrize("place", [PAGE_BYTES, PAGE_BYTES + 12345, -1])
def test_a_damaged_block_is_noticed_when_it_is_mapped(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataLoss, match="damaged block"):
        map_segment(path, checksum)


@pytest.mark.parametrize(
    "size", [0, 100, PAGE_BYTES, PAGE_BYTES + 100, HEADER.file_bytes - 1, HEADER.file_bytes + 1]
)
def test_a_file_of_another_size_is_noticed(path, size):
    path.write_bytes(path.read_bytes()[:size].ljust(size, b"\0"))
    with pytest.raises(DataLoss):
        map_segment(path, checksum)


def test_a_missing_file_is_noticed(tmp_path):
    with pytest.raises(DataLoss, match="cannot be read"):
        map_segment(tmp_path / "none.seg", checksum)
