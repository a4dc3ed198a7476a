"""What a keyholder remembers of storage's past, over restarts and damage."""

import asyncio
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from blindsight.errors import DataLoss, InvalidArgument, ResourceExhausted
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.secrets import Secret
from blindsight.trusted.slots import Point
from blindsight.trusted.vault.heads import Head, Heads, State
from services.keyholder.heads.store import HeadStore

SEALER = Sealer(Secret(bytes(32)))
ONE, OTHER = b"one collection's", b"another one's id"
HEADS = {
    ONE: Head("one", Point(7, b"c" * 32)),
    OTHER: Head("other", Point(2, b"d" * 32), State.DELETED, {"alias": 3}),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "heads.db"


def kept(path):
    with closing(HeadStore(path, SEALER)) as store:
        return store.load()


def test_heads_outlive_the_process(path):
    with closing(HeadStore(path, SEALER)) as store:
        for collection_id, head in HEADS.items():
            store.save(collection_id, head)
    assert kept(path) == HEADS


async def test_a_point_that_is_older_than_the_known_one_changes_nothing(path):
    with closing(HeadStore(path, SEALER)) as store:
        heads = Heads(store.load(), store.save)
        await heads.reach(ONE, Head("one", Point(7, b"c" * 32)))
        await heads.reach(ONE, Head("one", Point(6, b"b" * 32)))
        assert heads.get(ONE) == HEADS[ONE]
        await heads.put(ONE, Head("one", Point(6, b"b" * 32)))
    assert kept(path)[ONE].point.sequence == 6


async def test_of_many_points_at_once_the_newest_is_kept(path):
    with closing(HeadStore(path, SEALER)) as store:
        heads = Heads(store.load(), store.save)
        await asyncio.gather(
            *(heads.reach(ONE, Head("one", Point(n, bytes([n]) * 32))) for n in range(1, 100))
        )
    assert kept(path)[ONE].point == Point(99, bytes([99]) * 32)


async def test_a_full_disk_does_not_fail_what_storage_has_taken():
    def full(_, __):
        raise ResourceExhausted("the disk is full")

    heads = Heads(save=full)
    await heads.reach(ONE, Head("one", Point(7, b"c" * 32)))
    assert heads.get(ONE) == HEADS[ONE]


def test_what_is_deleted_is_not_missed(path):
    heads = Heads(HEADS)
    assert heads.live() == {ONE: "one"}
    assert (heads.named("one"), heads.named("other")) == (ONE, None)


@pytest.mark.parametrize("change", ["state = 7", "chain = x'00'", "collection = x'00'"])
def test_a_damaged_head_is_told_in_one_line(path, change):
    with closing(HeadStore(path, SEALER)) as store:
        store.save(ONE, HEADS[ONE])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(f"UPDATE heads SET {change}")
    with pytest.raises(
        DataLoss, match=r"^a log head of the keyholder is damaged: restore heads\.db from a copy$"
    ):
        kept(path)


def test_a_file_of_another_kind_is_refused(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE heads (what)")
    with pytest.raises(InvalidArgument, match="is not a database of log heads"):
        kept(path)


async def test_a_reading_that_ends_after_a_deletion_does_not_undo_it():
    heads = Heads(HEADS)
    await heads.reach(OTHER, Head("other", Point(9, b"e" * 32)))
    assert heads.get(OTHER) == HEADS[OTHER]


async def test_a_collection_whose_deletion_failed_is_there_again_once_it_is_written_to():
    heads = Heads({ONE: Head("one", Point(7, b"c" * 32), State.DELETING)})
    assert heads.live() == {}
    await heads.reach(ONE, Head("one", Point(8, b"d" * 32)))
    assert heads.live() == {ONE: "one"}


def test_the_collection_with_an_aliases_highest_number_has_it():
    head = Head("one", Point(7, b"c" * 32), aliases={"moved": 1, "kept": 4, "alias": 2})
    heads = Heads({ONE: head, OTHER: replace(head, name="other", aliases={"moved": 2})})
    assert (heads.alias_holder("moved"), heads.alias_holder("kept"), heads.alias_holder("none")) == (
        OTHER,
        ONE,
        None,
    )
    assert [heads.alias_number(one) for one in ("moved", "kept", "none")] == [2, 4, 0]


async def test_an_alias_of_a_collection_that_was_deleted_means_none_that_had_it_before():
    heads = Heads({ONE: Head("one", aliases={"moved": 1}), OTHER: Head("other", aliases={"moved": 2})})
    assert heads.alias_holder("moved") == OTHER
    await heads.put(OTHER, replace(heads.get(OTHER), state=State.DELETED))
    assert (heads.alias_holder("moved"), heads.alias_number("moved")) == (None, 2)
    await heads.reach(ONE, Head("one", Point(1, b"c" * 32), aliases={"moved": 3}))
    assert heads.alias_holder("moved") == ONE
