"""Several rows and several queries in one product, computed on polynomials in the clear."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.trusted.similarity import crossing
from blindsight.trusted.similarity.crossing import CrossLayout

DEGREE = 64


def product(a, b):
    """In Z[X] / (X^N + 1)."""
    whole = np.convolve(a, b)
    low, high = whole[:DEGREE], whole[DEGREE:]
    return low - np.pad(high, (0, DEGREE - len(high)))


@given(
    dimension=st.integers(1, 20),
    stride=st.sampled_from([1, 2, 4, 8, 16, 32]),
    share=st.integers(0, 6),
    counts=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_every_inner_product_lands_in_a_coefficient_of_its_own(dimension, stride, share, counts, seed):
    rows = min(1 << share, DEGREE // stride)
    layout = CrossLayout((dimension,), stride, rows, DEGREE // stride // rows)
    rng = np.random.default_rng(seed)
    gallery, queries = (rng.normal(size=(count, dimension)) for count in counts)
    for first in range(0, counts[0], layout.rows):
        row = gallery[first : first + layout.rows]
        for second in range(0, counts[1], layout.queries):
            query = queries[second : second + layout.queries]
            packed = layout.pack_rows(row), layout.pack_queries(query)
            summed = sum(product(a, b) for a, b in zip(*packed, strict=True))
            found = layout.scores(summed[None])[0]
            assert found.shape == (layout.queries, layout.rows)
            assert found[: len(query), : len(row)] == pytest.approx(query @ row.T)


@given(
    fields=st.lists(st.integers(1, 9), min_size=2, max_size=3),
    stride=st.sampled_from([1, 4, 16]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_every_field_has_inner_products_of_its_own(fields, stride, seed):
    layout = CrossLayout(tuple(fields), stride, 2, DEGREE // stride // 2)
    rng = np.random.default_rng(seed)
    rows, queries = (rng.normal(size=(count, sum(fields))) for count in (2, layout.queries))
    packed = layout.pack_rows(rows), layout.pack_queries(queries)
    products = np.stack([product(a, b) for a, b in zip(*packed, strict=True)])
    summed = np.stack([products[first:last].sum(axis=0) for first, last in layout.layout.field_columns])
    found = layout.scores(summed)
    ends = np.cumsum(fields)
    for field, (end, width) in enumerate(zip(ends, fields, strict=True)):
        part = slice(end - width, end)
        assert found[field] == pytest.approx(queries[:, part] @ rows[:, part].T)


def test_the_plan_needs_a_fraction_of_what_one_query_a_ciphertext_does():
    layout = crossing.plan(2000, 1000, 128, 4096)
    groups = -(-2000 // layout.rows), -(-1000 // layout.queries)
    assert layout.ring_degree == 4096
    assert sum(groups) * layout.columns < 4000  # 1,000 queries of 16 columns are 16,000
    assert groups[0] * groups[1] < 5000


@pytest.mark.parametrize("counts", [(1, 1), (1, 4096), (4096, 1), (30, 2)])
def test_the_plan_suits_small_sets(counts):
    layout = crossing.plan(*counts, 128, 4096)
    assert layout.ring_degree == 4096
    groups = -(-counts[0] // layout.rows) + -(-counts[1] // layout.queries)
    assert groups * layout.columns <= 4096
