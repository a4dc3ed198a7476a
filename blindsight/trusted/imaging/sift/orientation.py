"""Orientations of keypoints, from the gradients around them (Lowe, section 5)."""

from __future__ import annotations

import math

import numpy as np

from blindsight.trusted.imaging.sift.keypoints import Floats, Points
from blindsight.trusted.imaging.sift.sampling import Gradients

BINS = 36
# A direction of at least this part of the strongest one makes another keypoint.
SECOND_PEAK = 0.8
# In units of the keypoint's scale.
_WINDOW = 1.5
_SPACING = 0.5
_SMOOTHING = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def _disc() -> tuple[Floats, Floats]:
    """Builds samples up to three windows away, [samples, 2], and their weights [samples]."""
    steps = np.arange(-3 * _WINDOW, 3 * _WINDOW + _SPACING, _SPACING)
    grid = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    squares = np.square(grid).sum(axis=1)
    near = squares <= (3 * _WINDOW) ** 2
    return grid[near], np.exp(-squares[near] / (2 * _WINDOW**2))


_GRID, _WEIGHTS = _disc()


def oriented(points: Points, gradients: Gradients) -> Points:
    """Returns the points with their angles; a point with several directions occurs once for each."""
    histograms = _histograms(points, gradients)
    before, after = np.roll(histograms, 1, axis=1), np.roll(histograms, -1, axis=1)
    strongest = histograms.max(axis=1, keepdims=True)
    peaks = (histograms > before) & (histograms > after) & (histograms >= SECOND_PEAK * strongest)
    which, bins = np.nonzero(peaks)
    left, middle, right = before[peaks], histograms[peaks], after[peaks]
    # The vertex of the parabola through three bins.
    exact = bins + 0.5 * (left - right) / (left - 2 * middle + right)
    turned = points.take(which)
    turned.angles[:] = (exact % BINS) * (2 * math.pi / BINS)
    return turned


def _histograms(points: Points, gradients: Gradients) -> Floats:
    """Counts directions, weighted by length and nearness, in smoothed histograms: [count, BINS]."""
    lengths, directions = gradients.around(points, _GRID)
    bins = np.rint(directions * (BINS / (2 * math.pi))).astype(np.intp) % BINS
    bins += BINS * np.arange(len(points))[:, None]
    counted = np.bincount(bins.ravel(), (lengths * _WEIGHTS).ravel(), BINS * len(points))
    raw = counted.reshape(len(points), BINS)
    return sum(
        (weight * np.roll(raw, shift, axis=1) for shift, weight in enumerate(_SMOOTHING, -2)),
        start=np.zeros_like(raw),
    )
