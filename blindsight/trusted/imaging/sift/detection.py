"""Detection and description of an octave's keypoints."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging.sift.description import describe
from blindsight.trusted.imaging.sift.extrema import extrema
from blindsight.trusted.imaging.sift.keypoints import Features, Points
from blindsight.trusted.imaging.sift.orientation import oriented
from blindsight.trusted.imaging.sift.plan import Images, OctavePlan, Pyramid
from blindsight.trusted.imaging.sift.refinement import refine
from blindsight.trusted.imaging.sift.sampling import Gradients

# Keypoints that are described at a time, which takes some 20 MB.
_BATCH = 256


# With this every edge is a keypoint; the square of a much larger one is no number.
MOST_EDGE = 1e6


@dataclass(frozen=True, slots=True)
class Detection:
    """Thresholds by which extrema are keypoints.

    Attributes:
        contrast: part of 255 grey levels, divided among an octave's scales as OpenCV's contrastThreshold.
        edge: largest ratio of the two principal curvatures.

    Raises:
        InvalidArgument: if a threshold is out of range.
    """

    contrast: float = 0.04
    edge: float = 10.0

    def __post_init__(self) -> None:
        if not 0 <= self.contrast <= 1:
            raise InvalidArgument(f"contrast threshold {self.contrast:g}, want 0 to 1")
        if not 1 <= self.edge <= MOST_EDGE:
            raise InvalidArgument(f"edge threshold {self.edge:g}, want 1 to {MOST_EDGE:g}")


def features(pyramid: Pyramid, plan: OctavePlan, detection: Detection | None = None) -> Features:
    """Returns the keypoints of an octave, in the image's pixels."""
    points = _points(pyramid.differences, plan, detection or Detection())
    parts = [Features.none()]
    for level in range(1, plan.scales + 1):
        chosen = points.take(points.levels == level)
        if len(chosen):
            parts += _described(chosen, pyramid.gaussians[level], plan)
    return Features.joined(parts)


def _points(differences: Images, plan: OctavePlan, detection: Detection) -> Points:
    least = 255 * detection.contrast / plan.scales
    # A peak between pixels is higher than at the nearest pixel, but hardly twice as high.
    return refine(differences, extrema(differences, least / 2), least, detection.edge)


def _described(points: Points, image: Images, plan: OctavePlan) -> Iterator[Features]:
    """Describes the points of one level, a batch at a time."""
    gradients = Gradients(image)
    factor = 2.0**plan.index
    for start in range(0, len(points), _BATCH):
        turned = oriented(points.take(slice(start, start + _BATCH)), gradients)
        yield Features(
            places=turned.places * factor + plan.offset,
            scales=turned.scales * factor,
            angles=turned.angles,
            responses=turned.responses,
            octaves=np.full(len(turned), plan.index, np.intp),
            descriptors=describe(turned, gradients),
        )
