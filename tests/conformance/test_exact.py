"""BFV scores are the integers that numpy computes: not close to them, equal."""

import itertools
import math

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.schemes import Pair

from blindsight.errors import InvalidVector
from blindsight.packing.columns import Layout
from blindsight.packing.segments import Region
from blindsight.parameters import PARAMETER_SETS, Scheme
from blindsight.ring import columns
from blindsight.trusted.columns import gallery, queries

EXACT = [parameters for parameters in PARAMETER_SETS.values() if parameters.scheme is Scheme.BFV]


@pytest.fixture(scope="module", params=EXACT, ids=lambda parameters: parameters.name)
def pair(request):
    return Pair(request.param, shared_key_set())


def integers(shape, largest, seed):
    return np.random.default_rng(seed).integers(-largest, largest, shape, endpoint=True)


def scored(pair, layout, gallery, queries, batches=1):
    """Integer scores [queries, capacity], through encryption."""
    parameters = pair.parameters
    cuts = np.linspace(0, len(gallery), batches + 1).astype(int)
    encrypted = [
        pair.encrypt_rows(layout, gallery[start:stop] / parameters.gallery_scale, start)
        for start, stop in itertools.pairwise(cuts)
    ]
    scores = pair.score(layout, [encrypted], queries / parameters.query_scale)[0]
    scaled = scores * parameters.gallery_scale * parameters.query_scale
    np.testing.assert_allclose(scaled, np.rint(scaled), atol=1e-4)
    return np.rint(scaled).astype(np.int64)


@pytest.mark.parametrize("stride", [1, 2, 8, 64, 128])
@pytest.mark.parametrize("share", [0.01, 0.5, 1.0], ids="{:.0%} full".format)
def test_every_stride_and_fill_level_is_exact(pair, stride, share):
    layout = Layout((128,), stride, pair.parameters.ring_degree)
    fill = max(1, int(layout.capacity * share))
    largest = int((pair.parameters.plain_modulus / 2 / 128) ** 0.5)
    gallery, queries = integers((fill, 128), largest, 1), integers((2, 128), largest, 2)
    got = scored(pair, layout, gallery, queries)
    assert (got[:, :fill] == queries @ gallery.T).all()
    assert not got[:, fill:].any()


def test_scores_up_to_half_of_the_plain_modulus_are_exact_and_the_next_one_wraps(pair):
    layout = Layout((1,), 1, pair.parameters.ring_degree)
    half = pair.parameters.plain_modulus // 2
    gallery = np.array([[half - 1], [1 - half], [half // 2]])
    got = scored(pair, layout, gallery, np.array([[1], [2]]))
    assert got[0, :3].tolist() == [half - 1, 1 - half, half // 2]
    assert got[1, 2] == -half  # 2 * t/4 is t/2, which reads as -t/2


@pytest.mark.parametrize("dimension", [600, 2048])
def test_wide_rows_in_many_columns_are_exact(pair, dimension):
    layout = Layout((dimension,), 4, pair.parameters.ring_degree)
    largest = int((pair.parameters.plain_modulus / 2 / dimension) ** 0.5)
    gallery, query = integers((50, dimension), largest, 3), integers((1, dimension), largest, 4)
    assert (scored(pair, layout, gallery, query)[0, :50] == gallery @ query[0]).all()


def scored_with_noise(pair, layout, rows, query, appends):
    """Integer scores of a segment that has as much noise as after so many appends.

    One encryption of zero is added again and again: noise that adds up in one direction is as large after k
    times as that of k * k appends.
    """
    parameters, keys = pair.parameters, pair.keys(layout).of(Region.MAIN)
    total, common = gallery.encrypt(layout.pack(rows).astype(np.int64), keys)
    zeros, seed = gallery.encrypt(np.zeros((layout.columns, parameters.ring_degree), np.int64), keys)
    common, again = (gallery.common_polynomial(one, parameters) for one in (common, seed))
    for _ in range(math.isqrt(appends) + 1):
        columns.add(total, zeros, parameters)
        common = gallery.sum_of(common, again, parameters)
    asked = queries.encrypt(layout.pack_query(query).astype(np.int64), keys, layout.field_columns)
    answer = columns.products(total, asked.tiles, parameters, layout.field_columns, layout.fold)
    held = queries.held(total, keys, layout.field_columns)
    cover = queries.Cover(held, common)
    return layout.scores(queries.open_answer(answer, cover, asked))[0, : len(rows)]


def test_scores_stay_exact_after_as_many_appends_as_the_noise_bound_allows(pair):
    layout = Layout((128,), 1, pair.parameters.ring_degree)
    appends = pair.parameters.max_batches(layout.columns)
    assert appends > 20
    largest = int((pair.parameters.plain_modulus / 2 / 128) ** 0.5)
    rows, query = integers((8, 128), largest, 5), integers((1, 128), largest, 6)
    assert (scored_with_noise(pair, layout, rows, query[0], appends) == rows @ query[0]).all()
    # The bound is a bound on this noise, not on something far away from it.
    assert (scored_with_noise(pair, layout, rows, query[0], 10_000 * appends) != rows @ query[0]).any()


def test_a_unit_vector_along_an_axis_scores_one_against_itself_to_the_last_digit(pair):
    layout = Layout((4,), 4, pair.parameters.ring_degree)
    scores = pair.score(layout, [[pair.encrypt_rows(layout, np.eye(4))]], np.eye(4))[0][:, :4]
    np.testing.assert_array_equal(scores, np.eye(4))


def test_values_that_would_overflow_are_refused_before_encryption_with_the_bound(pair):
    layout = Layout((1,), 1, pair.parameters.ring_degree)
    half = pair.parameters.plain_modulus // 2
    with pytest.raises(InvalidVector, match=f"want less than {half}"):
        pair.encrypt_rows(layout, np.array([[half / pair.parameters.gallery_scale]]))


def test_reencryption_of_a_decrypted_gallery_changes_nothing(pair):
    layout = Layout((16,), 4, pair.parameters.ring_degree)
    rows = integers((layout.capacity, 16), 1000, 7) / pair.parameters.gallery_scale
    once = pair.decrypt_rows(layout, [pair.encrypt_rows(layout, rows)])
    twice = pair.decrypt_rows(layout, [pair.encrypt_rows(layout, once)])
    np.testing.assert_array_equal(once, rows)
    np.testing.assert_array_equal(twice, rows)
