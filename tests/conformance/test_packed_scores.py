"""Collections under Paillier against numpy on the plaintext: both halves, joined by bytes."""

import contextlib
import itertools
import math

import numpy as np
import pytest
from support.packed import PackedPair

from blindsight.additive.query import check_weights, read_queries
from blindsight.errors import InvalidArgument, InvalidCiphertext
from blindsight.packing.columns import Layout
from blindsight.parameters import PAILLIER_3072
from blindsight.trusted.additive import packed
from blindsight.trusted.similarity import METRICS, make
from blindsight.trusted.similarity.channels import UNIT, SquaredCosine
from blindsight.trusted.similarity.linear import Metric

SLOTS = PAILLIER_3072.slots
RNG = np.random.default_rng(11)


@pytest.fixture(scope="module")
def pair():
    return PackedPair(PAILLIER_3072, b"sixteen bytes id")


def layout_of(*fields):
    return Layout(fields, 1, SLOTS)


def unit_rows(count, dimension):
    rows = RNG.normal(size=(count, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize(("fill", "dimension"), [(1, 1), (2, 17), (63, 24), (64, 24), (10, 128)])
def test_scores_are_numpys_within_the_stated_bound_and_free_slots_score_zero(pair, fill, dimension):
    layout, rows, forms = layout_of(dimension), unit_rows(fill, dimension), unit_rows(2, dimension)
    scores = pair.scores(layout, [pair.encrypt_rows(layout, rows)], forms)
    assert scores.shape == (2, SLOTS)
    assert np.abs(scores[:, :fill] - forms @ rows.T).max() <= PAILLIER_3072.score_error_bound(SLOTS)
    assert not scores[:, fill:].any()


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_scores_as_numpy(pair, metric):
    vectors, query = RNG.normal(size=(30, 12)), RNG.normal(size=12)
    largest = float(np.linalg.norm(vectors, axis=1).max())
    linear = make(metric, 12, largest)
    layout, form = layout_of(*linear.fields), linear.form(query)
    products = pair.scores(layout, [pair.encrypt_rows(layout, linear.rows(vectors))], form.weights[None])
    scores = form.reading.scores(products.T)[:30]
    want = {
        Metric.COSINE: vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query),
        Metric.DOT: vectors @ query,
        Metric.EUCLIDEAN: np.square(vectors - query).sum(axis=1),
    }[metric]
    scale = form.reading.multiplier
    bound = PAILLIER_3072.score_error_bound(SLOTS, linear.largest_row) * scale
    assert np.abs(scores - want).max() <= bound + 1e-9


def test_appends_into_free_slots_add_up(pair):
    layout, rows, form = layout_of(8), unit_rows(SLOTS, 8), unit_rows(1, 8)
    cuts = [0, 1, 5, 40, SLOTS]
    batches = [pair.encrypt_rows(layout, rows[start:stop], start) for start, stop in itertools.pairwise(cuts)]
    whole = pair.scores(layout, [pair.encrypt_rows(layout, rows)], form)
    np.testing.assert_array_equal(pair.scores(layout, batches, form), whole)
    decrypted = layout.unpack(packed.decrypt_columns(pair.key, PAILLIER_3072, batches))
    assert np.abs(decrypted - rows).max() <= 0.5 / PAILLIER_3072.gallery_scale


def test_the_same_vector_scores_one(pair):
    layout, rows = layout_of(32), unit_rows(1, 32)
    score = pair.scores(layout, [pair.encrypt_rows(layout, rows)], rows)[0, 0]
    assert score == pytest.approx(1, abs=PAILLIER_3072.score_error_bound(SLOTS))


def test_pixels_by_channel_are_exact_integers(pair):
    linear = SquaredCosine(24, 3)
    pictures = RNG.integers(0, 256, (5, 24)).astype(float)
    layout, rows, form = layout_of(*linear.fields), linear.rows(pictures), linear.form(pictures[2])
    products = pair.products(layout, [pair.encrypt_rows(layout, rows)], form.weights[None])[0, :, :5]
    integers, weights = np.rint(rows * UNIT), np.rint(form.weights * UNIT)
    for field, (first, last) in enumerate(layout.field_columns):
        want = integers[:, first:last] @ weights[first:last]
        np.testing.assert_array_equal(np.rint(products[field] * UNIT**2), want)
    assert linear.form(pictures[2]).reading.scores(products.T)[2] == pytest.approx(0, abs=1e-12)


def test_the_largest_values_and_weights_do_not_reach_the_next_slot(pair):
    # As much as the slots are made for: no row and no form of any metric is as long.
    value, weight = 2**PAILLIER_3072.value_bits - 1, PAILLIER_3072.most_growth // 8
    signs = np.where(np.arange(SLOTS) % 3 == 0, -1, 1)
    columns = np.tile(signs * value / PAILLIER_3072.gallery_scale, (8, 1))
    block = pair.block(packed.encrypt(pair.key, PAILLIER_3072, columns))
    scores = pair.weighed(block, [(weight,) * 8, (-weight,) * 8])
    want = signs * value * 8 * weight * PAILLIER_3072.score_grid
    np.testing.assert_allclose(scores, [want, -want], rtol=1e-12)


def test_the_longest_form_of_any_dimension_is_within_the_bound_on_weights():
    # Magnitudes sum up to the most when all are equal.
    for dimension, fits in ((1, True), (2049, True), (8000, True), (9000, False)):
        form = np.full((1, dimension), math.sqrt(2 / dimension)) * PAILLIER_3072.query_scale
        assert (PAILLIER_3072.max_batches(dimension) > 0) == fits
        with contextlib.nullcontext() if fits else pytest.raises(InvalidArgument, match="would overflow"):
            check_weights(np.rint(form).astype(np.int64), layout_of(dimension), PAILLIER_3072)


def test_values_that_would_overflow_are_refused_before_encryption_with_the_bound(pair):
    with pytest.raises(
        InvalidArgument, match=r"values would overflow: want less than 1048576 .*20 value bits"
    ):
        pair.encrypt_rows(layout_of(2), np.array([[0.5, 2.02]]))
    forms = np.full((1, 100), 2.0)
    with pytest.raises(
        InvalidArgument, match=r"weights would overflow: .* at most 67108864 \(26 guard bits\)"
    ):
        pair.query(layout_of(100), forms)


def test_a_query_is_its_numbers_in_the_clear_and_a_gallery_is_not(pair):
    layout, form = layout_of(6), unit_rows(1, 6)
    block = pair.query(layout, form)
    read = read_queries(block, 1, layout, PAILLIER_3072, pair.key_id)
    np.testing.assert_allclose(read.weights / PAILLIER_3072.query_scale, form, atol=1e-6)
    first, second = (pair.encrypt_rows(layout, form) for _ in range(2))
    assert first[:64] == second[:64]
    size = PAILLIER_3072.number_bytes
    numbers = {
        block[start : start + size] for block in (first, second) for start in range(64, 64 + 6 * size, size)
    }
    assert len(numbers) == 12


def test_another_key_does_not_decrypt(pair):
    layout, rows = layout_of(2), unit_rows(SLOTS, 2)
    batch = pair.encrypt_rows(layout, rows)
    stranger = PackedPair(PAILLIER_3072, pair.key_id)
    with pytest.raises(InvalidCiphertext):
        packed.decrypt_columns(stranger.key, PAILLIER_3072, [batch])
