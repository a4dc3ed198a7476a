"""When the evaluator is told to fetch what was appended."""

from __future__ import annotations

import asyncio

import pytest

from blindsight.errors import Unavailable
from services.keyholder.galleries.follower import FOLLOW_BYTES, Follower

ONE, OTHER = b"1" * 16, b"2" * 16


class Evaluator:
    """Holds each fetch until `go` is set, and fails those of collections in `broken`."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.broken: set[bytes] = set()
        self.go = asyncio.Event()

    async def prepare(self, collection_id: bytes) -> None:
        self.asked.append(collection_id)
        await self.go.wait()
        if collection_id in self.broken:
            raise Unavailable("gone")


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
async def evaluator():
    return Evaluator()


@pytest.fixture
async def follower(evaluator):
    made = Follower(evaluator)
    yield made
    await made.close()


async def test_little_is_fetched_when_the_ingest_ends_and_much_before(follower, evaluator):
    follower.written(ONE, FOLLOW_BYTES - 1)
    await settle()
    assert evaluator.asked == []
    follower.written(OTHER, 1)
    follower.written(ONE, 1)
    await settle()
    assert evaluator.asked == [ONE]
    follower.fetch(OTHER)
    await settle()
    assert evaluator.asked == [ONE, OTHER]


@pytest.mark.parametrize("times", [1, 5])
async def test_what_is_asked_for_during_a_fetch_is_fetched_once_after_it(follower, evaluator, times):
    follower.fetch(ONE)
    await settle()
    for _ in range(times):
        follower.fetch(ONE)
        follower.written(ONE, FOLLOW_BYTES)
    await settle()
    assert evaluator.asked == [ONE]
    evaluator.go.set()
    await settle()
    assert evaluator.asked == [ONE, ONE]


async def test_little_that_comes_during_a_fetch_waits_for_the_end_of_the_ingest(follower, evaluator):
    follower.fetch(ONE)
    await settle()
    follower.written(ONE, FOLLOW_BYTES - 1)
    evaluator.go.set()
    await settle()
    assert evaluator.asked == [ONE]
    follower.written(ONE, 1)
    await settle()
    assert evaluator.asked == [ONE, ONE]


async def test_a_failure_ends_that_fetch_alone(follower, evaluator):
    evaluator.broken.add(ONE)
    evaluator.go.set()
    for collection_id in (ONE, OTHER, ONE):
        follower.fetch(collection_id)
        await settle()
    assert evaluator.asked == [ONE, OTHER, ONE]


async def test_closing_ends_fetches_that_wait(evaluator):
    made = Follower(evaluator)
    made.fetch(ONE)
    await settle()
    await asyncio.wait_for(made.close(), 1)
    assert evaluator.asked == [ONE]
