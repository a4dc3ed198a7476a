"""What is random about columns: how secrets, noise and masks are spread, and that nothing is drawn twice."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats
from support.columns import FIRST, Gallery, coefficients, collection_keys, messages, noise_of, unit_rows

from blindsight.ciphertext.header import BATCH_TRAILER_BYTES
from blindsight.packing.columns import Layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring.tiles import from_tiles
from blindsight.trusted.columns import checking, gallery, queries
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.schemes.sampling import NOISE_BITS, ternary

COLUMNS = 8
BATCHES = 1000
# Of a true hypothesis rejected: once in a thousand million runs.
RARE = 1e-9


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


@pytest.fixture(scope="module")
def keys(parameters):
    return ColumnKeys.derive(parameters, b"a secret".ljust(32), b"anybody".ljust(32), COLUMNS)


def assert_ternary(values):
    """Each of -1, 0 and 1 is as frequent as the others, and nothing else is there."""
    counts = np.bincount(values.reshape(-1) + 1, minlength=3)
    assert len(counts) == 3
    assert stats.chisquare(counts).pvalue > RARE


def assert_noise(sample):
    """The difference of two sums of 21 fair bits."""
    values = np.arange(-NOISE_BITS, NOISE_BITS + 1)
    probabilities = stats.binom.pmf(values + NOISE_BITS, 2 * NOISE_BITS, 0.5)
    counts = np.array([(sample == value).sum() for value in values])
    assert counts.sum() == sample.size, "nothing else is drawn"
    rare = probabilities * sample.size <= 10
    observed = [*counts[~rare], counts[rare].sum()]
    wanted = [*(probabilities[~rare] * sample.size), probabilities[rare].sum() * sample.size]
    assert stats.chisquare(observed, wanted).pvalue > RARE


def assert_uniform(polynomials, parameters):
    """Residues [..., primes, N] fill the range of each prime evenly."""
    for row, prime in enumerate(parameters.primes):
        residues = polynomials[..., row, :].astype(np.uint64)
        assert residues.max() < prime
        bins = (residues * 64 // prime).astype(np.int64).reshape(-1)
        assert stats.chisquare(np.bincount(bins, minlength=64)).pvalue > RARE


def assert_unrelated(sequences):
    """No two of these have anything to do with each other."""
    for first, second in itertools.combinations(sequences, 2):
        correlation = np.corrcoef(first.reshape(-1), second.reshape(-1))[0, 1]
        assert abs(correlation) < 6 / np.sqrt(first.size)


def test_secrets_of_columns_are_ternary_and_unrelated(parameters, keys):
    values = coefficients(from_tiles(keys.secrets, parameters), parameters).astype(np.int64)
    assert_ternary(values)
    for one in values:
        assert_ternary(one)
    assert_unrelated(values)


def test_the_ternary_sampler_is_even_over_a_million_values():
    values = ternary(b"k" * 32, (1000, 1000))
    assert_ternary(values)
    assert_unrelated([values[:, :-1], values[:, 1:]])


def test_secrets_of_queries_are_ternary_and_no_two_the_same(parameters, keys):
    given = np.zeros((COLUMNS, parameters.ring_degree), np.int64)
    made = np.stack([queries.encrypt(given, keys, ((0, COLUMNS),)).secret.residues for _ in range(20)])
    values = coefficients(made, parameters).astype(np.int64)
    assert_ternary(values)
    assert_unrelated(values)


def test_masks_of_queries_and_random_polynomials_of_batches_are_uniform_and_unrelated(parameters, keys):
    masks = from_tiles(keys.masks, parameters)
    commons = np.stack([gallery.common_polynomial(gallery.fresh_seed(), parameters) for _ in range(COLUMNS)])
    for polynomials in (masks, commons):
        assert_uniform(polynomials, parameters)
    # Neither those of one prime with those of another.
    assert_unrelated([row for one in (*masks, *commons) for row in one])


def test_what_is_published_looks_uniform_whatever_the_message(parameters, keys):
    for given in (np.zeros((COLUMNS, parameters.ring_degree), np.int64), messages(parameters, COLUMNS)):
        assert_uniform(from_tiles(gallery.encrypt(given, keys)[0], parameters), parameters)
        query = queries.encrypt(given, keys, ((0, COLUMNS),))
        assert_uniform(from_tiles(query.tiles, parameters), parameters)


def test_the_noise_of_batches_is_centred_binomial_whatever_the_message(parameters, keys):
    for given in (np.zeros((COLUMNS, parameters.ring_degree), np.int64), messages(parameters, COLUMNS)):
        tiles, seed = gallery.encrypt(given, keys)
        common = gallery.common_polynomial(seed, parameters)
        noise = noise_of(parameters, tiles, common, keys.secrets, given)
        assert_noise(noise)
        assert_unrelated(noise)


def test_the_noise_of_queries_is_centred_binomial_whatever_the_message(parameters, keys):
    for given in (np.zeros((COLUMNS, parameters.ring_degree), np.int64), messages(parameters, COLUMNS)):
        query = queries.encrypt(given, keys, ((0, COLUMNS),))
        noise = noise_of(parameters, query.tiles, query.secret.residues, keys.masks, given)
        assert_noise(noise)
        assert_unrelated(noise)


def test_no_two_of_a_thousand_batches_share_a_seed_or_a_nonce(parameters):
    held = Gallery(collection_keys(parameters, Layout((1,), 1, parameters.ring_degree)))
    trailers = [held.written(FIRST, np.ones((1, 1)))[1][-BATCH_TRAILER_BYTES:] for _ in range(BATCHES)]
    assert len({trailer[:32] for trailer in trailers}) == BATCHES
    assert len({trailer[32:44] for trailer in trailers}) == BATCHES


def test_the_same_rows_at_the_same_place_are_encrypted_under_another_seed_to_other_tiles(parameters):
    held = Gallery(collection_keys(parameters, Layout((24,), 4, parameters.ring_degree)))
    rows = unit_rows(50, 24)
    first, second = held.read([held.written(FIRST, rows) for _ in range(2)])
    assert first.seed != second.seed
    assert np.mean(first.tiles == second.tiles) < 1e-4


def test_two_encryptions_of_a_batch_share_no_noise(parameters, keys):
    given = messages(parameters, COLUMNS)
    found = []
    for _ in range(2):
        tiles, seed = gallery.encrypt(given, keys)
        common = gallery.common_polynomial(seed, parameters)
        found.append(noise_of(parameters, tiles, common, keys.secrets, given))
    assert_unrelated(found)


def test_factors_of_checks_are_uniform_and_never_zero(parameters):
    """gamma of 4,000 segments, and of rows that are not kept."""
    held = collection_keys(parameters, Layout((1,), 1, parameters.ring_degree)).fixed("check")
    segments = [SegmentId(region, index) for region in Region for index in range(2000)]
    found = np.stack([checking.factors(held, segment, parameters) for segment in segments])
    fresh = np.stack([checking.random_factors(parameters) for _ in range(4000)])
    for factors in (found, fresh):
        assert factors.min() > 0
        assert len(np.unique(factors[:, 0])) > 3990
        assert_uniform(factors.T[None], parameters)
        assert_unrelated(factors.T)
