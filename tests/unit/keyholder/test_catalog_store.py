"""The catalog's file: encrypted, and made anew when it cannot be read."""

from pathlib import Path

import pytest

from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.secrets import Secret
from services.keyholder.catalog.store import CatalogStore, Entry

KEY = Secret(bytes(range(32)))
HERE, THERE = b"h" * 16, b"t" * 16


def entry(number: int, **said: object) -> Entry:
    handle = number.to_bytes(8, "little") * 2
    metadata = ItemMetadata(
        f"id{number:03}", f"photo{number}.jpg", "image/jpeg", "", 10**15 - number, 7, "", said
    )
    return Entry(handle, number.to_bytes(8, "little"), metadata)


@pytest.fixture
def store(tmp_path: Path):
    opened = CatalogStore(tmp_path / "catalog.db", KEY)
    yield opened
    opened.close()


def test_entries_come_back_by_handle_of_their_collection_alone(store):
    entries = [entry(1), entry(2, year=2020, tags=("a", "b")), entry(3)]
    store.put(HERE, entries)
    store.put(THERE, entries[:1])
    assert store.find(HERE, [one.handle for one in entries] + [bytes(16)]) == {
        one.handle: one for one in entries
    }
    assert store.find(THERE, [entries[1].handle]) == {}
    words, versions = store.versions(HERE)
    assert sorted(words.tolist()) == [1, 2, 3]
    assert sorted(versions.tolist()) == [1, 2, 3]
    assert list(store.values(HERE)) == [(2, {"year": 2020, "tags": ("a", "b")})]


def test_an_entry_takes_the_place_of_the_one_of_the_same_item(store):
    store.put(HERE, [entry(1)])
    newer = Entry(entry(1).handle, b"newer123", ItemMetadata("id001", values={"a": 1}))
    store.put(HERE, [newer])
    assert store.find(HERE, [newer.handle]) == {newer.handle: newer}


def test_pages_follow_each_other_in_both_orders_and_ways(store):
    entries = [entry(number) for number in range(1, 8)]
    store.put(HERE, entries)
    for order, descending, wanted in (
        ("id", False, entries),
        ("id", True, entries[::-1]),
        ("added", False, entries[::-1]),
        ("added", True, entries),
    ):
        found, after = [], None
        while page := store.page(HERE, order, after, 3, descending=descending):
            found += page
            last = page[-1].metadata
            after = (last.id if order == "id" else last.added_microseconds), page[-1].place
        assert found == wanted


def test_what_is_removed_is_gone_and_a_forgotten_collection_has_nothing(store):
    entries = [entry(number) for number in range(1, 4)]
    store.put(HERE, entries)
    store.put(THERE, entries)
    store.remove(HERE, [entries[0].handle[:8]])
    assert set(store.find(HERE, [one.handle for one in entries])) == {one.handle for one in entries[1:]}
    store.forget(HERE)
    assert store.versions(HERE)[0].tolist() == []
    assert len(store.versions(THERE)[0]) == 3


def test_nothing_of_an_entry_stands_in_the_file(tmp_path):
    store = CatalogStore(tmp_path / "catalog.db", KEY)
    store.put(HERE, [entry(number, place="Castrop-Rauxel") for number in range(100)])
    files = list(tmp_path.iterdir())
    contents = b"".join(path.read_bytes() for path in files)
    store.close()
    assert len(contents) > 10_000
    for word in (b"Castrop", b"photo1", b"SQLite format", b"CREATE TABLE"):
        assert word not in contents


@pytest.mark.parametrize("damage", ["another key", "a changed byte", "no database", "an empty file"])
def test_a_file_that_cannot_be_read_is_made_anew(tmp_path, damage):
    path, key = tmp_path / "catalog.db", KEY
    store = CatalogStore(path, KEY)
    store.put(HERE, [entry(number) for number in range(200)])
    store.close()
    if damage == "another key":
        key = Secret(bytes(32))
    elif damage == "no database":
        path.write_bytes(b"no database" * 1000)
    elif damage == "an empty file":
        path.write_bytes(b"")
    else:
        changed = bytearray(path.read_bytes())
        for place in range(4096 + 100, len(changed), 4096):
            changed[place] ^= 1
        path.write_bytes(changed)
    store = CatalogStore(path, key)
    if damage == "a changed byte":  # found when it is read
        with pytest.raises(LookupError):
            store.versions(HERE)
    assert store.versions(HERE)[0].tolist() == []
    store.put(HERE, [entry(1)])
    assert len(store.find(HERE, [entry(1).handle])) == 1
    store.close()
