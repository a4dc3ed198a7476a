"""Subpixel refinement of extrema, and rejection of weak ones and of edges (Lowe, section 4)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blindsight.trusted.imaging.sift.extrema import BORDER
from blindsight.trusted.imaging.sift.keypoints import Floats, Indices, Points
from blindsight.trusted.imaging.sift.plan import FIRST_BLUR, Images

# An extremum that has not settled after this many moves to a neighbour is dropped.
MOVES = 5


def refine(differences: Images, at: Indices, contrast: float, edge: float) -> Points:
    """Fits a quadratic to each extremum, moves it to the quadratic's peak, and drops weak ones and edges.

    Args:
        differences: [scales + 2, height, width].
        at: [count, 3], level, row and column.
        contrast: smallest magnitude of the fitted peak, in grey levels.
        edge: the largest ratio of the two principal curvatures.
    """
    settled, offsets, values, curvatures = _settle(differences, at)
    scales = len(differences) - 2
    kept = (np.abs(values) >= contrast) & _round(curvatures, edge)
    settled, offsets, values = settled[kept], offsets[kept], values[kept]
    # Neighbouring extrema may have moved to the same place.
    _, first = np.unique(settled, axis=0, return_index=True)
    settled, offsets, values = settled[first], offsets[first], values[first]
    exact = settled + offsets
    return Points(
        levels=settled[:, 0],
        places=exact[:, :0:-1],
        scales=FIRST_BLUR * 2 ** (exact[:, 0] / scales),
        responses=np.abs(values),
        angles=np.zeros(len(settled)),
    )


def _settle(differences: Images, at: Indices) -> tuple[Indices, Floats, Floats, Floats]:
    """Moves each extremum until the peak of its quadratic is within half a step.

    Returns:
        places [count, 3], offsets from them [count, 3], values there [count], and second derivatives in
        the image [count, 2, 2].
    """
    done: list[tuple[Indices, Floats, Floats, Floats]] = []
    for _ in range(MOVES):
        gradient, hessian = _derivatives(differences, at)
        offset, solved = _peaks(gradient, hessian)
        near = solved & (np.abs(offset) < 0.5).all(axis=1)
        values = differences[tuple(at[near].T)] + 0.5 * (gradient[near] * offset[near]).sum(axis=1)
        done.append((at[near], offset[near], values, hessian[near, 1:, 1:]))
        # An offset larger than the image leads outside it, wherever it starts.
        moving = solved & ~near & (np.abs(offset) < max(differences.shape)).all(axis=1)
        at = at[moving] + np.rint(offset[moving]).astype(np.intp)
        at = at[_inside(at, differences.shape)]
    places, offsets, peaks, curvatures = (np.concatenate(parts) for parts in zip(*done, strict=True))
    return places, offsets, peaks, curvatures


def _inside(at: Indices, shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    rim = np.array([1, BORDER, BORDER])
    inside: npt.NDArray[np.bool_] = ((at >= rim) & (at < np.array(shape) - rim)).all(axis=1)
    return inside


def _derivatives(differences: Images, at: Indices) -> tuple[Floats, Floats]:
    """Returns first [count, 3] and second [count, 3, 3] derivatives in scale, y and x, from 26 neighbours."""
    level, row, column = at.T

    def value(*step: int) -> Floats:
        values: Floats = differences[level + step[0], row + step[1], column + step[2]].astype(np.float64)
        return values

    gradient, hessian = np.empty((len(at), 3)), np.empty((len(at), 3, 3))
    steps = np.eye(3, dtype=int)
    here = value(0, 0, 0)
    for first in range(3):
        ahead, behind = value(*steps[first]), value(*-steps[first])
        gradient[:, first] = (ahead - behind) / 2
        hessian[:, first, first] = ahead + behind - 2 * here
        for second in range(first):
            both, across = steps[first] + steps[second], steps[first] - steps[second]
            mixed = (value(*both) + value(*-both) - value(*across) - value(*-across)) / 4
            hessian[:, first, second] = hessian[:, second, first] = mixed
    return gradient, hessian


def _peaks(gradient: Floats, hessian: Floats) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Returns the offset of each quadratic's peak [count, 3], and whether it has one."""
    solved = np.abs(np.linalg.det(hessian)) > np.finfo(np.float64).tiny
    offset = np.zeros_like(gradient)
    offset[solved] = -np.linalg.solve(hessian[solved], gradient[solved, :, None])[:, :, 0]
    return offset, solved


def _round(curvatures: Floats, edge: float) -> npt.NDArray[np.bool_]:
    """Returns whether peaks are not edges: trace^2 / det of second derivatives [count, 2, 2] is small."""
    trace = curvatures[:, 0, 0] + curvatures[:, 1, 1]
    determinant = curvatures[:, 0, 0] * curvatures[:, 1, 1] - curvatures[:, 0, 1] ** 2
    return np.square(trace) * edge < (edge + 1) ** 2 * determinant
