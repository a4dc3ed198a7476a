"""Alarms: one for each collection, kept sealed on the disk until their owner acknowledges them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.keysets import shared_key_set

from blindsight.errors import NO_COLLECTION, DataLoss, NotFound
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.wire.collections import Alarm
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.alarms.store import FILE_NAME, AlarmStore

WHEN = datetime(2026, 5, 1, 12, tzinfo=UTC)


def opened(folder: Path) -> AlarmStore:
    return AlarmStore(folder / FILE_NAME, Sealer(shared_key_set().subkey("alarms")))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[AlarmStore]:
    with closing(opened(tmp_path)) as made:
        yield made


def refuse(alarms: Alarms, collection: str, message: str = "changed") -> None:
    with pytest.raises(DataLoss), alarms.watching("a caller"), alarms.watching(collection):
        raise DataLoss(message)


def told(alarms: Alarms) -> list[tuple[int, str, str, int]]:
    return [(one.number, one.collection, one.message, one.count) for one in alarms.standing]


def test_an_alarm_outlives_its_process_and_those_of_one_collection_are_one(
    store: AlarmStore, tmp_path: Path
) -> None:
    alarms = Alarms(store)
    for collection, message in (("cats", "first"), ("dogs", "other"), ("cats", "second")):
        refuse(alarms, collection, message)
    assert told(alarms) == [(2, "dogs", "other", 1), (3, "cats", "second", 2)]
    with closing(opened(tmp_path)) as again:
        assert Alarms(again).standing == alarms.standing
        assert Alarms(again).text() == alarms.text() != ""


def test_what_was_seen_is_acknowledged_and_what_came_since_is_not(store: AlarmStore) -> None:
    alarms = Alarms(store)
    refuse(alarms, "cats")
    refuse(alarms, "dogs")
    seen = alarms.standing[-1].number
    refuse(alarms, "cats")
    assert [alarms.acknowledge(seen) for _ in range(2)] == [1, 0]
    assert told(Alarms(store)) == told(alarms) == [(3, "cats", "changed", 2)]
    assert alarms.acknowledge((1 << 64) - 1) == 1
    assert told(Alarms(store)) == []
    assert alarms.text() == ""


def test_a_number_is_not_given_twice(store: AlarmStore) -> None:
    alarms = Alarms(store)
    refuse(alarms, "cats")
    refuse(alarms, "cats")
    alarms.acknowledge(2)
    again = Alarms(store)
    refuse(again, "dogs")
    assert again.acknowledge(2) == 0
    assert told(again) == [(3, "dogs", "changed", 1)]


def test_an_alarm_that_finds_the_disk_full_is_raised_and_shown_all_the_same(
    store: AlarmStore,
) -> None:
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    alarms = Alarms(store)
    refuse(alarms, "cats", "long" * 5000)
    assert len(alarms.standing) == 1
    assert store.load() == []


def test_the_file_tells_nothing_of_a_collection(store: AlarmStore, tmp_path: Path) -> None:
    refuse(Alarms(store), "a very secret name", "an odd message")
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"secret" not in kept
    assert b"odd" not in kept


def test_a_damaged_alarm_is_one_line(store: AlarmStore, tmp_path: Path) -> None:
    store.save(Alarm(1, "cats", "changed", 1, WHEN, WHEN))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as db, db:
        db.execute("UPDATE alarms SET number = 2")
    with pytest.raises(DataLoss, match=rf"^an alarm of the keyholder is damaged: remove {FILE_NAME}, or"):
        store.load()


def test_a_collection_that_is_not_there_gets_its_name_and_other_things_keep_theirs() -> None:
    alarms = Alarms()
    with pytest.raises(NotFound, match=r"^collection 'album' is gone"), alarms.watching("album"):
        raise NotFound("the collection is not here", **NO_COLLECTION, request_id="x")
    with pytest.raises(NotFound, match=r"^no item 'a'$"), alarms.watching("album"):
        raise NotFound("no item 'a'")
    assert not alarms.standing
