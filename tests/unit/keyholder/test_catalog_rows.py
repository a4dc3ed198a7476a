"""What is said of items stays theirs while others come, change and go."""

from __future__ import annotations

import numpy as np
import pytest

from blindsight.packing.segments import Region, SegmentId
from blindsight.trusted.slots import HANDLE_TYPE, Segment, SlotMap
from blindsight.wire.metadata import Comparison, Has, Not, Operator
from services.keyholder.catalog.rows import Rows

TAIL = SegmentId(Region.TAIL, 0)
IS_ONE = Comparison("a", Operator.EQUAL, 1)


def word(number: int) -> int:
    return int.from_bytes(bytes([number]) * 8, "little")


def slots(**items: int) -> SlotMap:
    """A segment of items by number ("i1") with their versions; version 0 stands for one that was deleted."""
    numbers = [int(name[1:]) if version else 0 for name, version in items.items()]
    handles = np.frombuffer(b"".join(bytes([one]) * 16 for one in numbers), HANDLE_TYPE)
    segment = Segment(handles, (), np.array(list(items.values()), np.uint64))
    return SlotMap(segments={TAIL: segment})


def passing(rows: Rows, where: object, map_of: SlotMap) -> list[bool]:
    return rows.passing(where).of(TAIL, map_of.segments[TAIL]).tolist()  # type: ignore[arg-type]


@pytest.fixture
def rows() -> Rows:
    made = Rows(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    made.begin_loading()
    made.end_loading()
    return made


def test_an_item_keeps_its_entry_while_that_of_another_is_still_to_come(rows: Rows) -> None:
    rows.put(word(1), 7, {"a": 1})
    assert rows.reach(slots(i1=7)) == []
    assert rows.stale().tolist() == []
    both = slots(i1=7, i2=9)
    assert rows.reach(both) == [bytes([2]) * 16]
    assert rows.stale().tolist() == []
    assert passing(rows, IS_ONE, both) == [True, False]
    assert passing(rows, Not(IS_ONE), both) == [False, False]
    assert passing(rows, None, both) == [True, True]
    rows.put(word(2), 9, {"a": 1})
    assert rows.stale().tolist() == []
    assert passing(rows, IS_ONE, both) == [True, True]
    assert rows.reach(both) == []


def test_items_of_which_nothing_is_said_lack_no_entry_before_there_is_any(rows: Rows) -> None:
    bare = SlotMap(
        segments={TAIL: Segment(slots(i1=7, i2=9).segments[TAIL].handles, (), np.zeros(2, np.uint64))}
    )
    assert rows.reach(bare) == []
    assert passing(rows, None, bare) == [True, True]


def test_an_item_that_changes_is_found_as_it_was_or_as_it_will_be(rows: Rows) -> None:
    rows.put(word(1), 7, {"a": 1})
    before, after = slots(i1=7), slots(i1=8)
    assert rows.reach(before) == []
    rows.put(word(1), 8, {"a": 1, "b": 2})  # the slot map follows
    assert passing(rows, IS_ONE, before) == [True]
    assert rows.reach(after) == []
    assert passing(rows, Has("b"), after) == [True]


def test_an_entry_that_is_behind_is_asked_for_and_goes_on_until_it_comes(rows: Rows) -> None:
    rows.put(word(1), 7, {"a": 1})
    after = slots(i1=8)
    assert rows.reach(slots(i1=7)) == []
    assert rows.stale().tolist() == []
    assert rows.reach(after) == [bytes([1]) * 16]
    assert rows.stale().tolist() == []
    rows.put(word(1), 8, {"a": 2})
    assert rows.reach(after) == []
    assert passing(rows, IS_ONE, after) == [False]


def test_an_entry_goes_with_its_item_and_says_nothing_any_more(rows: Rows) -> None:
    for number in (1, 2):
        rows.put(word(number), 7, {"a": 1})
    assert rows.reach(slots(i1=7, i2=7)) == []
    assert rows.stale().tolist() == []
    left = slots(i1=0, i2=7)
    assert rows.reach(left) == []
    assert rows.stale().tolist() == [word(1)]
    assert passing(rows, IS_ONE, left) == [False, True]
    again = slots(i1=9, i2=7)
    assert rows.reach(again) == [bytes([1]) * 16]
    assert passing(rows, Not(IS_ONE), again) == [False, False]


def test_what_is_put_while_metadata_are_loaded_goes_before_what_is_read() -> None:
    rows = Rows(np.zeros(0, np.uint64), np.zeros(0, np.uint64))
    for number in (1, 2, 3):
        rows.put(word(number), 7, {})
    everyone = slots(i1=7, i2=7, i3=7)
    assert rows.reach(everyone) == []
    assert rows.stale().tolist() == []
    rows.begin_loading()
    rows.put(word(1), 8, {"a": 2})
    rows.load([(word(1), {"a": 1}), (word(2), {"a": 1}), (word(9), {"a": 1})])
    rows.put(word(2), 8, {"a": 2})
    after = slots(i1=8, i2=8, i3=0)
    assert rows.reach(after) == []
    assert rows.stale().tolist() == [word(3)]
    rows.load([(word(3), {"a": 1})])  # it is gone, and was read before
    rows.put(word(4), 9, {"a": 1})
    rows.end_loading()
    last = slots(i1=8, i2=8, i3=0, i4=9)
    assert rows.reach(last) == []
    assert passing(rows, IS_ONE, last) == [False, False, False, True]
    assert rows.passing(Comparison("a", Operator.EQUAL, 2)).of(TAIL, last.segments[TAIL]).tolist() == [
        *(True, True, False, False)
    ]
    with pytest.raises(RuntimeError, match="no loading"):
        rows.load([])
