"""BFV scores are the integers that numpy computes: not close to them, equal."""

import itertools

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.schemes import Pair

from blindsight.errors import InvalidVector
from blindsight.packing.columns import Layout
from blindsight.parameters import PARAMETER_SETS, Scheme

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
    scores = pair.score(layout, [pair.block(layout, encrypted)], queries / parameters.query_scale)[0]
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


def test_scores_stay_exact_after_as_many_appends_as_the_noise_bound_allows(pair):
    layout = Layout((128,), 1, pair.parameters.ring_degree)
    batches = pair.parameters.max_batches(layout.columns)
    largest = int((pair.parameters.plain_modulus / 2 / 128) ** 0.5)
    rows, query = integers((8, 128), largest, 5), integers((1, 128), largest, 6)
    block = pair.block(layout, [pair.encrypt_rows(layout, rows / pair.parameters.gallery_scale)])
    # Fresh encryptions of zero add the noise of the other appends, and nothing else.
    zeros = pair.encrypt_rows(layout, np.zeros((1, 128)))
    for _ in range(20):
        block = pair.added(block, pair.block(layout, [zeros]))
    assert batches > 20
    scores = pair.score(layout, [block], query / pair.parameters.query_scale)[0, 0, :8]
    scale = pair.parameters.gallery_scale * pair.parameters.query_scale
    assert (np.rint(scores * scale).astype(np.int64) == rows @ query[0]).all()


def test_a_unit_vector_along_an_axis_scores_one_against_itself_to_the_last_digit(pair):
    layout = Layout((4,), 4, pair.parameters.ring_degree)
    block = pair.block(layout, [pair.encrypt_rows(layout, np.eye(4))])
    scores = pair.score(layout, [block], np.eye(4))[0][:, :4]
    np.testing.assert_array_equal(scores, np.eye(4))


def test_values_that_would_overflow_are_refused_before_encryption_with_the_bound(pair):
    layout = Layout((1,), 1, pair.parameters.ring_degree)
    half = pair.parameters.plain_modulus // 2
    with pytest.raises(InvalidVector, match=f"want less than {half}"):
        pair.encrypt_rows(layout, np.array([[half / pair.parameters.gallery_scale]]))


def test_reencryption_of_a_decrypted_gallery_changes_nothing(pair):
    layout = Layout((16,), 4, pair.parameters.ring_degree)
    rows = integers((layout.capacity, 16), 1000, 7) / pair.parameters.gallery_scale
    once = layout.unpack(pair.secret.decrypt_gallery([pair.encrypt_rows(layout, rows)]))
    twice = layout.unpack(pair.secret.decrypt_gallery([pair.encrypt_rows(layout, once)]))
    np.testing.assert_array_equal(once, rows)
    np.testing.assert_array_equal(twice, rows)
