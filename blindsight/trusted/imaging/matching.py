"""Matching of the keypoints of two images: nearest descriptors, Lowe's ratio test, one homography.

`match` takes the two nearest descriptors however they were found: by `nearest_by_flann`, `nearest_of_all`,
or from encrypted scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging import opencv
from blindsight.trusted.imaging.sift import Features

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

RATIO = 0.75
# Fewer than four points do not determine a homography.
LEAST_MATCHES = 4
# Largest error of an inlier, in pixels of the second image.
TOLERANCE = 3.0

_SEED = 20_04
_FLANN_KDTREE = 1
_TREES, _CHECKS = 5, 128
_ITERATIONS, _CONFIDENCE = 5_000, 0.999


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The two nearest descriptors of a gallery, nearest first, for each query.

    Attributes:
        indices: [queries, 2]; -1 if the gallery has fewer than two.
        distances: [queries, 2], Euclidean; infinite if the gallery has fewer than two.
    """

    indices: Indices
    distances: Floats

    @classmethod
    def nothing(cls, queries: int) -> Nearest:
        """Returns the result for an empty gallery."""
        return cls(np.full((queries, 2), -1), np.full((queries, 2), np.inf))

    @classmethod
    def from_scores(cls, scores: npt.NDArray[np.floating[Any]]) -> Nearest:
        """Selects the nearest by inner products of unit vectors, [queries, gallery]."""
        queries, gallery = scores.shape
        found = cls.nothing(queries)
        kept = min(gallery, 2)
        if not queries or not kept:
            return found
        best = np.argpartition(-scores, kept - 1, axis=1)[:, :kept]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
        found.indices[:, :kept] = np.take_along_axis(best, order, axis=1)
        chosen = np.take_along_axis(scores, found.indices[:, :kept], axis=1)
        found.distances[:, :kept] = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * chosen))
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Keypoints of two images that look the same.

    Attributes:
        pairs: [count, 2], indices into the features of the first and of the second image, best first.
        distances: [count], distances of their descriptors.
        inliers: [count], whether one homography explains the pair.
        homography: [3, 3] from the first image's pixels to the second's; None if there is none.
    """

    pairs: Indices
    distances: Floats
    inliers: npt.NDArray[np.bool_]
    homography: Floats | None

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def inlier_count(self) -> int:
        """The number of pairs that the homography explains."""
        return int(np.count_nonzero(self.inliers))

    @property
    def verified(self) -> bool:
        """Whether there are too many inliers for chance (Brown and Lowe, IJCV 74(1), 2007, section 3.2)."""
        return self.inlier_count > 5.9 + 0.22 * len(self)


def nearest_by_flann(queries: npt.NDArray[np.float32], gallery: npt.NDArray[np.float32]) -> Nearest:
    """Finds the two nearest descriptors by FLANN's randomised trees: approximate, but the same in every run.

    Args:
        queries, gallery: [count, dimension].

    Raises:
        InvalidArgument: if OpenCV is not installed.
    """
    cv2 = opencv.load()
    found, kept = _nothing_yet(queries, gallery)
    if not kept:
        return found
    cv2.setRNGSeed(_SEED)
    matcher = cv2.FlannBasedMatcher({"algorithm": _FLANN_KDTREE, "trees": _TREES}, {"checks": _CHECKS})
    for row, best in enumerate(matcher.knnMatch(queries, gallery, kept)):
        for place, one in enumerate(best):
            found.indices[row, place], found.distances[row, place] = one.trainIdx, one.distance
    return found


def nearest_of_all(queries: npt.NDArray[np.float32], gallery: npt.NDArray[np.float32]) -> Nearest:
    """Finds the two nearest descriptors by comparing all pairs: exact, and for 500 thrice as fast as FLANN.

    This is not a matrix product, because BLAS would use all cores in every worker process.

    Args:
        queries, gallery: [count, dimension].

    Raises:
        InvalidArgument: if OpenCV is not installed.
    """
    cv2 = opencv.load()
    found, kept = _nothing_yet(queries, gallery)
    if not kept:
        return found
    distances, indices = cv2.batchDistance(queries, gallery, cv2.CV_32F, normType=cv2.NORM_L2, K=kept)
    found.indices[:, :kept], found.distances[:, :kept] = indices, distances
    return found


def _nothing_yet(queries: npt.NDArray[np.float32], gallery: npt.NDArray[np.float32]) -> tuple[Nearest, int]:
    """Returns an empty result to fill, and the number of neighbours of each query: 0 to 2."""
    return Nearest.nothing(len(queries)), min(len(gallery), 2) if len(queries) else 0


def match(first: Features, second: Features, nearest: Nearest, ratio: float = RATIO) -> Matches:
    """Returns matches that pass the ratio test, and which of them one homography explains.

    Too few keypoints or matches are not an error: there are then no matches or no inliers.

    Args:
        nearest: the second image's nearest descriptors, for each of the first's.
        ratio: bound on the nearest distance divided by the second nearest, above 0, at most 1.

    Raises:
        InvalidArgument: if the ratio is out of range, or OpenCV is not installed.
    """
    pairs, distances = _unambiguous(nearest, ratio)
    order = np.argsort(distances, kind="stable")
    pairs, distances = pairs[order], distances[order]
    chosen = _one_each(first.places[pairs[:, 0]]) & _one_each(second.places[pairs[:, 1]])
    pairs, distances = pairs[chosen], distances[chosen]
    homography, inliers = _consensus(first.places[pairs[:, 0]], second.places[pairs[:, 1]])
    return Matches(pairs, distances, inliers, homography)


def _unambiguous(nearest: Nearest, ratio: float) -> tuple[Indices, Floats]:
    """Applies Lowe's ratio test (IJCV 2004, section 7.1); a gallery of one descriptor gives no matches."""
    if not 0 < ratio <= 1:
        raise InvalidArgument(f"ratio {ratio:g}, want more than 0 and at most 1")
    best, second = nearest.distances.T
    passing = np.flatnonzero((nearest.indices[:, 1] >= 0) & (best < ratio * second))
    return np.column_stack([passing, nearest.indices[passing, 0]]), best[passing]


def _one_each(places: Floats) -> npt.NDArray[np.bool_]:
    """Returns which points are the first at their position: [count, 2] -> [count].

    A keypoint with two orientations occurs twice, and several keypoints may match the same one.
    """
    first = np.zeros(len(places), np.bool_)
    if len(places):
        first[np.unique(places, axis=0, return_index=True)[1]] = True
    return first


def _consensus(first: Floats, second: Floats) -> tuple[Floats | None, npt.NDArray[np.bool_]]:
    """Fits a homography by RANSAC; returns it and the pairs that it explains."""
    nobody = np.zeros(len(first), np.bool_)
    cv2 = opencv.load()
    if len(first) < LEAST_MATCHES:
        return None, nobody
    cv2.setRNGSeed(_SEED)
    homography, mask = cv2.findHomography(
        first, second, cv2.RANSAC, TOLERANCE, maxIters=_ITERATIONS, confidence=_CONFIDENCE
    )
    if homography is None or not _is_view(homography, first):
        return None, nobody
    return homography, mask[:, 0].astype(np.bool_)


def _is_view(homography: Floats, places: Floats) -> bool:
    """Returns whether a homography may be another view of a plane: not mirrored, not behind the camera."""
    if not np.isfinite(homography).all():
        return False
    depths = places @ homography[2, :2] + homography[2, 2]
    return bool(np.linalg.det(homography) * np.median(depths) > 0)
