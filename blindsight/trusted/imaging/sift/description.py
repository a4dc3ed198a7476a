"""SIFT descriptors: 4 x 4 histograms of 8 gradient directions around a keypoint (Lowe, section 6)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from blindsight.trusted.imaging.sift.keypoints import Floats, Points
from blindsight.trusted.imaging.sift.sampling import Gradients, Samples

CELLS = 4
DIRECTIONS = 8
# Largest entry of a unit vector before it is normalised again: light from the side makes single ones large.
CLAMP = 0.2
# A cell's side in units of the keypoint's scale, as in OpenCV.
_CELL = 3.0
_SAMPLES_PER_CELL = 4


def _square() -> tuple[Floats, npt.NDArray[np.float32]]:
    """Builds samples, to half a cell beyond the square on every side, and the weight of each in each cell.

    Returns:
        [samples, 2] in units of the scale, and [CELLS * CELLS, samples], trilinear interpolation's part
        in space times a Gaussian window of half the square.
    """
    count = (CELLS + 1) * _SAMPLES_PER_CELL
    steps = (np.arange(count) + 0.5) / _SAMPLES_PER_CELL - (CELLS + 1) / 2
    centres = np.arange(CELLS) - (CELLS - 1) / 2
    shares = np.maximum(0.0, 1.0 - np.abs(steps - centres[:, None]))
    shares *= np.exp(-np.square(steps) / (CELLS**2 / 2))
    weights = np.einsum("ay,bx->abyx", shares, shares).reshape(CELLS * CELLS, -1)
    grid = _CELL * np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    return grid, weights.astype(np.float32)


_GRID, _WEIGHTS = _square()


def describe(points: Points, gradients: Gradients) -> npt.NDArray[np.float32]:
    """Returns descriptors [count, 128] of length 1, ordered [row][column][direction] as in OpenCV."""
    lengths, directions = gradients.around(points, _GRID)
    # Directions are counted the other way round, as if y pointed up.
    turns = (points.angles[:, None].astype(np.float32) - directions) / np.float32(2 * math.pi)
    histograms = np.matmul(_WEIGHTS, _votes(turns, lengths)).reshape(len(points), -1)
    clamped = np.minimum(_unit(histograms), CLAMP)
    return _unit(clamped)


def _votes(turns: Samples, lengths: Samples) -> Samples:
    """Splits each gradient between the two nearest directions: [count, samples, DIRECTIONS]."""
    position = (turns % 1.0) * DIRECTIONS
    below = np.floor(position)
    share = position - below
    first = below.astype(np.intp) % DIRECTIONS
    votes = np.zeros((*turns.shape, DIRECTIONS), np.float32)
    np.put_along_axis(votes, first[..., None], (lengths * (1 - share))[..., None], axis=-1)
    np.put_along_axis(votes, (first[..., None] + 1) % DIRECTIONS, (lengths * share)[..., None], axis=-1)
    return votes


def _unit(rows: Samples) -> Samples:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: Samples = rows / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
