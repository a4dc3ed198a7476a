"""Collections that are renamed, found by aliases, and truncated, while others use them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from support.services import Services

from blindsight.client import AsyncVault, Collection, TruncateProgress, Vault
from blindsight.errors import AlreadyExists, InvalidArgument, NotFound, ResourceExhausted

DIMENSION = 8
VECTORS = np.random.default_rng(31).normal(size=(60, DIMENSION)).astype(np.float32)


@pytest.fixture(autouse=True)
def empty(vault: Vault) -> Iterator[None]:
    yield
    for collection in vault.collections():
        vault.delete_collection(collection.name)


def new(vault: Vault, name: str, rows: range = range(20)) -> Collection:
    made = vault.create_collection(name, embedder="none", dimension=DIMENSION)
    made.ingest_vectors(VECTORS[rows], [f"{name} {row}" for row in rows])
    return made


def best(collection: Collection, row: int = 0) -> str:
    return collection.search_vectors(VECTORS[row : row + 1], k=1).results[0][0].id


def names(vault: Vault) -> list[str]:
    return sorted(one.name for one in vault.collections())


@contextmanager
def meanwhile(work: Callable[[int], object]) -> Iterator[list[object]]:
    """Does something again and again while the block runs, once more after it; gives the results."""
    results: list[object] = []
    ended, began = threading.Event(), threading.Event()

    def run() -> None:
        last = False
        while not last:
            last = ended.is_set()
            results.append(work(len(results)))
            began.set()

    with ThreadPoolExecutor(1) as threads:
        running = threads.submit(run)
        try:
            assert began.wait(60) or running.result()
            yield results
        finally:
            ended.set()
        running.result()


# --- names ------------------------------------------------------------------------------------------------


def test_a_renamed_collection_is_the_same_under_its_new_name(vault: Vault) -> None:
    collection = new(vault, "photos")
    before = collection.describe()
    collection.rename("holiday")
    assert collection.name == "holiday"
    after = collection.describe()
    assert (after.name, after.items, after.created) == ("holiday", before.items, before.created)
    assert (best(collection, 3), names(vault)) == ("photos 3", ["holiday"])
    with pytest.raises(NotFound, match="no collection 'photos'; it has 'holiday'"):
        best(vault.collection("photos"))
    other = new(vault, "photos", range(20, 30))
    assert (best(other, 25), best(collection, 3)) == ("photos 25", "photos 3")
    vault.delete_collection("photos")
    assert names(vault) == ["holiday"]


def test_a_collection_that_was_never_written_to_is_renamed_too(vault: Vault) -> None:
    collection = vault.create_collection("empty", embedder="none", dimension=DIMENSION, metric="dot")
    collection.rename("emptier")
    collection.ingest_vectors(VECTORS[:5])
    assert collection.describe().max_norm > 0
    assert best(collection, 2) == str(np.argmax(VECTORS[:5] @ VECTORS[2]))


def test_both_spellings_of_a_new_name_are_one(vault: Vault) -> None:
    collection = new(vault, "one")
    collection.rename("cafe\u0301")
    assert names(vault) == ["caf\u00e9"]
    assert best(vault.collection("cafe\u0301")) == "one 0"
    collection.rename("caf\u00e9")  # it has it already


def test_no_two_collections_get_one_name(vault: Vault) -> None:
    one, other = new(vault, "one"), new(vault, "other")
    vault.set_alias("nickname", other)
    for taken in ("other", "nickname"):
        with pytest.raises(AlreadyExists, match=taken):
            one.rename(taken)
        with pytest.raises(AlreadyExists, match=taken):
            vault.create_collection(taken)
    for bad in ("", " x", "-x", "x" * 129, "a\nb"):
        with pytest.raises(InvalidArgument, match="collection name"):
            one.rename(bad)
    with pytest.raises(NotFound):
        vault.collection("nowhere").rename("somewhere")
    assert names(vault) == ["one", "other"]
    assert (best(one), best(other)) == ("one 0", "other 0")


def test_of_renames_at_once_to_one_name_one_wins(vault: Vault) -> None:
    made = [new(vault, f"candidate {number}", range(2)) for number in range(4)]

    def tried(collection: Collection) -> bool:
        try:
            collection.rename("the one")
        except AlreadyExists:
            return False
        return True

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(tried, made)) == 1
    assert len(names(vault)) == 4
    assert names(vault)[-1] == "the one"


def test_searches_and_an_ingest_go_on_while_their_collection_is_renamed(vault: Vault) -> None:
    collection = new(vault, "busy 0")
    vault.set_alias("steady", collection)
    steady = vault.collection("steady")
    rows, began = np.random.default_rng(5).normal(size=(4000, DIMENSION)), threading.Event()
    ids = [f"more {row}" for row in range(4000)]
    with (
        meanwhile(lambda _: best(steady, 7)) as found,
        ThreadPoolExecutor(1) as threads,
    ):
        ingesting = threads.submit(collection.ingest_vectors, rows, ids, progress=lambda _: began.set())
        assert began.wait(60)
        renamed = vault.collection("busy 0")
        for number in range(1, 9):
            renamed.rename(f"busy {number}")
        assert ingesting.result().stored == 4000
    assert set(found) == {"busy 0 7"}
    assert renamed.describe().items == 4020
    assert renamed.name == "busy 8"
    assert vault.status().alarms == ()


# --- aliases ----------------------------------------------------------------------------------------------


def test_everything_that_takes_a_name_takes_an_alias(vault: Vault) -> None:
    collection = new(vault, "photos v1")
    vault.set_alias("photos", collection)
    vault.set_alias("photos", collection)  # it has it already
    alias = vault.collection("photos")
    assert (alias.describe().name, alias.describe().aliases) == ("photos v1", ("photos",))
    assert best(alias, 4) == "photos v1 4"
    alias.ingest_vectors(VECTORS[20:25], [f"new {row}" for row in range(5)])
    alias.update(["new 0"], set={"year": 2020})
    assert [one.id for one in alias.items(where="year = 2020")] == ["new 0"]
    assert (alias.count(), alias.item("new 0").metadata) == (25, {"year": 2020})
    assert alias.verify("new 1", VECTORS[21]).verified
    alias.delete(["new 1"])
    alias.repack()
    assert alias.check().damaged == 0
    assert collection.count() == 24
    assert not vault.accept_rollback("photos").set_back
    (told,) = vault.collections()
    assert told.aliases == ("photos",)


def test_what_is_lost_for_ever_is_called_by_its_own_name(vault: Vault) -> None:
    collection = new(vault, "kept")
    vault.set_alias("nickname", collection)
    for lose in (vault.collection("nickname").truncate, lambda: vault.delete_collection("nickname")):
        with pytest.raises(
            InvalidArgument, match="'nickname' is an alias; want the name of its collection, 'kept'"
        ):
            lose()
    assert collection.count() == 20


def test_each_search_by_an_alias_that_moves_sees_one_collection_or_the_other(vault: Vault) -> None:
    versions = [new(vault, f"v{number}") for number in range(2)]
    vault.set_alias("current", versions[0])
    current = vault.collection("current")
    with meanwhile(lambda _: best(current, 5)) as found:
        for number in range(1, 9):
            vault.set_alias("current", versions[number % 2])
            assert best(current, 5) == f"v{number % 2} 5"
    assert set(found) <= {"v0 5", "v1 5"}
    assert vault.status().alarms == ()
    assert {one.name: one.aliases for one in vault.collections()} == {"v0": ("current",), "v1": ()}


def test_an_alias_goes_with_its_collection_and_comes_back_to_none(vault: Vault) -> None:
    first, second = new(vault, "first"), new(vault, "second")
    vault.set_alias("current", first)
    vault.set_alias("current", second)
    vault.delete_collection("second")
    with pytest.raises(NotFound):
        best(vault.collection("current"))
    vault.set_alias("current", first)
    assert vault.remove_alias("current") == "first"
    for gone in ("current", "first"):
        with pytest.raises(NotFound):
            vault.remove_alias(gone)
    vault.create_collection("current")  # the name is free
    assert names(vault) == ["current", "first"]


def test_an_alias_of_its_own_may_become_a_collections_name(vault: Vault) -> None:
    collection = new(vault, "photos v2")
    vault.set_alias("photos", collection)
    collection.rename("photos")
    assert (collection.describe().name, collection.describe().aliases) == ("photos", ())
    with pytest.raises(AlreadyExists, match="'photos' is the name of a collection"):
        vault.set_alias("photos", collection)


def test_too_many_aliases_are_refused_in_one_line(vault: Vault) -> None:
    collection = new(vault, "named", range(1))

    def give() -> None:
        for number in range(1000):
            vault.set_alias(f"a rather long alias, so that few of them fit: {number}", collection)

    with pytest.raises(ResourceExhausted, match="aliases, want at most 2048: remove some aliases") as caught:
        give()
    assert len(str(caught.value).splitlines()) == 1
    given = collection.describe().aliases
    assert len(given) > 20
    vault.remove_alias(given[0])
    vault.set_alias("short", collection)
    assert best(vault.collection("short")) == "named 0"


# --- truncation -------------------------------------------------------------------------------------------


def test_a_truncated_collection_is_empty_and_keeps_its_settings(vault: Vault) -> None:
    collection = new(vault, "full", range(60))
    vault.set_alias("vessel", collection)
    collection.update(["full 3"], set={"year": 2020})
    collection.delete(["full 1"])
    before = collection.describe()
    seen: list[TruncateProgress] = []
    assert collection.truncate(progress=seen.append) == 59
    assert seen == [TruncateProgress(0, 59), TruncateProgress(59, 59)]
    after = collection.describe()
    assert (after.items, after.size_bytes, after.deleted_items, after.tail_items) == (0, 0, 0, 0)
    assert (after.aliases, after.max_norm, after.stride) == (("vessel",), before.max_norm, before.stride)
    assert collection.search_vectors(VECTORS[:1], k=3).results == [[]]
    assert (collection.count(), collection.count("year = 2020"), list(collection.items())) == (0, 0, [])
    assert collection.check().damaged == 0
    assert collection.truncate() == 0
    collection.ingest_vectors(VECTORS[:10], [f"full {row}" for row in range(10)])
    assert [best(collection, row) for row in range(10)] == [f"full {row}" for row in range(10)]
    assert (collection.count(), collection.count("year = 2020")) == (10, 0)


def test_a_search_beside_a_truncation_sees_everything_or_nothing(vault: Vault) -> None:
    collection = new(vault, "changing", range(60))

    def seen(_: int) -> int:
        return len(collection.search_vectors(VECTORS[:1], k=100).results[0])

    with meanwhile(seen) as found:
        for _ in range(4):
            assert collection.truncate() == 60
            collection.ingest_vectors(VECTORS, [f"changing {row}" for row in range(60)])
    assert set(found) <= {0, 60}
    assert vault.status().alarms == ()


# --- for asyncio ------------------------------------------------------------------------------------------


async def test_all_of_it_is_there_for_asyncio(services: Services, vault: Vault) -> None:
    new(vault, "of asyncio")
    async with AsyncVault(services.address()) as awaited:
        collection = awaited.collection("of asyncio")
        await collection.rename("renamed")
        await awaited.set_alias("alias", collection)
        assert (await awaited.collection("alias").describe()).name == collection.name == "renamed"
        assert await awaited.remove_alias("alias") == "renamed"
        assert await collection.truncate() == 20
