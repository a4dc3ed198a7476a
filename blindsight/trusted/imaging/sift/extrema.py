"""Extrema of differences of Gaussians: the largest or smallest of 27 in space and scale (Lowe, section 3)."""

from __future__ import annotations

import numpy as np

from blindsight.trusted.imaging.sift.keypoints import Indices
from blindsight.trusted.imaging.sift.plan import Images

# Width in pixels of the border in which no extrema are searched.
BORDER = 5


def extrema(differences: Images, threshold: float) -> Indices:
    """Finds extrema: [count, 3], level, row and column.

    Args:
        differences: [scales + 2, height, width].
        threshold: in grey levels; smaller magnitudes are ignored.
    """
    found = [
        _of_level(differences[level - 1 : level + 2], threshold) for level in range(1, len(differences) - 1)
    ]
    return np.concatenate([np.insert(at, 0, level, axis=1) for level, at in enumerate(found, 1)])


def _of_level(three: Images, threshold: float) -> Indices:
    """Finds the extrema of the middle one of three differences: [count, 2], row and column."""
    height, width = three.shape[1:]
    if min(height, width) <= 2 * BORDER:
        return np.zeros((0, 2), np.intp)
    rows, columns = (slice(BORDER, size - BORDER) for size in (height, width))
    middle = three[1, rows, columns]
    # One pixel more on every side, for the neighbours of the outermost.
    around = three[:, BORDER - 1 : height - BORDER + 1, BORDER - 1 : width - BORDER + 1]
    high = (middle > threshold) & (middle >= _largest(around))
    low = (middle < -threshold) & (middle <= -_largest(-around))
    return np.argwhere(high | low) + BORDER


def _largest(around: Images) -> Images:
    """Returns the maximum of each 3 x 3 x 3 neighbourhood: [3, height + 2, width + 2] -> [height, width]."""
    best: Images = around.max(axis=0)
    best = np.maximum(np.maximum(best[:-2], best[1:-1]), best[2:])
    return np.maximum(np.maximum(best[:, :-2], best[:, 1:-1]), best[:, 2:])
