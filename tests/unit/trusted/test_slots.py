"""The slot map: where new vectors go, and what is left after deletions and repacks."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.trusted.slots import (
    Segment,
    SlotMap,
    handles_from_bytes,
    live_slots,
    marked,
    new_version,
    unmarked,
)
from blindsight.wire.storage import SlotBatch

LAYOUT = collection_layout((128,), 4096, 8)  # 512 vectors in a main segment, 32 in a tail one
LIMITS = dict.fromkeys(Region, 7)
SINGLE = collection_layout((128,), 4096, 128)  # one kind of segment


def handles(start, count):
    return handles_from_bytes(b"".join((start + i + 1).to_bytes(16, "big") for i in range(count)))


def place(slots, layout, count):
    """Applies a plan as storage would."""
    pieces = list(slots.plan(layout, count, LIMITS))
    for placement in pieces:
        new = handles(slots.sequence * 10_000, placement.count)
        batch = Segment(new, (SlotBatch(placement.count, bytes(32)),))
        slots = slots.appended(placement, batch, slots.sequence + 1, slots.epoch)
    return slots, pieces


def test_a_single_vector_goes_to_the_tail_and_a_full_load_to_main():
    _, one = place(SlotMap(), LAYOUT, 1)
    _, full = place(SlotMap(), LAYOUT, 512)
    assert [piece.region for piece in one] == [Region.TAIL]
    assert [(piece.region, piece.count) for piece in full] == [(Region.MAIN, 512)]


def test_a_load_fills_main_segments_and_leaves_a_small_rest_to_the_tail():
    _, pieces = place(SlotMap(), LAYOUT, 512 * 2 + 40)
    assert [(p.region, p.index, p.first_slot, p.count) for p in pieces] == [
        (Region.MAIN, 0, 0, 512),
        (Region.MAIN, 1, 0, 512),
        (Region.TAIL, 0, 0, 32),
        (Region.TAIL, 1, 0, 8),
    ]


def test_an_open_segment_is_filled_before_a_new_one_is_begun():
    slots, _ = place(SlotMap(), LAYOUT, 300)
    _, pieces = place(slots, LAYOUT, 212)
    assert [(p.region, p.index, p.first_slot, p.count) for p in pieces] == [(Region.MAIN, 0, 300, 212)]


def test_a_collection_with_one_kind_of_segment_has_no_tail():
    slots, _ = place(SlotMap(), SINGLE, 1)
    _, pieces = place(slots, SINGLE, 40)
    assert {piece.region for piece in pieces} == {Region.MAIN}
    assert pieces[0].first_slot == 1


def test_a_segment_with_all_the_batches_that_noise_allows_is_closed():
    full = Segment(handles(0, 7), (SlotBatch(1, bytes(32)),) * LIMITS[Region.TAIL])
    slots = SlotMap(9, 0, {SegmentId(Region.TAIL, 0): full}, {Region.TAIL: 1})
    (piece,) = slots.plan(LAYOUT, 1, LIMITS)
    assert (piece.region, piece.index, piece.first_slot) == (Region.TAIL, 1, 0)


@given(st.lists(st.integers(1, 1500), min_size=1, max_size=8), st.sampled_from([LAYOUT, SINGLE]))
def test_every_plan_uses_each_slot_once_and_never_overfills(loads, layout):
    slots = SlotMap()
    for count in loads:
        slots, pieces = place(slots, layout, count)
        assert sum(piece.count for piece in pieces) == count
    for key, segment in slots.segments.items():
        assert segment.fill <= layout.of(key.region).capacity
    assert sum(segment.fill for segment in slots.segments.values()) == sum(loads)


@given(st.lists(st.integers(1, 1500), min_size=2, max_size=5), st.sampled_from([LAYOUT, SINGLE]))
def test_what_comes_after_the_next_load_is_placed_as_expected(loads, layout):
    slots = SlotMap()
    for count, following in pairwise(loads):
        expected = list(slots.expected(layout, count, LIMITS).plan(layout, following, LIMITS))
        slots, _ = place(slots, layout, count)
        assert list(slots.plan(layout, following, LIMITS)) == expected


def test_a_retired_segments_index_is_not_used_again():
    slots, _ = place(SlotMap(), LAYOUT, 512)
    slots = slots.without_segments([SegmentId(Region.MAIN, 0)], 5, 1)
    assert not slots.segments
    (piece,) = slots.plan(LAYOUT, 512, LIMITS)
    assert piece.index == 1
    assert (slots.sequence, slots.epoch) == (5, 1)


def test_deleted_items_leave_empty_slots_and_the_others_alone():
    slots, _ = place(SlotMap(), LAYOUT, 600)
    gone = np.concatenate([slots.segments[SegmentId(Region.MAIN, 0)].handles[[3, 500]], handles(10**9, 1)])
    after = slots.without_items(gone, 77)
    assert (after.live_rows(Region.MAIN), after.deleted_items(), after.sequence) == (510, 2, 77)
    assert np.flatnonzero(~after.segments[SegmentId(Region.MAIN, 0)].live).tolist() == [3, 500]
    assert slots.deleted_items() == 0  # snapshots do not change


def test_a_handle_that_ends_in_zero_bytes_is_not_taken_for_another():
    pair = handles_from_bytes(b"\1" + bytes(15) + b"\1\2" + bytes(14))
    slots = SlotMap(1, 0, {SegmentId(Region.TAIL, 0): Segment(pair, ())}, {Region.TAIL: 1})
    after = slots.without_items(pair[:1], 2)
    assert after.segments[SegmentId(Region.TAIL, 0)].live.tolist() == [False, True]


@pytest.mark.parametrize("position", [0, 7, 8, 15])
def test_only_an_all_zero_handle_is_empty(position):
    one = bytearray(16)
    one[position] = 1
    assert live_slots(handles_from_bytes(bytes(one) + bytes(16))).tolist() == [True, False]


def test_an_item_is_found_in_its_slot_until_it_is_deleted_or_its_segment_retired():
    slots, pieces = place(SlotMap(), LAYOUT, 512 + 40)
    for placement in pieces:
        new = slots.segments[SegmentId(placement.region, placement.index)].handles
        for slot in (0, placement.count - 1):
            handle = new[slot].tobytes()
            assert slots.find(handle) == (SegmentId(placement.region, placement.index), slot)
            gone = slots.without_items(handles_from_bytes(handle), slots.sequence + 1)
            assert gone.find(handle) is None
            retired = slots.without_segments([SegmentId(placement.region, placement.index)], 9, 1)
            assert retired.find(handle) is None
    assert slots.find(b"x" * 16) is None
    assert SlotMap().find(b"x" * 16) is None


def test_an_item_is_found_by_its_whole_handle():
    one, other = b"same-half" + b"1" * 7, b"same-half" + b"2" * 7
    slots = SlotMap(segments={SegmentId(Region.TAIL, 3): Segment(handles_from_bytes(one + other), ())})
    assert slots.find(other) == (SegmentId(Region.TAIL, 3), 1)


def segment_of(numbers, versions=()):
    versions = np.array(versions, np.uint64)
    packed = handles_from_bytes(b"".join(n.to_bytes(16, "big") for n in numbers))
    return Segment(packed, (SlotBatch(len(numbers), bytes(32)),), versions)


def test_versions_are_those_of_live_items_and_follow_them():
    place = Placement(Region.TAIL, 0, 0, 2)
    slots = (
        SlotMap().appended(place, segment_of([1, 2]), 1, 0).appended(place, segment_of([3, 4], [7, 8]), 2, 0)
    )
    one, three, four, unknown = (n.to_bytes(16, "big") for n in (1, 3, 4, 9))
    eight = (8).to_bytes(8, "little")
    assert slots.versions([one, four, unknown]) == {one: b"", four: eight}
    after = slots.without_items(handles_from_bytes(three), 3)
    assert after.versions([three, four]) == {four: eight}
    assert after.segments[SegmentId(Region.TAIL, 0)].versions.tolist() == [0, 0, 0, 8]


def test_quarantined_items_are_there_and_not_ranked_and_keep_their_versions():
    assert (unmarked(marked(b"")), marked(b"")) == (b"", bytes(7) + b"\x80")
    version = new_version()
    assert unmarked(version) == version
    assert unmarked(marked(version)) == version
    numbers = [int.from_bytes(one, "little") for one in (version, marked(version), b"", marked(b""))]
    segment = segment_of([1, 2, 3, 4], numbers)
    slots = SlotMap().appended(Placement(Region.TAIL, 0, 0, 4), segment, 1, 0)
    assert segment.ranked.tolist() == [True, False, True, False]
    assert (slots.items, slots.quarantined_items()) == (4, 2)
    two, four = (n.to_bytes(16, "big") for n in (2, 4))
    assert slots.versions([two, four]) == {two: marked(version), four: marked(b"")}
    after = slots.without_items(handles_from_bytes(two), 2)
    assert (after.items, after.quarantined_items()) == (3, 1)
    assert segment_of([1, 2]).ranked is None


def test_the_root_changes_with_everything_that_a_slot_map_says():
    key, record = SegmentId(Region.TAIL, 0), bytes(32)
    slots = SlotMap(1, 0, {key: segment_of([1, 2], [5, 6])}, {Region.TAIL: 1}, 2)
    changes = [
        {"segments": {key: segment_of([2, 1], [5, 6])}},
        {"segments": {key: segment_of([1, 2], [6, 5])}},
        {"segments": {key: segment_of([1, 2])}},
        {"segments": {key: replace(segment_of([1, 2], [5, 6]), batches=(SlotBatch(2, bytes(31) + b"1"),))}},
        {"segments": {key: replace(segment_of([1, 2], [5, 6]), batches=(SlotBatch(1, bytes(32)),) * 2)}},
        {"segments": {SegmentId(Region.TAIL, 1): segment_of([1, 2], [5, 6])}},
        {"segments": {SegmentId(Region.MAIN, 0): segment_of([1, 2], [5, 6])}},
        {"segments": {}},
        {"next_index": {Region.TAIL: 2}},
        {"next_index": {Region.MAIN: 1, Region.TAIL: 1}},
        {"items_added": 3},
    ]
    roots = {replace(slots, **change).root(record) for change in changes} | {slots.root(bytes(31) + b"1")}
    assert len(roots) == len(changes) + 1
    assert slots.root(record) not in roots
    # Zeros stand for no version, whether they are written or not.
    bare = replace(slots, segments={key: segment_of([1, 2])})
    assert replace(slots, segments={key: segment_of([1, 2], [0, 0])}).root(record) == bare.root(record)
