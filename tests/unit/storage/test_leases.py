"""Leases and fencing tokens: who may write, what is refused, and what a restart of storage keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.storage import TAIL_0, Batches, collection, handles, items, link_to, sealed, settings_to

from blindsight.errors import Fenced, ResourceExhausted
from blindsight.wire.storage import Appended, Deletion, Lease
from services.storage.executors import Threads
from services.storage.leases import Leases
from services.storage.records import Append
from services.storage.stores import STORES, Store
from services.storage.validation import MAX_TOKEN

COLLECTION = collection()
KEYS, OTHER_KEYS = COLLECTION.key_id, b"others' sixteen."
FIRST, SECOND = b"first holder's..", b"second holder's."
LONG, SHORT = 600.0, 0.05


def of_token(append: Append, token: int) -> Append:
    return replace(append, header=replace(append.header, fencing_token=token))


@pytest.fixture
def batches(store: Store) -> Batches:
    """A collection with two items, written under the second token."""
    for holder in (FIRST, SECOND):
        store.take_lease(KEYS, holder)
    made = Batches(store.create_collection(COLLECTION, 2))
    store.append(of_token(made.make(TAIL_0, items(2)), 2))
    return made


def deletion(token: int) -> Deletion:
    return Deletion(COLLECTION.collection_id, tuple(handles(items(1))), link_to(2), token)


WRITES: dict[str, Callable[[Store, Batches, int], object]] = {
    "create": lambda store, _, token: store.create_collection(collection(1), token),
    "append": lambda store, batches, token: store.append(
        of_token(batches.make(TAIL_0, items(1, start=5)), token)
    ),
    "retire": lambda store, batches, token: store.append(
        of_token(batches.make(TAIL_0, items(2), retires=[TAIL_0]), token)
    ),
    "delete items": lambda store, _, token: store.delete_items(deletion(token)),
    "delete": lambda store, _, token: store.delete_collection(COLLECTION.collection_id, token),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("token", [0, 1])
def test_no_write_of_an_older_token_is_taken_and_it_changes_nothing(
    store: Store, batches: Batches, write: Callable[[Store, Batches, int], object], token: int
) -> None:
    before = store.list_collections(0, 10)
    with pytest.raises(Fenced, match=f"fencing token {token}, want 2"):
        write(store, batches, token)
    assert store.list_collections(0, 10) == before


def test_settings_are_not_replaced_under_an_older_token(store: Store) -> None:
    store.create_collection(COLLECTION)
    store.take_lease(KEYS, FIRST)
    with pytest.raises(Fenced):
        store.replace_config(settings_to(COLLECTION, sealed(100, "new"), 1))
    assert store.get_collection(COLLECTION.collection_id).sealed_config == COLLECTION.sealed_config
    assert store.replace_config(settings_to(COLLECTION, sealed(100, "new"), 1, fencing_token=1)) == 1


def test_an_append_of_an_older_token_is_refused_before_its_bytes_come(store: Store, batches: Batches) -> None:
    late = batches.make(TAIL_0, items(1, start=5))
    with pytest.raises(Fenced):
        store.admit(of_token(late, 1).header)
    store.admit(of_token(late, 2).header)
    # Also if the collection has moved on, of which a writer that is fenced need not know.
    store.append(of_token(late, 2))
    with pytest.raises(Fenced):
        store.admit(of_token(batches.make(TAIL_0, items(1, start=6)), 1).header)


def test_an_append_that_was_stored_is_answered_again_whatever_came_since(store: Store) -> None:
    made = Batches(store.create_collection(COLLECTION))
    append = made.make(TAIL_0, items(1))
    answer = store.append(append)
    store.take_lease(KEYS, FIRST)
    assert store.admit(append.header) == store.append(append) == answer == Appended(1, 0)


def test_tokens_of_one_key_set_fence_no_other(store: Store) -> None:
    store.take_lease(KEYS, FIRST)
    other = collection(2, key_id=OTHER_KEYS)
    store.create_collection(other)
    assert store.take_lease(OTHER_KEYS, FIRST) == 1


def test_a_token_that_storage_has_forgotten_is_noted_by_the_first_write_of_it(store: Store) -> None:
    """As after a backup of storage was restored under a keyholder that lives."""
    store.create_collection(COLLECTION, 7)
    with pytest.raises(Fenced, match="want 7"):
        store.create_collection(collection(1), 6)
    assert store.take_lease(KEYS, FIRST) == 8


def test_a_token_that_storage_has_forgotten_is_noted_by_its_renewal(store: Store) -> None:
    store.take_lease(KEYS, SECOND)
    store.renew_lease(KEYS, FIRST, 7)
    assert store.lease(KEYS) == (7, FIRST)
    with pytest.raises(Fenced, match="want 7"):
        store.renew_lease(KEYS, SECOND, 1)


def test_there_is_an_end_of_tokens(store: Store) -> None:
    store.renew_lease(KEYS, FIRST, MAX_TOKEN)
    with pytest.raises(ResourceExhausted):
        store.take_lease(KEYS, FIRST)


def test_a_start_keeps_tokens_and_holders(tmp_path: Path) -> None:
    for kind, open_store in STORES.items():
        folder = tmp_path / kind
        folder.mkdir()
        store = open_store(folder, 0, 0)
        store.take_lease(KEYS, FIRST)
        store.create_collection(COLLECTION, 1)
        store.take_lease(KEYS, SECOND)
        store.close()
        again = open_store(folder, 0, 0)
        assert again.lease(KEYS) == (2, SECOND)
        with pytest.raises(Fenced):
            again.delete_collection(COLLECTION.collection_id, 1)
        assert again.take_lease(KEYS, FIRST) == 3
        again.close()


# --- how long a lease lasts -------------------------------------------------------------------------


def granted(store: Store, seconds: float, *holders: bytes, pause: float = 0.0) -> list[int]:
    """Tokens that holders get one after the other, of a storage that has just started."""

    async def take() -> list[int]:
        threads = Threads(1, 60)
        leases = Leases(store, threads, seconds)
        tokens = []
        for holder in holders:
            tokens.append((await leases.take(KEYS, holder)).fencing_token)
            await asyncio.sleep(pause)
        threads.close()
        return tokens

    return asyncio.run(take())


def test_another_holder_gets_nothing_while_a_lease_lasts_and_the_same_one_the_next_token(
    store: Store,
) -> None:
    assert granted(store, LONG, FIRST, SECOND, FIRST, SECOND) == [1, 0, 2, 0]


def test_another_holder_gets_a_lease_that_has_ended(store: Store) -> None:
    assert granted(store, SHORT, FIRST, SECOND, FIRST, pause=2 * SHORT) == [1, 2, 3]


def test_a_lease_lasts_its_full_time_after_a_start_of_storage(store: Store) -> None:
    assert granted(store, LONG, FIRST) == [1]
    assert granted(store, LONG, SECOND, FIRST) == [0, 2]


def test_another_holder_is_told_how_long_to_wait_and_a_renewal_makes_it_longer(store: Store) -> None:
    async def run() -> tuple[Lease, Lease, Lease]:
        threads = Threads(1, 60)
        leases = Leases(store, threads, LONG)
        own = await leases.take(KEYS, FIRST)
        await asyncio.sleep(SHORT)
        told = await leases.take(KEYS, SECOND)
        await leases.renew(KEYS, FIRST, own.fencing_token)
        after = await leases.take(KEYS, SECOND)
        threads.close()
        return own, told, after

    own, told, after = asyncio.run(run())
    assert own == Lease(1, int(LONG * 1000))
    assert told.fencing_token == after.fencing_token == 0
    assert told.lease_milliseconds <= (LONG - SHORT) * 1000
    assert told.lease_milliseconds < after.lease_milliseconds <= LONG * 1000


def test_a_lease_that_is_given_back_is_anybodys_and_its_token_stays_the_newest(store: Store) -> None:
    async def run() -> int:
        threads = Threads(1, 60)
        leases = Leases(store, threads, LONG)
        await leases.take(KEYS, FIRST)
        await leases.release(KEYS, 1)
        await threads.write(store.create_collection, COLLECTION, 1)
        token = (await leases.take(KEYS, SECOND)).fencing_token
        await leases.release(KEYS, 1)  # of one that was fenced
        assert store.lease(KEYS) == (2, SECOND)
        threads.close()
        return token

    assert asyncio.run(run()) == 2
