"""One vector of a photo's keypoints: it chooses the photos whose keypoints are worth a comparison.

A photo is then recognised by the keypoints themselves (`imaging.keypoints`).
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.errors import InvalidArgument
from blindsight.trusted.keyholder.imaging import keypoints, opencv
from blindsight.trusted.keyholder.imaging.keypoints import Keypoints
from blindsight.trusted.keyholder.imaging.sift.keypoints import DESCRIPTOR

Vector = npt.NDArray[np.float32]


class Sift:
    """The mean descriptor of a photo's strongest keypoints.

    Raises:
        InvalidArgument: when OpenCV is not installed; for another dimension.
    """

    name: ClassVar[str] = "sift"
    at_least: ClassVar[int] = keypoints.SIDE
    dimension = DESCRIPTOR

    def __init__(self, dimension: int | None = None) -> None:
        if dimension not in {None, self.dimension}:
            raise InvalidArgument(f"dimension of embedder 'sift': {dimension}, want {self.dimension}")
        opencv.require_installed()

    def embed(self, image: Image.Image) -> Vector:
        return self.vector(keypoints.find(image))

    def vector(self, found: Keypoints) -> Vector:
        """Of keypoints; the first unit vector where there are none."""
        # Square roots turn inner products into Hellinger's kernel (Arandjelovic and Zisserman, CVPR 2012).
        mean = np.sqrt(_shares(found)).sum(axis=0)
        # What all descriptors have in common would make all photos look alike.
        mean -= mean.mean()
        length = np.linalg.norm(mean)
        if not length > 0:
            return np.eye(1, self.dimension, dtype=np.float32)[0]
        return (mean / length).astype(np.float32)


def _shares(found: Keypoints) -> Vector:
    """Descriptors whose values add up to 1: [count, 128]."""
    descriptors = found.features.descriptors
    shares: Vector = descriptors / np.maximum(descriptors.sum(axis=1, keepdims=True), np.float32(1e-9))
    return shares
