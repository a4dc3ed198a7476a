"""Searches with the query in the clear against lying logs: refused, and no memory is kept."""

import hashlib
from contextlib import asynccontextmanager
from dataclasses import replace

import numpy as np
import pytest
from support.packed import PackedPair

from blindsight.errors import DataLoss, InvalidArgument, ResourceExhausted
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import PAILLIER_3072
from blindsight.runtime.processpool import WorkerPool
from blindsight.wire.scores import ScorePlan, ScoreResult, ScoreSummary
from blindsight.wire.storage import BatchHeader, LogHeader
from services.evaluator import tasks
from services.evaluator.geometry import AdditiveRecord
from services.evaluator.operations import plain_query_search
from services.evaluator.operations.plain_query_search import PlainQuerySearches

RECORD = AdditiveRecord(
    b"collection of 16", PAILLIER_3072, b"sixteen bytes id", collection_layout((3,), 64, 1, 1)
)
LAYOUT = RECORD.layout.main
FIRST, SECOND = SegmentId(Region.MAIN, 0), SegmentId(Region.MAIN, 1)
ROWS = np.random.default_rng(2).normal(size=(4, 3)) / 4


class Storage:
    """Answers with whatever events it was given."""

    def __init__(self, events):
        self.events = events

    @asynccontextmanager
    async def read_batches(self, collection_id, after_sequence):
        async def stream():
            for event in self.events:
                yield event

        assert (collection_id, after_sequence) == (RECORD.collection_id, 0)
        yield stream()


@pytest.fixture(scope="module")
def pair():
    return PackedPair(PAILLIER_3072, RECORD.key_id)


@pytest.fixture(scope="module")
def pool():
    made = WorkerPool(2, tasks.COMPUTE)
    yield made
    made.close()


def batch(block, key=FIRST, first_slot=0, count=1, **changes):
    given = {"block_size_bytes": len(block), "block_sha256": hashlib.sha256(block).digest(), **changes}
    half = len(block) // 2
    return [BatchHeader(1, key, first_slot, count, **given), block[:half], block[half:]]


def log(*batches, count=None):
    numbered = [
        [replace(header, sequence=number), *data] for number, (header, *data) in enumerate(batches, 1)
    ]
    flat = [event for one in numbered for event in one]
    size = sum(header.block_size_bytes for header, *_ in batches)
    return [LogHeader(7, 3, len(batches) if count is None else count, size), *flat]


@pytest.fixture
def search(pair, pool):
    """Runs searches one after the other; none of them may keep memory."""

    async def run(events, minimum_sequence=7):
        searches = PlainQuerySearches(Storage(events), pool)
        query = pair.query(LAYOUT, ROWS[:2])
        try:
            return [one async for one in searches.run(RECORD, query, 2, minimum_sequence)]
        finally:
            assert searches._memory.held_bytes == 0

    return run


def scores(pair, answer):
    """[queries, slots]."""
    return pair.key.decrypt(pair.key.read(answer.answers)) * PAILLIER_3072.score_grid


async def test_every_segment_is_scored_once_and_in_order(search, pair, monkeypatch):
    # Small pieces, as of a large collection.
    monkeypatch.setattr(plain_query_search, "FOLD_NUMBERS", 4)
    monkeypatch.setattr(plain_query_search, "WEIGH_NUMBERS", 3)
    blocks = [pair.encrypt_rows(LAYOUT, ROWS[n : n + 1], slot) for n, slot in ((0, 0), (1, 1), (2, 0))]
    events = log(batch(blocks[0]), batch(blocks[2], SECOND), batch(blocks[1], first_slot=1))
    plan, first, second, summary = await search(events)
    assert plan == ScorePlan(7, 3, 2, 0, bytes(32))
    assert isinstance(first, ScoreResult)
    assert [(one.segments, one.first_query, one.queries) for one in (first, second)] == [
        ((0,), 0, 2),
        ((1,), 0, 2),
    ]
    np.testing.assert_allclose(scores(pair, first)[:, :2], ROWS[:2] @ ROWS[:2].T, atol=1e-5)
    np.testing.assert_allclose(scores(pair, second)[:, 0], ROWS[:2] @ ROWS[2], atol=1e-5)
    assert isinstance(summary, ScoreSummary)
    assert summary.scanned_bytes == sum(map(len, blocks))
    assert summary.kernel_seconds > 0


async def test_an_empty_collection_has_a_plan_and_a_summary(search):
    plan, summary = await search(log())
    assert (plan.main_segments, summary.scanned_bytes) == (0, 0)


LIES = {
    "no header": lambda good: log(good)[1:],
    "nothing": lambda good: [],
    "a batch less": lambda good: log(good, count=2),
    "a batch more": lambda good: log(good, good, count=1),
    "bytes first": lambda good: [*log(count=1), good[1]],
    "half a batch": lambda good: log(good[:2], count=1),
    "half a batch and another": lambda good: log(good[:2], good),
    "too many bytes": lambda good: log([*good, b"x"], count=1),
    "another digest": lambda good: log([good[0], good[1], bytes(len(good[2]))]),
    "a second header": lambda good: [*log(good), LogHeader(7, 3, 1, 0)],
}


@pytest.mark.parametrize("name", LIES)
async def test_a_log_that_does_not_hold_together_is_data_loss(search, pair, name):
    with pytest.raises(DataLoss):
        await search(LIES[name](batch(pair.encrypt_rows(LAYOUT, ROWS[:1]))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"count": 65}, "beyond slot 64"),
        ({"block_size_bytes": 1 << 40}, "batch of 1099511627776 bytes, want 2368"),
        ({"block_sha256": b""}, "bytes, want"),
    ],
    ids=["many slots", "a huge block", "no digest"],
)
async def test_a_batch_that_cannot_be_is_refused_before_it_is_read(search, pair, change, said):
    with pytest.raises(DataLoss, match=said):
        await search(log(batch(pair.encrypt_rows(LAYOUT, ROWS[:1]), **change)))


async def test_another_keys_batch_is_data_loss(search):
    stranger = PackedPair(PAILLIER_3072, b"another key's id")
    with pytest.raises(DataLoss, match="ciphertext of key"):
        await search(log(batch(stranger.encrypt_rows(LAYOUT, ROWS[:1]))))


async def test_a_log_that_ends_too_early_is_refused(search):
    with pytest.raises(InvalidArgument, match="sequence 8, the log ends at 7"):
        await search(log(), minimum_sequence=8)


async def test_a_gallery_that_does_not_fit_is_refused(search, pair, monkeypatch):
    block = pair.encrypt_rows(LAYOUT, ROWS[:1])
    monkeypatch.setattr(plain_query_search, "MAX_GALLERY_BYTES", 2 * len(block))
    with pytest.raises(ResourceExhausted, match="retry later"):
        await search(log(*[batch(block, first_slot=slot) for slot in range(3)]))
