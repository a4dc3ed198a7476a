"""The layout against its definition: polynomial products modulo X^N + 1."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.errors import InvalidArgument
from blindsight.packing.columns import (
    KEPT_BYTES,
    KEPT_IN_ALL_BYTES,
    KEPT_PART,
    MIN_ANSWER,
    QUERY_COLUMN_MS,
    SEGMENT_ANSWER_MS,
    Layout,
    collection_layout,
    plan_stride,
    widest_stride,
)
from blindsight.packing.segments import Region
from blindsight.ring import ntt

DEGREE = 64


def negacyclic(first, second):
    """The product of two polynomials modulo X^N + 1, by the definition."""
    full = np.convolve(first, second)
    product = full[:DEGREE].copy()
    product[: len(full) - DEGREE] -= full[DEGREE:]
    return product


@given(st.integers(1, 40), st.integers(0, 6), st.data())
def test_inner_products_land_where_scores_looks_for_them(dimension, stride_bits, data):
    layout = Layout((dimension,), 1 << stride_bits, DEGREE)
    count = data.draw(st.integers(1, layout.capacity))
    first = data.draw(st.integers(0, layout.capacity - count))
    rng = np.random.default_rng(dimension * 64 + count)
    rows, query = rng.normal(size=(count, dimension)), rng.normal(size=dimension)
    products = [
        negacyclic(g, q) for g, q in zip(layout.pack(rows, first), layout.pack_query(query), strict=True)
    ]
    scores = layout.scores(np.sum(products, axis=0))
    np.testing.assert_allclose(scores[first : first + count], rows @ query, atol=1e-9)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 6), st.data())
def test_every_field_has_an_inner_product_of_its_own(fields, stride_bits, data):
    layout = Layout(tuple(fields), 1 << stride_bits, DEGREE)
    count = data.draw(st.integers(1, layout.capacity))
    rng = np.random.default_rng(sum(fields) * 64 + count)
    rows, query = rng.normal(size=(count, sum(fields))), rng.normal(size=sum(fields))
    packed = layout.pack(rows), layout.pack_query(query)
    products = np.stack([negacyclic(g, q) for g, q in zip(*packed, strict=True)])
    ends = np.cumsum(fields)
    for (first, last), end, width in zip(layout.field_columns, ends, fields, strict=True):
        got = layout.scores(products[first:last].sum(axis=0))[:count]
        part = slice(end - width, end)
        np.testing.assert_allclose(got, rows[:, part] @ query[part], atol=1e-9)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 6))
def test_unpack_undoes_pack(fields, stride_bits):
    layout = Layout(tuple(fields), 1 << stride_bits, DEGREE)
    rows = np.random.default_rng(1).normal(size=(layout.capacity, sum(fields)))
    np.testing.assert_array_equal(layout.unpack(layout.pack(rows)), rows)


def test_the_planner_spends_few_query_ciphertexts_on_small_collections_and_many_on_large_ones():
    strides = [plan_stride((128,), 4096, size) for size in (1, 1_000, 10_000, 1_000_000)]
    assert strides == sorted(strides, reverse=True)
    assert strides[0] == widest_stride((128,), 4096)
    assert strides[-1] == 1


@pytest.mark.parametrize("expected", [1, 300, 10_000, 200_000, 5_000_000])
def test_no_other_stride_is_cheaper_than_the_planned_one(expected):
    def milliseconds(stride):
        layout = Layout((100,), stride, 4096)
        return layout.columns * QUERY_COLUMN_MS + -(-expected // layout.capacity) * SEGMENT_ANSWER_MS

    planned = plan_stride((100,), 4096, expected)
    assert milliseconds(planned) == min(milliseconds(1 << bits) for bits in range(8))


@pytest.mark.parametrize("fields", [(128,), (2048,), (4096,) * 6], ids=sum)
@pytest.mark.parametrize("expected", [1, 300, 10_000, 200_000, 5_000_000])
@pytest.mark.parametrize("residue_bytes", [8, 12])
def test_the_keyholder_keeps_little_of_a_vector_and_the_stride_is_otherwise_the_cheapest(
    fields, expected, residue_bytes
):
    planned = plan_stride(fields, 4096, expected, residue_bytes=residue_bytes)
    kept = (len(fields) + 1) * planned * residue_bytes
    stored = sum(fields) * residue_bytes
    assert planned == 1 or kept <= max(KEPT_BYTES, stored * KEPT_PART, KEPT_IN_ALL_BYTES / expected)
    free = plan_stride(fields, 4096, expected)
    assert planned <= free
    # A wider one would be cheaper only if it were not for what is kept.
    assert planned == free or 2 * kept > max(KEPT_BYTES, stored * KEPT_PART, KEPT_IN_ALL_BYTES / expected)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=5), st.integers(0, 6))
def test_a_fold_keeps_every_score_and_is_no_wider_than_the_stride(fields, stride_bits):
    layout = Layout(tuple(fields), 1 << stride_bits, DEGREE)
    assert layout.fold * layout.answer_size == DEGREE
    assert layout.fold == min(layout.stride, DEGREE // MIN_ANSWER)
    coefficients = np.random.default_rng(1).normal(size=(len(fields), DEGREE))
    kept = coefficients[:, :: layout.fold]
    assert kept.shape[1] == layout.answer_size
    np.testing.assert_array_equal(layout.scores(kept), layout.scores(coefficients))
    np.testing.assert_array_equal(layout.scores(kept), coefficients[:, :: layout.stride])


def test_the_smallest_answer_is_the_smallest_transform():
    assert MIN_ANSWER == ntt.MIN_SIZE


@pytest.mark.parametrize(("dimension", "stride"), [(0, 1), (65_537, 1), (8, 3), (8, 0), (8, 128)], ids=str)
def test_a_layout_that_cannot_be_is_refused(dimension, stride):
    with pytest.raises(InvalidArgument):
        Layout((dimension,), stride, DEGREE)


@pytest.mark.parametrize("fields", [(), (4, 0), (1,) * 17], ids=len)
def test_fields_that_cannot_be_are_refused(fields):
    with pytest.raises(InvalidArgument, match="want 1 to"):
        Layout(fields, 1, DEGREE)


def test_rows_beyond_the_segment_are_refused():
    with pytest.raises(InvalidArgument, match="want at most 8"):
        Layout((8,), 8, DEGREE).pack(np.ones((2, 8)), first_slot=7)


def test_the_tail_holds_a_vector_in_one_ciphertext():
    layout = collection_layout((100,), 4096, 4)
    assert (layout.main.columns, layout.tail.columns, layout.tail.capacity) == (25, 1, 32)
    assert layout.query_ciphertexts == 26
    assert [layout.within({region}).query_ciphertexts for region in Region] == [25, 1]
    assert layout.within([Region.TAIL, Region.MAIN]) == layout
