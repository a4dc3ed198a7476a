"""The cache: what it keeps, what it lets go, and what a new process takes over."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from support.evaluator import PARAMETERS

from blindsight.errors import DataLoss
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from services.evaluator.computing.checksums import checksum
from services.evaluator.galleries import manifest
from services.evaluator.galleries.cache import GalleryCache
from services.evaluator.galleries.manifest import SegmentFile, Snapshot
from services.evaluator.geometry import CollectionRecord
from services.evaluator.segments import SegmentHeader, write_segment

FILE_BYTES = 4096 + 65536


class Disk:
    """A cache in a folder, and what it was told to forget."""

    def __init__(self, folder, limit_bytes=1 << 30):
        self.folder = folder
        self.limit_bytes = limit_bytes
        self.forgotten = []
        self.open()

    def open(self):
        self.cache = GalleryCache(self.folder, self.limit_bytes, self.forgotten.extend)
        self.cache.load()

    def publish(self, number, sequence=1, indices=(0,), keep=()):
        layout = collection_layout((8,), PARAMETERS.ring_degree, 4)
        record = CollectionRecord(bytes([number]) * 16, PARAMETERS, b"a key's sixteen.", layout)
        made = [self.file(record, SegmentId(Region.MAIN, index), sequence) for index in indices]
        snapshot = Snapshot(
            record, sequence, 0, tuple(sorted([*keep, *made], key=lambda file: file.key)), bytes(32)
        )
        self.cache.publish(snapshot)
        return snapshot

    def file(self, record, key, sequence):
        path = self.cache.new_path(record.collection_id, key, sequence)
        header = SegmentHeader.of(record, key, sequence)
        block = np.full(header.geometry.shape, sequence, np.uint32)
        write_segment(path, header, block, checksum)
        return SegmentFile(key, path, header.file_bytes)

    def names(self):
        return sorted(path.name for path in self.folder.rglob("*.seg"))

    def numbers(self):
        return [snapshot.record.collection_id[0] for snapshot in self.cache.snapshots]


@pytest.fixture
def disk(tmp_path):
    return Disk(tmp_path / "cache")


def names(*snapshots):
    return sorted(file.path.name for snapshot in snapshots for file in snapshot.segments)


def test_a_new_process_takes_over_what_was_published(disk):
    first, second = disk.publish(1, 5, (0, 1, 2)), disk.publish(2, 7)
    disk.open()
    assert disk.cache.get(bytes([1]) * 16) == first
    assert disk.cache.get(bytes([2]) * 16) == second
    assert disk.cache.size_bytes == 4 * FILE_BYTES


def test_an_empty_gallery_is_taken_over_too(disk):
    empty = disk.publish(1, 3, ())
    disk.open()
    assert disk.cache.get(bytes([1]) * 16) == empty


def test_a_newer_snapshot_keeps_shared_files_and_deletes_replaced_ones(disk):
    old = disk.publish(1, 1, (0, 1))
    new = disk.publish(1, 2, (1,), keep=old.segments[:1])
    assert disk.names() == names(new)
    assert disk.forgotten == [old.segments[1].path]


def test_a_leased_snapshot_keeps_its_files_until_the_search_ends(disk):
    old = disk.publish(1, 1)
    with disk.cache.lease(old), disk.cache.lease(old):
        new = disk.publish(1, 2)
        assert disk.names() == names(old, new)
    assert disk.names() == names(new)


def test_a_dropped_gallery_is_gone_and_dropping_again_does_nothing(disk):
    other = disk.publish(2)
    dropped = disk.publish(1)
    disk.cache.drop(bytes([1]) * 16)
    disk.cache.drop(bytes([1]) * 16)
    assert disk.cache.get(bytes([1]) * 16) is None
    assert disk.names() == names(other)
    assert disk.forgotten == [dropped.segments[0].path]
    assert len(list(disk.folder.iterdir())) == 1


def test_a_gallery_dropped_during_a_search_stays_readable_and_is_not_taken_over(disk):
    snapshot = disk.publish(1)
    with disk.cache.lease(snapshot):
        disk.cache.drop(bytes([1]) * 16)
        assert disk.names() == names(snapshot)
    assert disk.names() == []
    disk.open()
    assert disk.numbers() == []
    assert list(disk.folder.iterdir()) == []


def test_the_least_recently_used_gallery_is_evicted(tmp_path):
    disk = Disk(tmp_path / "cache", 2 * FILE_BYTES)
    disk.publish(1)
    disk.publish(2)
    disk.cache.get(bytes([1]) * 16)
    disk.publish(3)
    assert disk.numbers() == [1, 3]
    assert disk.cache.size_bytes == 2 * FILE_BYTES


def test_a_gallery_in_use_is_evicted_when_it_is_no_more(tmp_path):
    disk = Disk(tmp_path / "cache", FILE_BYTES)
    first = disk.publish(1)
    with disk.cache.lease(first):
        second = disk.publish(2)
        assert disk.names() == names(first, second)
    assert disk.names() == names(second)


def test_a_gallery_over_the_limit_is_kept_while_it_is_the_last_one_used(tmp_path):
    disk = Disk(tmp_path / "cache", FILE_BYTES)
    large = disk.publish(1, 1, range(5))
    assert disk.names() == names(large)
    small = disk.publish(2)
    assert disk.names() == names(small)


def test_after_a_restart_the_oldest_gallery_is_the_first_to_go(tmp_path):
    disk = Disk(tmp_path / "cache")
    for number in (3, 1, 2):
        disk.publish(number)
        moment = 1_000_000_000 + [3, 1, 2].index(number)
        os.utime(disk.folder / (bytes([number]) * 16).hex() / manifest.NAME, (moment, moment))
    disk.limit_bytes = 2 * FILE_BYTES
    disk.open()
    assert disk.numbers() == [1, 2]


def test_files_that_no_manifest_names_are_removed_at_the_start(disk):
    kept = disk.publish(1)
    folder = kept.segments[0].path.parent
    (folder / "main-00000009.000000000001.00000000.seg").write_bytes(b"left behind")
    (folder / "main-00000009.000000000002.00000000.tmp").write_bytes(b"left behind")
    (disk.folder / "other").mkdir()
    (disk.folder / "file").write_bytes(b"")
    disk.open()
    assert sorted(path.name for path in disk.folder.rglob("*")) == sorted(
        [folder.name, manifest.NAME, *names(kept)]
    )


def change(path, **changes):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"version": manifest.VERSION + 1},
        {"version": manifest.VERSION - 1},
        {"collection_id": "00" * 16},
        {"key_id": "00" * 16},
        {"key_id": 5},
        {"parameter_set": "unknown"},
        {"fields": [16]},
        {"fields": [-1]},
        {"fields": 8},
        {"stride": 3},
        {"sequence": "x"},
        {"segments": None},
        {"segments": [[1, 1, "main-00000000"]]},
        {"segments": [[9, 0, "main-00000000"]]},
        {"segments": [[1, 0, "../../other.seg"]]},
    ],
    ids=str,
)
def test_a_damaged_or_foreign_manifest_is_not_believed(disk, changes):
    snapshot = disk.publish(1)
    other = disk.publish(2)
    folder = snapshot.segments[0].path.parent
    change(folder / manifest.NAME, **changes)
    with pytest.raises(DataLoss):
        manifest.read(folder)
    disk.open()
    assert disk.numbers() == [2]
    assert disk.names() == names(other)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_a_torn_manifest_is_not_believed(disk, text):
    snapshot = disk.publish(1)
    folder = snapshot.segments[0].path.parent
    (folder / manifest.NAME).write_text(text)
    with pytest.raises(DataLoss):
        manifest.read(folder)


def test_a_file_that_belongs_to_another_collection_is_not_believed(disk):
    first, second = disk.publish(1), disk.publish(2)
    second.segments[0].path.write_bytes(first.segments[0].path.read_bytes())
    disk.open()
    assert disk.numbers() == [1]


def test_snapshots_answer_by_region(disk):
    snapshot = disk.publish(1, 1, (0, 1))
    tail = SegmentFile(SegmentId(Region.TAIL, 0), snapshot.segments[0].path, 1)
    both = replace(snapshot, segments=(*snapshot.segments, tail))
    assert both.region(Region.MAIN) == snapshot.segments
    assert both.region(Region.TAIL) == (tail,)
