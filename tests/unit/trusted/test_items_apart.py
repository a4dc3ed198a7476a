"""Damaged items are told apart from the others, whatever order they are asked for in."""

from types import SimpleNamespace

import pytest

from blindsight.errors import DataLoss
from blindsight.trusted.vault.items import Items

HANDLES = [bytes([number]) for number in (7, 3, 9, 1, 5, 8, 2, 6)]


class Vault:
    """Refreshes collections, to which nobody writes."""

    def __init__(self):
        self.damage = ""

    async def refresh(self, collection):
        if self.damage:
            raise DataLoss(self.damage)


class Reading:
    """Reads items, unless one of them is damaged."""

    def __init__(self, *damaged):
        self.asked = []
        self._damaged = set(damaged)

    async def __call__(self, handles):
        self.asked.append(list(handles))
        if found := self._damaged.intersection(handles):
            raise DataLoss(f"{len(found)} damaged")
        return {handle: handle.hex() for handle in handles}


@pytest.fixture
def vault():
    return Vault()


@pytest.fixture
def items(vault):
    return Items(vault, None)


COLLECTION = SimpleNamespace(slots=SimpleNamespace(sequence=1))


async def test_what_is_damaged_is_told_and_the_others_are_read(items):
    reading = Reading(b"\x03", b"\x08")
    found, damaged = await items.apart(COLLECTION, HANDLES, reading, 2)
    assert damaged == {b"\x03": "1 damaged", b"\x08": "1 damaged"}
    assert found == {handle: handle.hex() for handle in HANDLES if handle not in damaged}
    assert all(part == sorted(part) for part in reading.asked)  # the order in which they came is a ranking


async def test_all_are_read_at_once_if_none_is_damaged(items):
    reading = Reading()
    assert len((await items.apart(COLLECTION, HANDLES, reading, 0))[0]) == len(HANDLES)
    assert await items.apart(COLLECTION, [], reading, 0) == ({}, {})
    assert len(reading.asked) == 1


async def test_more_damaged_items_than_are_borne_are_an_error(items):
    with pytest.raises(DataLoss, match="1 damaged"):
        await items.apart(COLLECTION, HANDLES, Reading(b"\x03", b"\x08"), 1)


async def test_a_collection_that_is_damaged_itself_is_no_damage_of_items(vault, items):
    vault.damage = "it was set back"
    with pytest.raises(DataLoss, match="set back"):
        await items.apart(COLLECTION, HANDLES, Reading(b"\x03"), 8)
