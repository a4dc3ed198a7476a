"""SIFT of pictures in the clear: what an evaluator would compute, computed by OpenCV."""

from __future__ import annotations

from functools import cache

import cv2
import numpy as np
from skimage import data

from blindsight.trusted.imaging import sift

NAMES = ("camera", "astronaut", "coins")


@cache
def grey(name: str, size: int = 512) -> np.ndarray:
    """A bundled photo, uint8 [size, size]."""
    image = getattr(data, name)()
    if image.ndim == 3:
        image = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def pyramid(base: np.ndarray, plan: sift.OctavePlan) -> sift.Pyramid:
    """An octave by the plan's kernels, in double precision."""
    base = base.astype(np.float64)

    def applied(kernels):
        return plan.woven([_correlated(base, kernel) for kernel in kernels])

    return sift.Pyramid(
        np.stack([applied(plan.gaussian_kernels(level)) for level in range(plan.levels)]),
        np.stack([applied(plan.difference_kernels(level)) for level in range(plan.levels - 1)]),
    )


def _correlated(base, kernel):
    return cv2.filter2D(base, -1, kernel, borderType=cv2.BORDER_REFLECT_101)


def features(image: np.ndarray, noise: float = 0.0, **options) -> sift.Features:
    """Keypoints and descriptors of an image.

    Args:
        noise: standard deviation of independent errors in the evaluator's answers, in grey levels.
    """
    rng = np.random.default_rng(5)
    parts, base = [sift.Features.none()], image
    for plan in sift.octave_plans(*image.shape, **options):
        made = pyramid(base, plan)
        for images in (made.gaussians, made.differences):
            images[:] += rng.normal(0, noise, images.shape).astype(np.float32)
        parts.append(sift.features(made, plan))
        base = plan.next_base(made)
    return sift.Features.joined(parts)


@cache
def known(name: str) -> sift.Features:
    """Features of a bundled photo."""
    return features(grey(name))


def seen_from_aside(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A turned, smaller, tilted and brighter view, and the homography to it."""
    height, width = image.shape[:2]
    centre = np.array([[1, 0, -width / 2], [0, 1, -height / 2], [0, 0, 1]])
    cosine, sine = 0.8 * np.cos(0.4), 0.8 * np.sin(0.4)
    tilt = np.array([[cosine, -sine, 0], [sine, cosine, 0], [2e-4, 1e-4, 1]])
    homography = np.linalg.inv(centre) @ tilt @ centre
    view = cv2.warpPerspective(image, homography, (width, height))
    return np.clip(view * 1.1 + 5, 0, 255).astype(np.uint8), homography
