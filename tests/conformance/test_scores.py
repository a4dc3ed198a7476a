"""Every scheme against numpy on the plaintext: the keyholder's halves around the evaluator's kernel.

A scheme that is added to `PARAMETER_SETS` runs through all of this without a new test.
"""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.schemes import Pair

from blindsight.errors import DataLoss
from blindsight.packing.columns import Layout, widest_stride
from blindsight.packing.segments import Region
from blindsight.parameters import MAX_BATCHES_PER_SEGMENT, PARAMETER_SETS
from blindsight.trusted.columns import batches, gallery
from blindsight.trusted.similarity import METRICS, make
from blindsight.trusted.similarity.linear import MAX_ROW_NORM, Metric, refined

# Dimension and stride: constants, powers of two, odd ones, the widest, and more columns than add up at once.
SHAPES = [
    (1, 1),
    (2, 1),
    (3, 4),
    (17, 1),
    (100, 8),
    (128, 1),
    (128, 8),
    (128, 128),
    (257, 16),
    (512, 8),
    (513, 512),
    (600, 1),
    (1024, 64),
    (2048, 32),
    (2048, 2048),
]


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def pair(request):
    return Pair(request.param, shared_key_set())


def unit_rows(count, dimension, seed=3):
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("dimension", "stride"), SHAPES, ids=str)
def test_scores_are_numpys_within_the_stated_bound(pair, dimension, stride):
    layout = Layout((dimension,), stride, pair.parameters.ring_degree)
    rows, form = unit_rows(layout.capacity, dimension), unit_rows(1, dimension, seed=4)
    scores = pair.score(layout, [[pair.encrypt_rows(layout, rows)]], form)[0, 0]
    error = np.abs(scores - rows @ form[0]).max()
    assert error <= pair.parameters.score_error_bound(layout.capacity)


@pytest.mark.parametrize("fill", [1, 2, 255, 511, 512])
def test_free_slots_score_zero_at_every_fill_level(pair, fill):
    layout = Layout((128,), 8, pair.parameters.ring_degree)
    rows, form = unit_rows(fill, 128), unit_rows(1, 128, seed=4)
    scores = pair.score(layout, [[pair.encrypt_rows(layout, rows)]], form)[0, 0]
    want = np.zeros(layout.capacity)
    want[:fill] = rows @ form[0]
    np.testing.assert_allclose(scores, want, atol=pair.parameters.score_error_bound(layout.capacity))


@pytest.mark.parametrize("stride", [4, 128])
def test_appending_is_adding(pair, stride):
    layout = Layout((128,), stride, pair.parameters.ring_degree)
    rows, form = unit_rows(layout.capacity, 128), unit_rows(1, 128, seed=4)
    cuts = np.unique(np.linspace(0, layout.capacity, 9).astype(int))
    written = [pair.encrypt_rows(layout, rows[start:stop], start) for start, stop in itertools.pairwise(cuts)]
    scores = pair.score(layout, [written], form)[0, 0]
    bound = pair.parameters.score_error_bound(layout.capacity, batches=len(written))
    assert np.abs(scores - rows @ form[0]).max() <= bound


def test_noise_stays_within_its_bound_after_as_many_appends_as_are_allowed(pair):
    layout = Layout((2,), 2, pair.parameters.ring_degree)
    assert pair.parameters.max_batches(layout.columns) == MAX_BATCHES_PER_SEGMENT
    rows, form = unit_rows(MAX_BATCHES_PER_SEGMENT, 2), unit_rows(1, 2, seed=4)
    written = [pair.encrypt_rows(layout, rows[slot : slot + 1], slot) for slot in range(len(rows))]
    scores = pair.score(layout, [written], form)[0, 0][: len(rows)]
    error = np.abs(scores - rows @ form[0])
    bound = pair.parameters.score_error_bound(layout.capacity, batches=len(rows))
    assert error.max() <= bound
    # The bound is a bound on this noise, not on something far away from it.
    assert error.std() > bound / 60


def test_several_queries_over_several_segments_keep_to_their_places(pair):
    layout = Layout((33,), 4, pair.parameters.ring_degree)
    rows, forms = unit_rows(3 * layout.capacity, 33), unit_rows(5, 33, seed=4)
    segments = rows.reshape(3, layout.capacity, 33)
    written = [[pair.encrypt_rows(layout, one, segment=index)] for index, one in enumerate(segments)]
    scores = pair.score(layout, written, forms)
    want = np.einsum("scd,qd->sqc", segments, forms)
    np.testing.assert_allclose(scores, want, atol=pair.parameters.score_error_bound(layout.capacity))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("dimension", [1, 2, 127, 1024])
def test_every_metric_is_right_on_vectors_of_any_length(pair, metric, dimension):
    rng = np.random.default_rng(dimension)
    vectors, query = rng.normal(size=(200, dimension)) * 5, rng.normal(size=dimension) * 40
    longest = float(np.linalg.norm(vectors, axis=1).max())
    linear = make(metric, dimension, longest)
    stride = min(widest_stride(linear.fields, pair.parameters.ring_degree), 16)
    layout = Layout(linear.fields, stride, pair.parameters.ring_degree)
    form = linear.form(query)
    written = [pair.encrypt_rows(layout, linear.rows(vectors))]
    products = pair.score(layout, [written], form.weights[None])[0, 0][:200]
    got = form.reading.scores(products[:, None])
    want = {
        Metric.COSINE: vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query),
        Metric.DOT: vectors @ query,
        Metric.EUCLIDEAN: np.square(vectors - query).sum(axis=1),
    }[metric]
    bound = pair.parameters.score_error_bound(layout.capacity, MAX_ROW_NORM) * form.reading.multiplier
    np.testing.assert_allclose(got, want, atol=bound)


def test_a_single_pair_stays_within_its_own_smaller_bound(pair):
    parameters = pair.parameters
    balance = parameters.pair_balance
    vectors, queries = unit_rows(40, 128), unit_rows(40, 128, seed=4)
    made = refined(make(Metric.EUCLIDEAN, 128, 1.0), parameters)
    layout = Layout(made.fields, widest_stride(made.fields, parameters.ring_degree), parameters.ring_degree)
    errors = []
    for vector, query in zip(vectors, queries, strict=True):
        row, form = made.rows(vector[None]), made.form(query)
        written, weights = [pair.encrypt_rows(layout, row * balance)], form.weights[None] / balance
        products = pair.products(layout, [written], weights, parameters.pair_grid)[0, 0, :, 0]
        got = form.reading.scores(products[None])[0]
        errors.append((got - np.square(vector - query).sum()) / multiplier(form.reading))
    bound = parameters.pair_error_bound(MAX_ROW_NORM)
    assert np.abs(errors).max() <= bound
    assert np.std(errors) > bound / 60
    assert bound <= parameters.score_error_bound(1, MAX_ROW_NORM)


def multiplier(reading):
    """What turns an error of the product into one of the score."""
    return getattr(reading, "coarse", reading).multiplier


def test_decrypting_a_gallery_gives_its_rows_back(pair):
    layout = Layout((100,), 8, pair.parameters.ring_degree)
    rows = unit_rows(layout.capacity, 100)
    half = layout.capacity // 2
    written = [pair.encrypt_rows(layout, rows[:half]), pair.encrypt_rows(layout, rows[half:], half)]
    decrypted = pair.decrypt_rows(layout, written)
    np.testing.assert_allclose(decrypted, rows, atol=max(2e-5, 0.5001 / pair.parameters.gallery_scale))


def test_the_same_rows_never_encrypt_to_the_same_bytes(pair):
    layout = Layout((4,), 4, pair.parameters.ring_degree)
    rows = unit_rows(10, 4)
    first, second = (np.frombuffer(pair.encrypt_rows(layout, rows).block, "<u4")[8:] for _ in range(2))
    assert np.mean(first == second) < 0.01


def test_the_same_query_is_never_sent_twice_in_the_same_bytes(pair):
    layout, form = Layout((4,), 4, pair.parameters.ring_degree), unit_rows(1, 4)[0]
    first, second = (pair.encrypt_query(layout, form).tiles for _ in range(2))
    assert np.mean(first == second) < 0.01


def test_another_key_decrypts_to_noise(pair):
    layout = Layout((8,), 8, pair.parameters.ring_degree)
    rows = unit_rows(layout.capacity, 8)
    written = pair.encrypt_rows(layout, rows)
    keys, stranger = (one.keys(layout) for one in (pair, Pair(pair.parameters, shared_key_set(1))))
    with pytest.raises(DataLoss):  # it is not the stranger's batch
        batches.decrypt([(written.place, written.block)], Region.MAIN, replace(stranger, key_id=pair.key_id))
    read = batches.read(written.block, written.place, keys)
    columns = gallery.decrypt([(read.tiles, read.seed)], stranger.of(Region.MAIN))
    decrypted = layout.unpack(columns / pair.parameters.gallery_scale)
    assert abs(np.corrcoef(decrypted.ravel(), rows.ravel())[0, 1]) < 0.1
    assert np.abs(decrypted - rows).max() > 1
