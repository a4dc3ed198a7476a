"""Tags of undescribed items: their owner sees them in a version, and nobody else."""

import os

import numpy as np
import pytest

from blindsight.packing.segments import Region, SegmentId
from blindsight.trusted.keyring.tags import Tags
from blindsight.trusted.secrets import Secret
from blindsight.trusted.slots import (
    Segment,
    SlotMap,
    handles_from_bytes,
    marked,
    new_version,
    revised,
    unmarked,
)
from blindsight.wire.storage import SlotBatch

COUNT = 500
HANDLES = [os.urandom(16) for _ in range(COUNT)]


@pytest.fixture(scope="module")
def tags():
    return Tags(Secret(os.urandom(32)))


def found(tags, handles, versions):
    words = np.frombuffer(b"".join(versions), "<u8")
    return tags.found(handles_from_bytes(b"".join(handles)), words).tolist()


def test_the_owner_tells_tagged_versions_from_others(tags):
    versions = [tags.version(handle) if index % 3 else new_version() for index, handle in enumerate(HANDLES)]
    assert found(tags, HANDLES, versions) == [bool(index % 3) for index in range(COUNT)]


def test_a_tag_is_its_own_items_and_its_own_keys(tags):
    versions = [tags.version(handle) for handle in HANDLES]
    assert not any(found(tags, HANDLES[1:] + HANDLES[:1], versions))
    assert not any(found(Tags(Secret(os.urandom(32))), HANDLES, versions))


def test_an_item_whose_metadata_change_keeps_its_tag(tags):
    versions = [revised(revised(tags.version(handle))) for handle in HANDLES]
    assert all(found(tags, HANDLES, versions))


def test_a_quarantined_item_keeps_its_tag(tags):
    versions = [marked(tags.version(handle)) for handle in HANDLES]
    assert all(found(tags, HANDLES, versions))
    assert all(unmarked(one) != one for one in versions)
    assert all(found(tags, HANDLES, map(unmarked, versions)))


def test_tagged_versions_look_as_others_do(tags):
    """Every bit that is drawn is set in about half of them, of one item too."""
    versions = [tags.version(HANDLES[0]) for _ in range(2000)]
    bits = np.unpackbits(
        np.frombuffer(b"".join(versions), np.uint8).reshape(-1, 8), axis=1, bitorder="little"
    )
    means = bits.mean(axis=0)
    assert not means[48:].any()
    assert (np.abs(means[:48] - 0.5) < 0.08).all()  # seven standard deviations


def test_no_search_ranks_a_tagged_item_and_it_is_counted_until_it_is_deleted(tags):
    handles = handles_from_bytes(b"".join(HANDLES[:3]))
    versions = np.frombuffer(new_version() + tags.version(HANDLES[1]) + new_version(), "<u8")
    plain = Segment(handles, (SlotBatch(3, bytes(32)),), versions)
    key = SegmentId(Region.TAIL, 0)
    slots = SlotMap(segments={key: plain}).keyed(tags, None)
    segment = slots.segments[key]
    assert (plain.ranked, segment.ranked.tolist()) == (None, [True, False, True])
    assert segment.digest == plain.digest
    assert slots.keyed(tags, None).segments[key] is segment
    assert (slots.items, slots.undescribed_items(), slots.quarantined_items()) == (3, 1, 0)
    assert [slots.is_undescribed(handle) for handle in HANDLES[:4]] == [False, True, False, False]
    longer = segment.joined(Segment(handles_from_bytes(HANDLES[3]), (SlotBatch(1, bytes(32)),)))
    assert longer.ranked.tolist() == [True, False, True, True]
    gone = slots.without_items(handles_from_bytes(HANDLES[1]), 1)
    assert (gone.items, gone.undescribed_items()) == (2, 0)
