"""The two nearest from encrypted scores, through a real evaluator, against brute force."""

import asyncio

import numpy as np
import pytest

from blindsight.errors import InvalidArgument
from blindsight.parameters import PARAMETER_SETS
from blindsight.runtime.threads import Threads
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.imaging import matching
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.operations.encrypted_matching import EncryptedMatching
from services.keyholder.operations.products import Multiplier

RNG = np.random.default_rng(23)


@pytest.fixture(scope="module")
def threads():
    made = Threads(2, "columns")
    try:
        yield made
    finally:
        made.close()


def descriptors(count):
    vectors = np.abs(RNG.normal(size=(count, 128))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def nearest(services, threads, name, queries, gallery):
    """What is found, and what it took."""

    async def find():
        evaluator = EvaluatorClient(services["evaluator"].address)
        try:
            multiplier = Multiplier(evaluator, threads, Alarms(), bytes(16))
            job = EncryptedMatching(multiplier, PARAMETER_SETS[name])
            return await job.nearest(queries, gallery), job.account
        finally:
            await evaluator.close()

    return asyncio.run(find())


@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_encrypted_scores_find_the_two_nearest_of_brute_force(services, threads, name):
    gallery = descriptors(150)
    queries = gallery[RNG.permutation(150)[:70]] + 0.02 * RNG.normal(size=(70, 128)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    found, account = nearest(services, threads, name, queries, gallery)
    wanted = matching.Nearest.from_scores(queries.astype(np.float64) @ gallery.T.astype(np.float64))
    bound = 4 * PARAMETER_SETS[name].score_error_bound(32)
    assert np.array_equal(found.indices[:, 0], wanted.indices[:, 0])
    assert np.abs(found.distances**2 - wanted.distances**2).max() < 2 * bound + 1e-6
    assert account.round_trips == 1
    assert account.results > 0


def test_more_than_one_call_takes_are_compared_part_by_part(services, threads, monkeypatch):
    monkeypatch.setattr("services.keyholder.operations.encrypted_matching.MAX_COMPARED_CIPHERTEXTS", 64)
    queries, gallery = descriptors(260), descriptors(300)
    found, account = nearest(services, threads, "ckks-4096", queries, gallery)
    wanted = matching.Nearest.from_scores(queries @ gallery.T)
    assert account.round_trips > 3
    assert np.array_equal(found.indices[:, 0], wanted.indices[:, 0])
    assert found.distances == pytest.approx(wanted.distances, abs=1e-4)


@pytest.mark.parametrize("counts", [(0, 0), (0, 9), (9, 0), (1, 1), (1, 2), (5, 1)])
def test_small_sets_have_what_there_is(services, threads, counts):
    queries, gallery = map(descriptors, counts)
    found, account = nearest(services, threads, "ckks-4096", queries, gallery)
    wanted = matching.Nearest.from_scores(queries @ gallery.T)
    assert np.array_equal(found.indices, wanted.indices)
    assert found.distances == pytest.approx(wanted.distances, abs=1e-3)
    assert account.round_trips == (0 if 0 in counts else 1)


def test_too_many_descriptors_are_refused_before_anything_is_encrypted(services, threads):
    with pytest.raises(InvalidArgument, match="4097 descriptors of the second image, want at most 4096"):
        nearest(services, threads, "ckks-4096", descriptors(1), descriptors(4097))
