"""Peers that go silent without closing their connections are given up, and nothing is lost or held by it.

Without keepalive these calls would wait for ever; every wait here is bounded far above what keepalive takes.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.services import Services, wait_until
from support.tap import Tap

import blindsight
from blindsight.client import Collection, Vault
from blindsight.errors import InvalidArgument, Unavailable

DIMENSION = 64
KEEPALIVE_SECONDS = 1.5
PATIENCE_SECONDS = 40  # of a test: less than what stalled streams are given by their services
RNG = np.random.default_rng(5)
# Batches of half a megabyte and more: a silence after some of their bytes begins in the middle.
ROWS = RNG.normal(size=(6000, DIMENSION)).astype(np.float32)
MIDDLE_BYTES = 200_000


@pytest.fixture(scope="module")
def taps() -> Iterator[dict[tuple[str, str], Tap]]:
    made: dict[tuple[str, str], Tap] = {}
    yield made
    for tap in made.values():
        tap.close()


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, taps: dict[tuple[str, str], Tap]
) -> Iterator[Services]:
    """Real services that give a silent peer up soon; whatever one says to another passes a tap."""

    def way(client: str, server: str, address: str) -> str:
        return taps.setdefault((client, server), Tap(address)).address

    settings = {
        name: {"keepalive_seconds": str(KEEPALIVE_SECONDS)} for name in ("keyholder", "evaluator", "storage")
    }
    running = Services(tmp_path_factory.mktemp("silence"), settings=settings, way=way)
    try:
        yield running.start()
    finally:
        running.stop()


def new(vault: Vault, request: pytest.FixtureRequest) -> Collection:
    name = request.node.name[:100].strip()
    return vault.create_collection(name, embedder="none", dimension=DIMENSION, expected_size=6000)


def check(collection: Collection, ids: dict[str, np.ndarray]) -> None:
    """These items are in the collection, each once, and nothing else is."""
    assert collection.describe().items == len(ids)
    (hits,) = collection.search_vectors(ROWS[:1], k=len(ROWS)).results
    assert sorted(hit.id for hit in hits) == sorted(ids)
    for item_id in list(ids)[::1000]:
        assert collection.search_vectors(ids[item_id], k=1).results[0][0].id == item_id


@pytest.mark.parametrize("deaf", [False, True], ids=["that nothing comes back from", "that is cut both ways"])
def test_an_append_over_a_connection_that_is_silent_for_good_fails_and_frees_the_collection(
    vault: Vault, taps: dict[tuple[str, str], Tap], request: pytest.FixtureRequest, deaf: bool
) -> None:
    collection, tap = new(vault, request), taps["keyholder", "storage"]
    collection.ingest_vectors(ROWS[:100], [f"before {row}" for row in range(100)])
    late = [f"late {row}" for row in range(3000)]
    with ThreadPoolExecutor(1) as executor, tap.silence_after(MIDDLE_BYTES, deaf=deaf):
        ingest = executor.submit(collection.ingest_vectors, ROWS[100:3100], late)
        with pytest.raises(Unavailable, match="storage does not answer"):
            ingest.result(PATIENCE_SECONDS)
    # The lock is free, and what is there is whole batches, the first ones.
    assert collection.delete("before 0").deleted == 1
    collection.ingest_vectors(ROWS[:1], ["before 0"])
    stored = collection.describe().items - 100
    assert 0 <= stored < len(late)
    collection.ingest_vectors(ROWS[100 + stored : 3100], late[stored:])
    before = {f"before {row}": ROWS[row] for row in range(100)}
    check(collection, before | dict(zip(late, ROWS[100:3100], strict=True)))


@pytest.mark.parametrize("deaf", [False, True], ids=["that nothing comes back from", "that is cut both ways"])
def test_an_append_over_a_connection_that_is_lost_is_made_once_over_the_next(
    vault: Vault, taps: dict[tuple[str, str], Tap], request: pytest.FixtureRequest, deaf: bool
) -> None:
    collection, tap = new(vault, request), taps["keyholder", "storage"]
    collection.ingest_vectors(ROWS[:100])
    with ThreadPoolExecutor(1) as executor:
        with tap.silence_after(MIDDLE_BYTES, deaf=deaf):
            ingest = executor.submit(collection.ingest_vectors, ROWS[100:3100])
            wait_until(lambda: tap.silent, what="the silence")
            connections = len(tap.recorded)
            # The keyholder gives the connection up and makes another.
            wait_until(lambda: len(tap.recorded) > connections, what="a new connection")
        assert ingest.result(PATIENCE_SECONDS).stored == 3000
    check(collection, {str(row): ROWS[row] for row in range(3100)})


def test_an_evaluator_whose_storage_goes_silent_says_so_and_finds_it_again(
    vault: Vault, taps: dict[tuple[str, str], Tap], request: pytest.FixtureRequest
) -> None:
    collection, tap = new(vault, request), taps["evaluator", "storage"]
    with ThreadPoolExecutor(1) as executor, tap.silence_after(0, deaf=True):
        collection.ingest_vectors(ROWS[:3000])
        wait_until(lambda: tap.silent, what="an evaluator that asks for the batches")
        search = executor.submit(collection.search_vectors, ROWS[:1], k=1)
        with pytest.raises(Unavailable, match="storage does not answer"):
            search.result(PATIENCE_SECONDS)
    check(collection, {str(row): ROWS[row] for row in range(3000)})


def test_a_client_whose_keyholder_goes_silent_is_told_and_leaves_the_collection_free(
    services: Services, vault: Vault, request: pytest.FixtureRequest
) -> None:
    collection = new(vault, request)
    with (
        Tap(services.address()) as tap,
        ThreadPoolExecutor(1) as executor,
        blindsight.connect(tap.address, keepalive_seconds=KEEPALIVE_SECONDS) as far,
    ):
        with tap.silence_after(MIDDLE_BYTES, deaf=True):
            ingest = executor.submit(far.collection(collection.name).ingest_vectors, ROWS)
            with pytest.raises(Unavailable, match="the keyholder does not answer"):
                ingest.result(PATIENCE_SECONDS)
        held = collection.describe().items
        assert collection.ingest_vectors(-ROWS[:1], ["near"]).stored == 1
        assert far.collection(collection.name).describe().items == held + 1


def test_a_keyholder_that_is_slow_to_take_a_connection_is_waited_for(services: Services) -> None:
    keyholder = services["keyholder"].process()
    with ThreadPoolExecutor(1) as executor:
        keyholder.suspend()  # its kernel still accepts connections, as on a machine with very much to do
        try:
            opened = executor.submit(blindsight.connect, services.address())
            time.sleep(1)
        finally:
            keyholder.resume()
        opened.result(PATIENCE_SECONDS).close()


def test_a_peer_that_computes_for_longer_than_a_silence_may_last_is_waited_for(
    services: Services, vault: Vault, request: pytest.FixtureRequest
) -> None:
    collection = new(vault, request)
    collection.ingest_vectors(ROWS[:500])
    collection.search_vectors(ROWS[:1], k=1)
    workers = services["evaluator"].workers()
    with (
        blindsight.connect(services.address(), keepalive_seconds=KEEPALIVE_SECONDS) as impatient,
        ThreadPoolExecutor(1) as executor,
    ):
        for worker in workers:
            worker.suspend()  # as if the kernel had very much to do
        try:
            search = executor.submit(impatient.collection(collection.name).search_vectors, ROWS[7], k=1)
            time.sleep(4 * KEEPALIVE_SECONDS)
            assert not search.done()
        finally:
            for worker in workers:
                worker.resume()
        assert search.result(PATIENCE_SECONDS).results[0][0].id == "7"


@pytest.mark.parametrize("seconds", [0.0, 0.9, 1e6, float("nan")])
def test_a_keepalive_that_no_server_would_bear_is_refused(seconds: float) -> None:
    with pytest.raises(InvalidArgument, match=r"want (1 to 86400|a finite number)"):
        blindsight.connect("127.0.0.1:1", keepalive_seconds=seconds)
