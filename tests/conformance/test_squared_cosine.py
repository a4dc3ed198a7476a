"""Squared cosine of colour channels under every scheme, against numpy on the plain pixels."""

from __future__ import annotations

import numpy as np
import pytest
from skimage import data
from skimage.transform import resize
from support.keysets import shared_key_set
from support.schemes import Pair

from blindsight.errors import InvalidVector
from blindsight.packing.columns import Layout, widest_stride
from blindsight.parameters import PARAMETER_SETS, Scheme
from blindsight.trusted.similarity.channels import UNIT, SquaredCosine

SIDE = 64
DIMENSION = 3 * SIDE * SIDE
METRIC = SquaredCosine(DIMENSION, 3)
BFV_SETS = [parameters for parameters in PARAMETER_SETS.values() if parameters.scheme is Scheme.BFV]


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def pair(request, key_set):
    return Pair(request.param, key_set)


@pytest.fixture(scope="module")
def key_set():
    return shared_key_set()


def by_channel(picture):
    return np.moveaxis(picture, 2, 0).reshape(-1).astype(np.float64)


def photo(name):
    return np.rint(resize(getattr(data, name)(), (SIDE, SIDE), preserve_range=True)).astype(np.uint8)


ASTRONAUT = photo("astronaut")


def one_pixel_off():
    picture = ASTRONAUT.copy()
    picture[10, 20, 1] += 1
    return picture


def only_red():
    picture = np.zeros_like(ASTRONAUT)
    picture[:, :, 0] = ASTRONAUT[:, :, 0]
    return picture


PICTURES = {
    "itself": ASTRONAUT,
    "one pixel off": one_pixel_off(),
    "mirrored": ASTRONAUT[:, ::-1],
    "brighter": np.clip(ASTRONAUT.astype(int) + 30, 0, 255).astype(np.uint8),
    "nearly black": ASTRONAUT // 100,
    "one grey level in one pixel": np.eye(1, SIDE * SIDE * 3, 77, dtype=np.uint8).reshape(SIDE, SIDE, 3),
    "white": np.full_like(ASTRONAUT, 255),
    "another": photo("coffee"),
    "a third": photo("rocket"),
    "noise": np.random.default_rng(1).integers(0, 256, ASTRONAUT.shape, np.uint8),
    "only red": only_red(),
    "black": np.zeros_like(ASTRONAUT),
}
GALLERY = np.stack([by_channel(picture) for picture in PICTURES.values()])


def plain(query):
    """Squared cosines [pictures, 3] by numpy; a black channel is like a black one alone."""
    a, b = GALLERY.reshape(-1, 3, SIDE * SIDE), query.reshape(3, SIDE * SIDE)
    inner, lengths = np.einsum("icp,cp->ic", a, b), np.square(a).sum(2) * np.square(b).sum(1)
    both_black = (np.square(a).sum(2) == 0) & (np.square(b).sum(1) == 0)
    return np.where(lengths > 0, np.square(inner) / np.where(lengths > 0, lengths, 1), both_black)


def score(pair, stride, query, batches=1):
    """Products [pictures, fields] of the gallery, written in so many batches."""
    stride = stride or widest_stride(METRIC.fields, pair.parameters.ring_degree)
    layout = Layout(METRIC.fields, stride, pair.parameters.ring_degree)
    rows, form = METRIC.rows(GALLERY), METRIC.form(query)
    products = []
    for first in range(0, len(rows), layout.capacity):
        part = rows[first : first + layout.capacity]
        cuts = np.array_split(np.arange(len(part)), batches)
        written = [pair.encrypt_rows(layout, part[cut], int(cut[0])) for cut in cuts if cut.size]
        products.append(pair.products(layout, [written], form.weights[None])[0, 0, :, : len(part)].T)
    return form.reading, np.concatenate(products)


@pytest.mark.parametrize("query", ["itself", "mirrored", "another", "nearly black", "only red", "black"])
def test_three_values_are_right_for_near_duplicates_and_strangers(pair, query):
    reading, products = score(pair, 256, by_channel(PICTURES[query]), batches=3)
    want = plain(by_channel(PICTURES[query]))
    assert np.abs(reading.parts(products) - want).max() < 1e-3
    bound = METRIC.amplification * pair.parameters.score_error_bound(16, METRIC.largest_row, 3)
    assert np.abs(reading.scores(products) - np.linalg.norm(1 - want, axis=1)).max() <= bound + 1e-9


@pytest.mark.parametrize("stride", [64, 1024, None], ids=str)
def test_strides_change_nothing(pair, stride):
    reading, products = score(pair, stride, GALLERY[1])
    assert np.abs(reading.parts(products) - plain(GALLERY[1])).max() < 1e-3


@pytest.mark.parametrize("parameters", BFV_SETS, ids=lambda parameters: parameters.name)
def test_both_terms_are_exact_integers_under_bfv(key_set, parameters):
    _, products = score(Pair(parameters, key_set), 128, GALLERY[0], batches=2)
    terms = products * UNIT**2
    multiplied = np.rint(METRIC.rows(GALLERY)[:, :DIMENSION] * UNIT).reshape(-1, 3, SIDE * SIDE)
    query = np.rint(METRIC.form(GALLERY[0]).weights[:DIMENSION] * UNIT).reshape(3, SIDE * SIDE)
    np.testing.assert_allclose(terms[:, :3], np.einsum("icp,cp->ic", multiplied, query), atol=1e-3)
    np.testing.assert_allclose(terms[:, 3:], np.square(multiplied).sum(2), atol=1e-3)


def test_all_sets_of_bfv_scale_values_by_the_unit_of_rows():
    scales = {(parameters.gallery_scale, parameters.query_scale) for parameters in BFV_SETS}
    assert scales == {(UNIT, UNIT)}


def test_pixels_stand_unchanged_but_for_a_whole_factor():
    pixels = METRIC.rows(GALLERY[:1])[0, :DIMENSION].reshape(3, -1) * UNIT
    for got, want in zip(pixels, GALLERY[0].reshape(3, -1), strict=True):
        factor = got.max() / want.max()
        assert factor == pytest.approx(round(factor))
        np.testing.assert_allclose(got, want * round(factor))


@pytest.mark.parametrize("value", [-1.0, 256.0, 0.5])
def test_values_that_are_no_pixels_are_refused(value):
    with pytest.raises(InvalidVector, match="whole numbers from 0 to 255"):
        METRIC.rows(np.full((1, DIMENSION), value))


def test_a_picture_too_large_for_the_plaintext_space_is_refused_with_the_bound():
    with pytest.raises(InvalidVector, match="squared length 1065369600, want at most 268424450"):
        SquaredCosine(3 * 128 * 128, 3).form(np.full(3 * 128 * 128, 255.0))
