"""Kernels of scale spaces, to the last digit: both zones must make the same ones, on any machine."""

import hashlib
import math

import numpy as np
import pytest

from blindsight.packing.scale_space import TRUNCATE, ScaleImage

IMAGES = [ScaleImage(1.6, bits=20), ScaleImage(2.0159, 1.6, 22), ScaleImage(3.0932, 2.4548, 24)]


def direct(sigma, phases):
    """The same by its definition: of samples of a Gaussian on the doubled grid, in numpy."""
    radius = math.ceil(TRUNCATE * sigma)
    at = np.arange(-radius, radius + 1)
    gaussian = np.exp(-0.5 * (at / sigma) ** 2)
    gaussian /= gaussian.sum()
    if phases == 1:
        return np.outer(gaussian, gaussian)[None]
    reach = (radius + 3) // 2
    rows = np.zeros((2, 2 * reach + 1))
    for phase in range(2):
        for offset in range(-reach, reach + 1):
            for tap, weight in zip(range(-1, 3), (0.25, 0.75, 0.75, 0.25), strict=True):
                place = 2 * offset + tap - phase  # from the pixel to the sample that the tap fills
                if abs(place) <= radius:
                    rows[phase, reach + offset] += weight * gaussian[radius + place]
    rows /= rows.sum(axis=1, keepdims=True)
    return np.array([np.outer(a, b) for a in rows for b in rows])


@pytest.mark.parametrize("phases", [1, 2])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.6, 2.0159, 7.7, 20.0])
def test_kernels_are_gaussians_of_the_wanted_width(sigma, phases):
    np.testing.assert_allclose(ScaleImage(sigma).kernels(phases), direct(sigma, phases), rtol=0, atol=1e-15)


def test_no_blur_is_the_picture_as_it_is_or_its_interpolation():
    np.testing.assert_array_equal(ScaleImage(0).kernels(1), [[[1]]])
    assert ScaleImage(0).kernels(2).sum(axis=(1, 2)).tolist() == [1.0] * 4


def test_weights_are_these_on_every_machine():
    made = [kernel.weights for image in IMAGES for phases in (1, 2) for kernel in image.plane_kernels(phases)]
    digest = hashlib.sha256(repr(made).encode()).hexdigest()
    assert digest == "42e15e704abba340dc9aad0397dae84ca34844d22f52281e05fd3de478753ad8"
