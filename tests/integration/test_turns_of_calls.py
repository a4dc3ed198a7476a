"""What a caller asks the keyholder to compute of queries waits for its turn, photos to be embedded too."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.photos import small_photo
from support.services import Services

import blindsight
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.similarity.linear import Metric
from blindsight.wire.search import SearchHeader
from services.keyholder.lease import Lease
from services.keyholder.machine import Machine
from services.keyholder.operations.turns import Part
from services.keyholder.operations.verify import VerifySettings
from services.keyholder.service import Keyholder
from services.keyholder.wire.searching import only

SETTINGS = VerifySettings("ckks", "", Metric.COSINE, "", None)
VECTORS = [np.eye(64)[0], np.ones(64)]
PHOTOS = [small_photo(1), small_photo(2)]
PLACES = 2

Ask = Callable[[Keyholder, str], Awaitable[object]]


async def searched(keyholder: Keyholder) -> object:
    search = await keyholder.search(SearchHeader("turns", k=1))
    return [hits async for hits in search.photos(only(PHOTOS[0]))]


# What is asked, and how many turns it takes.
ASKED: dict[str, tuple[int, Ask]] = {
    "a pair of vectors": (1, lambda keyholder, _: keyholder.verify_pair(SETTINGS, VECTORS)),
    "a pair of photos": (2, lambda keyholder, _: keyholder.verify_pair(SETTINGS, PHOTOS)),
    "a vector and an item": (1, lambda keyholder, item: keyholder.verify_item("turns", item, VECTORS[:1], 0)),
    "a photo and an item": (2, lambda keyholder, item: keyholder.verify_item("turns", item, PHOTOS[:1], 0)),
    "a search by a photo": (2, lambda keyholder, _: searched(keyholder)),
}


@pytest.fixture(scope="module")
def running(
    services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[asyncio.Runner, Keyholder, str]]:
    """A keyholder in this process, beside that with the same keys, and an item."""
    with blindsight.connect(services.address()) as vault:
        album = vault.create_collection("turns", embedder="pixels", dimension=64)
        (item,) = album.ingest([("1.png", PHOTOS[0])]).items

    async def start() -> Keyholder:
        storage, evaluator = (services.address(name) for name in ("storage", "evaluator"))
        machine = Machine(StorageClient(storage), EvaluatorClient(evaluator), 1, 1800, 1 << 40)
        lease = Lease(os.urandom(16), os.urandom(16))
        made = Keyholder(shared_key_set(), machine, tmp_path_factory.mktemp("other"), lease)
        await made.start()
        return made

    with asyncio.Runner() as runner:
        keyholder = runner.run(start())
        yield runner, keyholder, item.id
        runner.run(keyholder.close())
        runner.run(keyholder._machine.close())


@pytest.mark.parametrize("what", ASKED)
def test_a_call_does_nothing_before_it_has_its_turns(
    running: tuple[asyncio.Runner, Keyholder, str], what: str
) -> None:
    runner, keyholder, item = running
    wanted, ask = ASKED[what]
    assert runner.run(turns_of(keyholder, lambda: ask(keyholder, item))) == wanted


async def turns_of(keyholder: Keyholder, ask: Callable[[], Any]) -> int:
    """Asks while all turns are taken, and gives them back once the call waits; returns how many it took."""
    turns, taken = keyholder._scorer.turns, 0
    wait = turns.wait
    async with AsyncExitStack() as held:
        for _ in range(PLACES):
            await held.enter_async_context(turns.turn(Part(), 1))

        async def counted(part: Part, cost: float) -> None:
            nonlocal taken
            taken += 1
            await wait(part, cost)

        turns.wait = counted  # type: ignore[method-assign]
        asked = asyncio.ensure_future(ask())
        while not taken and not asked.done():
            await asyncio.sleep(0.01)
        for _ in range(10):
            await asyncio.sleep(0)
        assert not asked.done()
    try:
        await asked
    finally:
        turns.wait = wait  # type: ignore[method-assign]
    return taken
