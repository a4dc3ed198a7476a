"""Metrics as linear forms, against their definitions in numpy."""

import numpy as np
import pytest

from blindsight.errors import InvalidVector
from blindsight.trusted.similarity import METRICS, make
from blindsight.trusted.similarity.channels import SquaredCosine
from blindsight.trusted.similarity.linear import MAX_ROW_NORM, Metric, check_vectors

RNG = np.random.default_rng(5)
GALLERY = RNG.normal(size=(50, 12)) * 3
DEFINITIONS = {
    Metric.COSINE: lambda g, q: g @ q / np.linalg.norm(g, axis=1) / np.linalg.norm(q),
    Metric.DOT: lambda g, q: g @ q,
    Metric.EUCLIDEAN: lambda g, q: np.square(g - q).sum(axis=1),
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("size", [1e-3, 1.0, 1e3], ids="query x {}".format)
def test_the_linear_form_is_the_metric(metric, size):
    linear = make(metric, 12, max_norm=20.0)
    query = RNG.normal(size=12) * size
    form = linear.form(query)
    got = form.reading.scores((linear.rows(GALLERY) @ form.weights)[:, None])
    want = DEFINITIONS[metric](GALLERY, query)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-9 * size**2)


@pytest.mark.parametrize("metric", METRICS)
def test_vectors_are_what_rows_say_of_them(metric):
    linear = make(metric, 12, max_norm=20.0)
    vectors = linear.vectors(linear.rows(GALLERY))
    want = (
        GALLERY if metric is not Metric.COSINE else GALLERY / np.linalg.norm(GALLERY, axis=1, keepdims=True)
    )
    np.testing.assert_allclose(vectors, want, rtol=1e-12)


@pytest.mark.parametrize("noise", [0.0, 1e-4])
def test_pixels_are_what_rows_say_of_them_up_to_the_brightness_of_a_channel(noise):
    linear = SquaredCosine(3 * 64, 3)
    pixels = RNG.integers(0, 256, (20, 192)).astype(float)
    pixels[0, :64] = 0
    pixels[1] = 255
    pixels[2, 64:128] = 1
    pixels[3] //= 64
    rows = linear.rows(pixels)
    vectors = linear.vectors(rows + RNG.normal(size=rows.shape) * noise)
    assert vectors.min() >= 0
    assert vectors.max() <= 255
    assert (vectors == np.rint(vectors)).all()
    for got, want in zip(vectors.reshape(60, 64), pixels.reshape(60, 64), strict=True):
        lengths = np.linalg.norm(got) * np.linalg.norm(want)
        assert got @ want == pytest.approx(lengths, rel=1e-2 if noise else 1e-4)
    if not noise:
        np.testing.assert_allclose(linear.rows(vectors), rows, rtol=2e-2)


@pytest.mark.parametrize("metric", METRICS)
def test_both_sides_stay_short_so_that_no_score_wraps(metric):
    linear = make(metric, 12, max_norm=float(np.linalg.norm(GALLERY, axis=1).max()))
    assert np.linalg.norm(linear.rows(GALLERY), axis=1).max() <= MAX_ROW_NORM + 1e-9
    assert np.linalg.norm(linear.form(RNG.normal(size=12) * 1e6).weights) == pytest.approx(1.0)


@pytest.mark.parametrize("metric", [Metric.DOT, Metric.EUCLIDEAN])
def test_a_vector_beyond_the_largest_norm_is_refused_with_both_lengths(metric):
    with pytest.raises(InvalidVector, match=r"row 1 has length 5, want at most 4"):
        make(metric, 2, max_norm=4.0).rows(np.array([[1.0, 1.0], [3.0, 4.0]]))


def test_a_zero_vector_has_no_cosine_but_a_dot_product_and_a_distance():
    zero = np.zeros((1, 3))
    with pytest.raises(InvalidVector, match="row 0 is all zeros"):
        make(Metric.COSINE, 3, 1.0).rows(zero)
    form = make(Metric.DOT, 3, 1.0).form(zero[0])
    assert form.reading.multiplier == 0
    assert make(Metric.EUCLIDEAN, 3, 1.0).rows(zero).tolist() == [[0, 0, 0, 0]]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_are_refused_with_their_row(bad):
    vectors = np.ones((4, 3))
    vectors[2, 1] = bad
    with pytest.raises(InvalidVector, match="row 2 holds NaN or infinity"):
        check_vectors(vectors, 3)


def test_a_wrong_dimension_is_refused_with_both():
    with pytest.raises(InvalidVector, match="dimension 4, want 3"):
        check_vectors(np.ones((1, 4)), 3)
