"""Which items an append takes, and in which rows: an item with several vectors is written as a whole."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import accumulate

from blindsight.packing.segments import Placement
from blindsight.trusted.records import NewItem
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection

# Largest append of several blocks: as many ciphertexts as a block of 128 columns, 4 MB under most parameters.
_APPEND_CIPHERTEXTS = 128


def rows_of(items: Sequence[NewItem]) -> list[range]:
    """Returns the rows of each item, which stand after one another."""
    stops = accumulate(item.vectors for item in items)
    return [range(stop - item.vectors, stop) for item, stop in zip(items, stops, strict=True)]


def rows_together(of_item: Sequence[range], chosen: Iterable[int]) -> list[int]:
    """Returns the rows of chosen items."""
    return [row for index in chosen for row in of_item[index]]


def firsts_first(of_item: Sequence[range]) -> list[int]:
    """Returns the first row of each item, and then the others: no two tell that they are of one."""
    return [rows[0] for rows in of_item] + [row for rows in of_item for row in rows[1:]]


def with_parts(collection: OpenCollection, items: Sequence[NewItem]) -> list[NewItem]:
    """Returns the items, and then their further vectors as such that are nothing but a handle."""
    further = [item for item in items if item.vectors > 1]
    handles = [one for item in further for one in collection.parts.handles(item.handle, item.vectors - 1)]
    return [*items, *map(NewItem, handles)]


def fitting(
    collection: OpenCollection, slots: SlotMap, of_item: Sequence[range], done: int
) -> tuple[int, list[Placement]]:
    """Returns up to which item one append takes them with all their rows, and the places of these.

    It takes one, however many rows that has.
    """
    stop, first = len(of_item), of_item[done].start
    while True:
        placements = list(collection.plan(slots, of_item[stop - 1].stop - first))
        room = first + sum(placement.count for placement in _together(collection, placements))
        if room >= of_item[stop - 1].stop or stop == done + 1:
            return stop, placements
        whole = sum(rows.stop <= room for rows in of_item[done:stop])
        stop = done + max(1, whole)


def live_rows(slots: SlotMap, handles: Sequence[bytes]) -> list[bytes]:
    """Returns the handles of those of these items that are there, and of their further vectors."""
    there = list(slots.versions(handles))
    return there + slots.parts(there)


def at_most(slots: SlotMap, items: Sequence[bytes], rows: int) -> tuple[list[bytes], int]:
    """Returns the handles of the first items and their further vectors, and how many items these are.

    They are at most `rows`, or one item.
    """
    count = min(len(items), rows)
    while len(found := live_rows(slots, items[:count])) > rows and count > 1:
        count = max(1, count // 2)
    return found, count


def _together(collection: OpenCollection, placements: Iterable[Placement]) -> Iterator[Placement]:
    """Yields the first placements, at least one, whose blocks fit into one append."""
    ciphertexts = 0
    for placement in placements:
        columns = collection.layout.of(placement.region).columns
        if ciphertexts and ciphertexts + columns > _APPEND_CIPHERTEXTS:
            return
        ciphertexts += columns
        yield placement


def first_of_each(handles: Sequence[bytes], known: Container[bytes]) -> list[int]:
    """Returns the indices of handles that are neither known nor repeated."""
    seen: set[bytes] = set()
    fresh = []
    for index, handle in enumerate(handles):
        if handle not in known and handle not in seen:
            seen.add(handle)
            fresh.append(index)
    return fresh
