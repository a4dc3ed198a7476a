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
    layout = CrossLayout(dimension, stride, rows, DEGREE // stride // rows)
    rng = np.random.default_rng(seed)
    gallery, queries = (rng.normal(size=(count, dimension)) for count in counts)
    first = layout.pack_rows(gallery).reshape(-1, layout.columns, DEGREE)
    second = layout.pack_queries(queries).reshape(-1, layout.columns, DEGREE)
    got = np.zeros((len(second) * layout.queries, len(first) * layout.rows))
    for q, query in enumerate(second):
        for r, row in enumerate(first):
            summed = sum(product(a, b) for a, b in zip(row, query, strict=True))
            place = np.s_[
                q * layout.queries : (q + 1) * layout.queries, r * layout.rows : (r + 1) * layout.rows
            ]
            got[place] = layout.scores(summed[None])[0]
    assert got[: counts[1], : counts[0]] == pytest.approx(queries @ gallery.T)


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
