"""Services that are killed while an owner appends and searches: every answer is right, and none is refused.

A refused answer would be a false alarm here, since everybody is honest.  BLINDSIGHT_TEST_ROUNDS sets how
often a service is killed.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pytest
from support.relay import Relay
from support.services import Services, wait_until

import blindsight
from blindsight.ciphertext.header import BATCH_TRAILER_BYTES, HEADER, Form, parse_header
from blindsight.client import Collection
from blindsight.errors import BlindsightError, DataLoss
from blindsight.rpc.storage.v1 import storage_pb2

ROUNDS = int(os.environ.get("BLINDSIGHT_TEST_ROUNDS", "9"))
DIMENSION = 16
VICTIMS = ("keyholder", "evaluator", "storage")
APPEND = "/blindsight.storage.v1.StorageService/Append"
SEED_BYTES = 32


def vectors(first: int, count: int) -> np.ndarray:
    """The vectors of these numbers, always the same."""
    made = [np.random.default_rng(number).normal(size=DIMENSION) for number in range(first, first + count)]
    return np.array(made, np.float32)


class Owner:
    """Somebody who appends and searches without a pause, whatever is killed.

    Attributes:
        stored: how many vectors were acknowledged.
        searches: how many were answered.
        wrong: what went wrong and should not have.
    """

    def __init__(self, address: str, name: str) -> None:
        self.stored = self.searches = 0
        self.wrong: list[str] = []
        self._address, self._name = address, name
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=work) for work in (self._append, self._search, self._search)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _append(self) -> None:
        with blindsight.connect(self._address) as vault:
            while not self._ended.is_set():
                first, count = self.stored, 1 + self.stored % 40
                ids = [str(number) for number in range(first, first + count)]
                try:
                    vault.collection(self._name).ingest_vectors(vectors(first, count), ids=ids)
                except BlindsightError as error:
                    # A call whose answer was lost may have stored them.
                    if "already" not in str(error):
                        self._note(error)
                        continue
                self.stored = first + count

    def _search(self) -> None:
        with blindsight.connect(self._address) as vault:
            turn = np.random.default_rng(threading.get_ident())
            while not self._ended.is_set():
                if not (stored := self.stored):
                    continue
                number = int(turn.integers(stored))
                try:
                    self._check(vault.collection(self._name), number)
                except BlindsightError as error:
                    self._note(error)

    def _check(self, collection: Collection, number: int) -> None:
        (hits,) = collection.search_vectors(vectors(number, 1), k=1).results
        self.searches += 1
        if [hit.id for hit in hits] != [str(number)]:
            self.wrong.append(f"{number} was not found")

    def _note(self, error: BlindsightError) -> None:
        if isinstance(error, DataLoss):
            self.wrong.append(str(error))
        time.sleep(0.05)


@pytest.fixture
def relays() -> Iterator[list[Relay]]:
    made: list[Relay] = []
    yield made
    for relay in made:
        relay.close()


@pytest.fixture
def services(tmp_path: Path, relays: list[Relay]) -> Iterator[Services]:
    def way(client: str, server: str, address: str) -> str:
        if (client, server) != ("keyholder", "storage"):
            return address
        relays.append(Relay(address))
        return relays[-1].address

    running = Services(tmp_path, way=way)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.mark.timeout(200 + 15 * ROUNDS)
def test_answers_stay_right_while_services_are_killed(services: Services, relays: list[Relay]) -> None:
    with blindsight.connect(services.address()) as vault:
        vault.create_collection("fire", embedder="none", dimension=DIMENSION, expected_size=4000)
    moments = np.random.default_rng(9)
    with Owner(services.address(), "fire") as owner:
        for number in range(ROUNDS):
            before = owner.searches
            wait_until(lambda before=before: owner.searches > before, 60, "a search between two kills")
            time.sleep(float(moments.uniform(0, 0.5)))
            victim = services[VICTIMS[number % len(VICTIMS)]]
            victim.kill()
            victim.start()
        time.sleep(0.5)
    assert owner.wrong == []
    assert owner.searches > ROUNDS
    with blindsight.connect(services.address()) as vault:
        collection = vault.collection("fire")
        for number in range(0, owner.stored, max(1, owner.stored // 50)):
            (hits,) = collection.search_vectors(vectors(number, 1), k=1).results
            assert hits[0].id == str(number)
        assert vault.status().services[0].alarm == ""
        collection.repack()
        (hits,) = collection.search_vectors(vectors(0, 1), k=1).results
        assert hits[0].id == "0"
    different_blocks_have_different_seeds(relays)


def different_blocks_have_different_seeds(relays: list[Relay]) -> None:
    """Whatever was sent to storage, taken or not: a seed belongs to one block alone."""
    blocks: dict[bytes, bytes] = {}
    sent = 0
    for relay in relays:
        for call in relay.calls:
            if call.method == APPEND:
                for block in blocks_of(call.asked):
                    seed = block[-BATCH_TRAILER_BYTES:][:SEED_BYTES]
                    assert blocks.setdefault(seed, block) == block
                    sent += 1
    assert sent > ROUNDS


def blocks_of(messages: list[bytes]) -> Iterator[bytes]:
    """The whole blocks among the messages of an append."""
    parsed = [storage_pb2.AppendRequest.FromString(message) for message in messages]
    if not parsed or parsed[0].WhichOneof("part") != "header":
        return
    data = b"".join(one.chunk for one in parsed if one.WhichOneof("part") == "chunk")
    for batch in parsed[0].header.batches:
        block, data = data[: batch.block_size_bytes], data[batch.block_size_bytes :]
        if len(block) == batch.block_size_bytes:
            assert parse_header(block[: HEADER.size]).form is Form.BATCH
            yield block
