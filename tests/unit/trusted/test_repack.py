"""Which segments a repack moves together: what is planned always has room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keysets import shared_key_set

from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.parameters import CKKS_4096
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import Segment, SlotMap, handles_from_bytes
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.repack import plan
from blindsight.wire.storage import SlotBatch, StoredCollection

STRIDE = 16
Filled = tuple[Region, float, float]
FILLED = st.tuples(st.sampled_from(Region), st.floats(0, 1), st.floats(0, 1))


def collection(filled: Sequence[Filled]) -> OpenCollection:
    """One with segments of these regions, each filled and then emptied to a part."""
    key_set = shared_key_set()
    record = StoredCollection(bytes(16), bytes(16), b"", CKKS_4096.name, key_set.key_id, 64, STRIDE)
    config = CollectionConfig("name", "none", 64, Metric.COSINE, 10, 1.0, CKKS_4096.name, STRIDE)
    made = OpenCollection(record, config, key_set)
    slots, number = SlotMap(), 1
    for region, filling, left in filled:
        count = max(1, round(filling * made.layout.of(region).capacity))
        handles = handles_from_bytes(
            b"".join(one.to_bytes(16, "big") for one in range(number, number + count))
        )
        number += count
        place = Placement(region, slots.next_index.get(region, 0), 0, count)
        slots = slots.appended(place, Segment(handles, (SlotBatch(count, bytes(32)),)), slots.sequence + 1, 0)
        gone = handles[round(left * count) :]
        if len(gone):
            slots = slots.without_items(gone, slots.sequence + 1)
    made.advance(slots)
    return made


def check(made: OpenCollection) -> set[SegmentId]:
    """Each group has room in its region, and has just the items of its segments, none of them twice."""
    groups = plan(made)
    moved = [source for group in groups for source in group.sources]
    assert len(moved) == len(set(moved))
    for group in groups:
        live = sum(int(made.slots.segments[source].live.sum()) for source in group.sources)
        assert group.items == live <= made.layout.of(group.region).capacity
    return set(moved)


@settings(max_examples=60, deadline=None)
@given(st.lists(FILLED, max_size=12))
def test_every_group_has_room_in_its_region_and_no_deletion_is_left(filled: Sequence[Filled]) -> None:
    made = collection(filled)
    deleted = {key for key, segment in made.slots.segments.items() if not segment.live.all()}
    assert deleted <= check(made)


@pytest.mark.parametrize("left", [0.0, 0.1, 0.3, 0.45])
def test_a_main_segment_of_which_less_than_half_is_left_is_moved(left: float) -> None:
    made = collection([(Region.MAIN, 1.0, left)])
    assert made.layout.tail.capacity < made.layout.main.capacity
    assert check(made) == {SegmentId(Region.MAIN, 0)}
    assert np.isclose(made.slots.live_rows(Region.MAIN), left * made.layout.main.capacity, atol=1)
