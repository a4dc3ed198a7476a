"""Kernels of Paillier planes: how they are cut into passes, what they cost, and what grows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.additive import key

from blindsight.additive import AdditiveScheme, planes
from blindsight.additive.block import fresh_header
from blindsight.additive.planes import IDENTITY, PlaneShape
from blindsight.additive.powers import weighted_products
from blindsight.errors import InvalidArgument
from blindsight.packing.kernels import PlaneKernel

LARGE = PlaneShape(44, 40, 3)
WEIGHTS = st.integers(-300, 300)
LINES = st.lists(WEIGHTS, min_size=1, max_size=7).filter(any)


def kernel(matrix, offset=0):
    rows, columns = np.shape(matrix)
    middle = (rows - 1) // 2, (columns - 1) // 2
    return PlaneKernel(rows, columns, *middle, tuple(np.ravel(matrix).tolist()), offset)


def matrix(one):
    return np.array(one.weights).reshape(one.height, one.width)


@given(LINES, LINES, st.integers(-1000, 1000))
def test_two_passes_are_together_the_kernel(column, row, offset):
    whole = kernel(np.outer(column, row), offset)
    across, rest = LARGE.passes(whole)
    np.testing.assert_array_equal(np.kron(matrix(across), matrix(rest)), matrix(whole))
    assert (across.height, across.offset, rest.offset) == (1, 0, offset)
    if across != IDENTITY:
        assert (rest.width, across.anchor_column) == (1, whole.anchor_column)
        assert rest.anchor_row == whole.anchor_row


def test_a_kernel_goes_in_two_passes_only_where_that_is_less_work():
    wide = kernel(np.outer([1, 6, 15, 20, 15, 6, 1], [1, 6, 15, 20, 15, 6, 1]))
    assert LARGE.passes(wide)[0].weights == (1, 6, 15, 20, 15, 6, 1)
    assert LARGE.products(wide) < LARGE.results * weighted_products(wide.weights)
    # Of blocks that are hardly more than their halo, the first pass would be most of the work.
    assert PlaneShape(7, 7, 3).passes(wide) == (IDENTITY, wide)
    uneven = kernel([[1, 2], [2, 5]])
    assert LARGE.passes(uneven) == (IDENTITY, uneven)


def test_growth_counts_weights_and_the_offset_in_values():
    assert planes.growth(kernel([[1, -2]]), 8) == 3
    assert planes.growth(kernel([[1]], 256), 8) == planes.growth(kernel([[1]], -1), 8) == 2
    assert planes.growth(kernel([[1]], -257), 8) == 3
    assert planes.guard_bits([kernel([[1]])], 8) == 0
    assert planes.guard_bits([kernel([[1]]), kernel([[200, 56]])], 8) == 8
    assert planes.guard_bits([kernel([[200, 57]])], 8) == 9


def test_what_would_overflow_is_refused_with_the_bound():
    header = fresh_header(key(AdditiveScheme.PAILLIER).public_key, (1, 5000), 8, 4)
    assert planes.of_positions(header, 3, 16).growth == 16
    with pytest.raises(InvalidArgument, match="come to 17, want at most 16"):
        planes.of_positions(header, 3, 17)


@pytest.mark.parametrize("shape", [(4, 5, 2), (5, 4, 2), (1, 1, 1), (100, 100, 64), (513, 513, 0), (0, 1, 0)])
def test_a_shape_that_cannot_be_is_refused(shape):
    with pytest.raises(InvalidArgument):
        PlaneShape(*shape)
