"""What the keyholder makes of an evaluator that does not keep its word."""

from dataclasses import replace

import numpy as np
import pytest

from blindsight.additive import AdditiveScheme
from blindsight.additive.block import HEADER, parse_header
from blindsight.additive.evaluation import AdditiveEvaluator
from blindsight.errors import DataLoss, InvalidArgument
from blindsight.runtime.processpool import WorkerPool
from blindsight.trusted.crypto import tasks
from services.keyholder.operations.combine import (
    Combination,
    Combine,
    CombineSettings,
    guard_bits,
    value_bits,
)

FIRST, SECOND = np.random.default_rng(9).integers(-255, 256, (2, 6, 50))
SETTINGS = CombineSettings(AdditiveScheme.PAILLIER, 2048, weights=(1, -1))


def relabelled(**changes):
    return lambda data: replace(parse_header(data), **changes).pack() + data[HEADER.size :]


LIES = {
    "nothing": lambda data: b"",
    "a byte less": lambda data: data[:-1],
    "a byte more": lambda data: data + b"x",
    "zeros": lambda data: bytes(len(data)),
    "another key": relabelled(key_id=bytes(16)),
    "another growth": relabelled(growth=1),
    "another scheme": relabelled(scheme=AdditiveScheme.LIGHTPHE_PAILLIER),
    "a ciphertext of 0": lambda data: data[: HEADER.size] + bytes(512) + data[HEADER.size + 512 :],
    "a ciphertext out of range": lambda data: data[: HEADER.size] + b"\xff" * 512 + data[HEADER.size + 512 :],
    "a message of another width": lambda data: (
        data[: HEADER.size] + bytes([data[HEADER.size] ^ 1]) + data[HEADER.size + 1 :]
    ),
}


class Liar:
    """Computes the right sum and answers with what a lie makes of it, piece by piece."""

    def __init__(self, lie):
        self._lie = lie
        self.taken = 0

    async def combine(self, public_key, weights, blocks, *, insecure_small_keys):
        honest = AdditiveEvaluator(public_key)
        answer = honest.weighted_sum([honest.read(block) for block in blocks], weights)
        data = self._lie(answer.to_bytes())
        for start in range(0, len(data), 1000):
            self.taken += 1
            yield data[start : start + 1000]


@pytest.fixture(scope="module")
def pool():
    made = WorkerPool(1, tasks.COMPUTE)
    yield made
    made.close()


async def combined(evaluator, pool):
    combine = Combine(evaluator, pool, pool, limit_seconds=600)
    *_, answer = [one async for one in combine.run(SETTINGS, [FIRST, SECOND])]
    assert isinstance(answer, Combination)
    return answer.values


async def test_the_truth_is_taken(pool):
    np.testing.assert_array_equal(await combined(Liar(lambda data: data), pool), FIRST - SECOND)


@pytest.mark.parametrize("name", LIES)
async def test_another_block_than_was_asked_for_is_refused(pool, name):
    with pytest.raises(DataLoss):
        await combined(Liar(LIES[name]), pool)


async def test_an_answer_without_end_is_not_read_to_its_end(pool):
    endless = Liar(lambda data: data * 10_000)
    with pytest.raises(DataLoss, match="another block than was asked for"):
        await combined(endless, pool)
    assert endless.taken < 20


def test_the_bits_of_values_say_no_more_than_they_must():
    assert value_bits([np.array([0, 3]), np.array([-1, 2])]) == 8
    assert value_bits([np.array([255])]) == 8
    assert value_bits([np.array([0]), np.array([-256])]) == 9
    assert value_bits([np.array([-(2**63)])]) == 64


@pytest.mark.parametrize(
    ("weights", "bits"), [((0, 0), 0), ((1,), 0), ((1, -1), 1), ((2, -1), 2), ((-4, 4), 3)]
)
def test_the_guard_bits_hold_the_sum_of_all_magnitudes(weights, bits):
    assert guard_bits(weights) == bits
    assert sum(map(abs, weights)) <= 2**bits


def test_weights_that_no_message_has_room_for_are_refused():
    with pytest.raises(InvalidArgument, match="want less than 2"):
        guard_bits([2**54])
