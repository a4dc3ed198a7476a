"""The check of filters under Paillier: a random combination of the results of each block, known only here.

A result is an exact integer, for each kernel the same sum over the pixels around it in every block.  So for
secret random words rho_i of the positions of results, modulo 2^64 and for every block,

    sum over i of rho_i r_i  ==  sum over j of t_j x_j + offset (sum over i of rho_i),

where x are the pixels that were encrypted and t is rho under the transposed kernel, one array for all blocks.
A right result and a wrong one, both of 32 bits, differ by a number with at most 31 factors of two, so a block
with a wrong result passes with probability 2^-33 at most, and with 2^-64 if it is wrong by one or by any odd
number (Freivalds, 1977, over the ring of words).  Ciphertexts are compared by what they decrypt to: what else
they could hold is never looked at.
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt

from blindsight.additive.planes import PlaneShape
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import Integers

Words = npt.NDArray[np.uint64]


def passes(shape: PlaneShape, kernel: PlaneKernel, blocks: Integers, results: Integers) -> bool:
    """Returns whether results are those of a kernel.

    Args:
        shape: the positions of a block.
        blocks: pixels [height, width, blocks] with their halo.
        results: int32 [inner height, inner width, blocks].
    """
    inner = shape.inner_height, shape.inner_width
    weights = np.frombuffer(os.urandom(8 * shape.results), np.uint64).reshape(inner)
    found = _weighted(weights, results)
    wanted = _weighted(_transposed(shape, kernel, weights), blocks)
    wanted += _word(kernel.offset) * weights.sum(keepdims=True)[0]  # of scalars, numpy reports what wraps
    return bool((found == wanted).all())


def _weighted(weights: Words, values: Integers) -> Words:
    """Returns the sum over rows and columns of weights times values, modulo 2^64: uint64 [blocks]."""
    total = np.zeros(values.shape[2], np.uint64)
    for row, line in zip(weights, values, strict=True):  # one row at a time: as words they are larger
        total += row @ line.astype(np.uint64)
    return total


def _transposed(shape: PlaneShape, kernel: PlaneKernel, weights: Words) -> Words:
    """Returns how often each pixel is in the weighted sum of all results: uint64 [height, width]."""
    total = np.zeros((shape.height, shape.width), np.uint64)
    top, left = shape.halo - kernel.anchor_row, shape.halo - kernel.anchor_column
    for index, weight in enumerate(kernel.weights):
        row, column = divmod(index, kernel.width)
        within = total[top + row :, left + column :][: shape.inner_height, : shape.inner_width]
        within += _word(weight) * weights
    return total


def _word(value: int) -> np.uint64:
    return np.uint64(value % (1 << 64))
