"""The SDK for asyncio: what it does at the real services is what the synchronous one does."""

from __future__ import annotations

import asyncio
import inspect
import json
import threading
from typing import Any

import numpy as np
import pytest
from support.photos import small_photo
from support.services import Services, wait_until

import blindsight
from blindsight.client import (
    AsyncCollection,
    AsyncImport,
    AsyncVault,
    Collection,
    Import,
    IngestProgress,
    Photo,
    Vault,
)
from blindsight.errors import InvalidArgument, NotFound, Unavailable

PAIRS = [(Vault, AsyncVault), (Collection, AsyncCollection), (Import, AsyncImport)]
FILES = [Photo(small_photo(number), id=f"p{number}", metadata={"n": number}) for number in range(20)]
VECTORS = np.random.default_rng(8).normal(size=(500, 16)).astype(np.float32)


def public(kind: type) -> dict[str, Any]:
    return {name: one for name, one in inspect.getmembers(kind, callable) if not name.startswith("_")}


@pytest.mark.parametrize(("synchronous", "asynchronous"), PAIRS)
def test_both_have_the_same_methods_with_the_same_parameters(synchronous: type, asynchronous: type) -> None:
    ours, theirs = public(synchronous), public(asynchronous)
    assert ours.keys() == theirs.keys()
    for name, method in ours.items():
        other = theirs[name]
        assert inspect.signature(other).parameters.keys() == inspect.signature(method).parameters.keys(), name
        assert other.__doc__, name


async def test_photos_go_in_are_listed_found_changed_and_deleted(services: Services) -> None:
    async with AsyncVault(services.address()) as vault:
        album = await vault.create_collection("async album", embedder="pixels", dimension=64)
        seen: list[tuple[IngestProgress, int]] = []
        report = await album.ingest(FILES, progress=lambda now: seen.append((now, threading.get_ident())))
        assert report.stored == len(FILES)
        assert [now.done for now, _ in seen] == sorted(now.done for now, _ in seen)
        assert seen[-1][0].done == len(FILES)  # before the call returned
        assert {where for _, where in seen} == {threading.get_ident()}
        answer = await album.search(small_photo(3), k=1, where="n > 1")
        assert (answer.results[0][0].id, answer.metric, answer.higher_is_better) == ("p3", "cosine", True)
        assert [item.id async for item in album.items("n < 3", order="id", page_size=2)] == ["p0", "p1", "p2"]
        assert (await album.get("p4")).data == small_photo(4)
        assert (await album.update("p4", set={"n": 40})).updated == 1
        assert await album.count("n = 40") == 1
        assert (await album.delete(["p4", "nobody"])).unknown_ids == ("nobody",)
        assert not await album.exists("p4")
        assert "async album" in [one.name for one in await vault.collections()]
        await vault.delete_collection("async album")
        with pytest.raises(NotFound, match="async album"):
            await album.describe()


async def test_calls_run_at_once(services: Services) -> None:
    async with AsyncVault(services.address()) as vault:
        table = await vault.create_collection("async table", embedder="none", dimension=16)
        await table.ingest_vectors(VECTORS)
        answers = await asyncio.gather(*(table.search_vectors(row, k=1) for row in VECTORS[:40]))
        assert [answer.results[0][0].id for answer in answers] == [str(number) for number in range(40)]


async def test_a_cancelled_ingest_ends_at_the_keyholder_and_the_vault_goes_on(services: Services) -> None:
    coming, going = threading.Event(), threading.Event()

    def endless() -> Any:
        for number in range(1000):
            yield Photo(small_photo(number % 50), id=f"c{number}")
            coming.set()
            going.wait(0.01)

    async with AsyncVault(services.address(), calls_at_once=2) as vault:
        album = await vault.create_collection("cut short", embedder="pixels", dimension=64)
        ingesting = asyncio.create_task(album.ingest(endless()))
        await asyncio.to_thread(coming.wait, 30)
        ingesting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await ingesting
        count = await album.count()
        await asyncio.sleep(0.5)
        assert await album.count() - count < 200  # of 1,000: it does not go on
        assert (await vault.status()).services


def calls_logged(services: Services) -> list[tuple[str, str]]:
    lines = map(json.loads, services["keyholder"].log.read_text().splitlines())
    return [(line["method"].rpartition("/")[2], line["code"]) for line in lines if line["event"] == "rpc"]


@pytest.mark.parametrize(
    ("rpc", "call"),
    [
        ("CreateCollection", lambda vault, album: vault.create_collection("never", embedder="pixels")),
        ("ListCollections", lambda vault, album: vault.collections()),
        ("GetVector", lambda vault, album: album.vector("p1")),
        ("Verify", lambda vault, album: album.verify("p1", small_photo(1))),
        ("UpdateItems", lambda vault, album: album.update("p1", set={"n": 100})),
        ("Search", lambda vault, album: album.search_like("p1")),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
async def test_a_cancelled_call_of_any_kind_is_cancelled_at_the_keyholder(
    own_services: Services, rpc: str, call: Any
) -> None:
    async with AsyncVault(own_services.address(), retry_seconds=60) as vault:
        name = f"cancelled {rpc}"
        album = await vault.create_collection(name, embedder="pixels", dimension=64)
        await album.ingest(FILES[:3])
        ended = calls_logged(own_services).count((rpc, "CANCELLED"))
        storage = own_services["storage"].process()
        storage.suspend()  # so that it cannot be over before it is cancelled
        try:
            calling = asyncio.create_task(call(vault, album))
            await asyncio.sleep(0.5)
            assert not calling.done()
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling
            await asyncio.to_thread(
                wait_until,
                lambda: calls_logged(own_services).count((rpc, "CANCELLED")) == ended + 1,
                what="its end at the keyholder",
            )
        finally:
            storage.resume()
        assert await album.count() == 3
        for one in await vault.collections():
            await vault.delete_collection(one.name)


async def test_an_iteration_that_is_not_read_to_its_end_leaves_nothing_behind(services: Services) -> None:
    async with AsyncVault(services.address()) as vault:
        album = await vault.create_collection("begun", embedder="pixels", dimension=64)
        await album.ingest(FILES)
        async for item in album.items(order="id", page_size=3):
            assert item.id == "p0"
            break
        assert await album.count() == len(FILES)


async def test_errors_are_those_of_the_synchronous_one(services: Services) -> None:
    vault = AsyncVault(services.address())  # connects at its first call
    with pytest.raises(NotFound, match="no collection 'nobody'"):
        await vault.collection("nobody").count()
    with pytest.raises(InvalidArgument, match="of type int, want text"):
        vault.collection(3)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="0 calls at once"):
        AsyncVault(calls_at_once=0)
    await vault.close()
    with pytest.raises(Unavailable, match="no keyholder answers"):
        await AsyncVault("127.0.0.1:9").status()


def test_who_comes_before_the_keyholder_waits_for_it(own_services: Services) -> None:
    own_services["keyholder"].stop()
    with pytest.raises(Unavailable, match="no keyholder answers"):
        blindsight.connect(own_services.address())
    told: list[str] = []
    starting = threading.Timer(1.0, own_services["keyholder"].start)
    starting.start()
    with blindsight.connect(
        own_services.address(), wait_seconds=60, away=lambda error: told.append(error.message)
    ) as vault:
        assert vault.collections() == []
    starting.join()
    assert told
    assert "no keyholder answers" in told[0]
