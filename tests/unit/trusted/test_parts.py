"""Handles of the further vectors of items: found again by who has the key, chance to anybody else."""

import os

import numpy as np
import pytest

from blindsight.packing.segments import Region, SegmentId
from blindsight.trusted.keyring.parts import PartKey
from blindsight.trusted.secrets import Secret
from blindsight.trusted.slots import Segment, SlotMap, handles_from_bytes, marked, new_version
from blindsight.wire.storage import SlotBatch

KEY = PartKey(Secret(bytes(range(32))))
ITEMS = [os.urandom(16) for _ in range(4)]
MANY = 256


def segment(rows, parts=KEY):
    """A segment of (handle, version) pairs."""
    versions = np.frombuffer(b"".join(version or bytes(8) for _, version in rows), "<u8")
    packed = handles_from_bytes(b"".join(handle for handle, _ in rows))
    return Segment(packed, (SlotBatch(len(rows), bytes(32)),), versions, None, parts)


def slot_map(**regions):
    """Items with 0, 1 and 3 further vectors, and one of an item in the other region."""
    return SlotMap(segments={SegmentId(Region[name], 0): rows for name, rows in regions.items()})


@pytest.fixture
def slots():
    first, second, third = ITEMS[:3]
    main = [(first, new_version()), (second, new_version()), (third, new_version())]
    main += [(KEY.handles(second, 1)[0], b""), *((one, b"") for one in KEY.handles(third, 2))]
    return slot_map(MAIN=segment(main), TAIL=segment([(KEY.handles(third, 3)[2], b"")]))


def test_handles_are_different_and_those_of_one_key():
    made = [handle for item in ITEMS for handle in KEY.handles(item, MANY)]
    assert len(set(made) | set(ITEMS)) == len(ITEMS) * (MANY + 1)
    assert KEY.handles(ITEMS[0], 3) == KEY.handles(ITEMS[0], MANY)[:3]
    assert PartKey(Secret(bytes(32))).handles(ITEMS[0], 1) != KEY.handles(ITEMS[0], 1)


def test_whoever_has_the_key_finds_item_and_index():
    for item in ITEMS:
        handles = KEY.handles(item, MANY)
        blocks = KEY.blocks(handles_from_bytes(b"".join(handles)))
        assert {block[:14] for block in map(bytes, blocks.view("V16").ravel())} == {item[:14]}
        assert [KEY.index(block.tobytes(), item) for block in blocks] == list(range(1, MANY + 1))


def test_an_item_counts_once(slots):
    assert (slots.items, slots.rows) == (3, 7)
    assert [int(one.items.sum()) for one in slots.segments.values()] == [3, 0]


def test_rows_lead_to_their_items_and_back(slots):
    parts = KEY.handles(ITEMS[2], 3)
    assert set(slots.parts([ITEMS[2]])) == set(parts)
    assert slots.parts([ITEMS[0], ITEMS[3]]) == []
    asked = [ITEMS[0], KEY.handles(ITEMS[1], 1)[0], *parts, ITEMS[3]]
    found = slots.items_of(asked)
    assert found == {
        ITEMS[0]: (ITEMS[0], 0),
        KEY.handles(ITEMS[1], 1)[0]: (ITEMS[1], 1),
        **{part: (ITEMS[2], index) for index, part in enumerate(parts, 1)},
    }


def test_a_row_whose_item_is_gone_has_none(slots):
    gone = slots.without_items(handles_from_bytes(ITEMS[2]), 9)
    assert gone.items_of(KEY.handles(ITEMS[2], 3)) == {}


def test_a_lost_vector_is_still_one_of_its_item():
    rows = [(ITEMS[0], new_version()), (KEY.handles(ITEMS[0], 1)[0], marked(b""))]
    slots = slot_map(MAIN=segment(rows))
    assert (slots.items, slots.quarantined_items()) == (1, 1)
    assert slots.ranked_rows(ITEMS[0]) == [(SegmentId(Region.MAIN, 0), 0)]


def test_without_a_key_every_row_is_an_item():
    rows = [(ITEMS[0], b""), (ITEMS[1], b"")]
    slots = slot_map(MAIN=segment(rows, None))
    assert (slots.items, slots.parts(ITEMS)) == (2, [])
    assert slots.items_of(ITEMS[:2]) == {one: (one, 0) for one in ITEMS[:2]}
