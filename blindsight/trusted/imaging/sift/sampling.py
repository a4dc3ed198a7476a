"""Gradients of a blurred image, sampled on grids that are rotated and scaled with keypoints."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blindsight.trusted.imaging.sift.keypoints import Floats, Points
from blindsight.trusted.imaging.sift.plan import Images

Samples = npt.NDArray[np.float32]


class Gradients:
    """Central differences of one image.

    A blurred image is smooth, so samples a fraction of its blur apart suffice; between pixels they are
    interpolated.  This is cheaper than counting every pixel of a large keypoint.
    """

    def __init__(self, image: Images) -> None:
        self._shape = image.shape
        field = np.zeros((*image.shape, 2), np.float32)
        field[:, 1:-1, 0] = image[:, 2:] - image[:, :-2]
        field[1:-1, :, 1] = image[2:] - image[:-2]
        self._field = field.reshape(-1, 2)

    def around(self, points: Points, grid: Floats) -> tuple[Samples, Samples]:
        """Returns length and direction of gradients around each point: [count, samples] twice.

        Args:
            points: points of this image's level.
            grid: [samples, 2], x and y in units of a point's scale, to be rotated by its angle.

        Returns:
            lengths, 0 outside the image, and radians from the image's x axis towards its y axis.
        """
        cosine, sine = np.cos(points.angles)[:, None], np.sin(points.angles)[:, None]
        along, across = points.scales[:, None] * grid[:, 0], points.scales[:, None] * grid[:, 1]
        x = points.places[:, :1] + along * cosine - across * sine
        y = points.places[:, 1:] + along * sine + across * cosine
        vectors = self._at(x, y)
        return np.hypot(vectors[..., 0], vectors[..., 1]), np.arctan2(vectors[..., 1], vectors[..., 0])

    def _at(self, x: Floats, y: Floats) -> Samples:
        """Interpolates gradients from four pixels: [...] -> [..., 2]."""
        height, width = self._shape
        # At the border there are no central differences.
        inside = (x >= 1) & (x <= width - 2) & (y >= 1) & (y <= height - 2)
        left = np.clip(x, 0, width - 2).astype(np.intp)
        top = np.clip(y, 0, height - 2).astype(np.intp)
        right_share = (x - left).astype(np.float32)[..., None]
        lower_share = (y - top).astype(np.float32)[..., None]
        corner = top * width + left
        upper = self._field[corner] * (1 - right_share) + self._field[corner + 1] * right_share
        corner += width
        lower = self._field[corner] * (1 - right_share) + self._field[corner + 1] * right_share
        blended: Samples = upper * (1 - lower_share) + lower * lower_share
        blended[~inside] = 0
        return blended
