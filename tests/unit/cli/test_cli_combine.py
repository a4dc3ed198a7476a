"""How a result becomes a picture."""

import numpy as np
import pytest

from blindsight.cli.pixels import PixelRule, as_pixels

VALUES = np.array([[-300, -255, -1, 0, 1, 255, 256]])


@pytest.mark.parametrize(
    ("rule", "pixels", "clipped"),
    [
        (PixelRule.CLIP, [0, 0, 0, 0, 1, 255, 255], 4),
        (PixelRule.ABSOLUTE, [255, 255, 1, 0, 1, 255, 255], 2),
        (PixelRule.OFFSET, [0, 0, 127, 128, 128, 255, 255], 2),
    ],
)
def test_values_become_pixels_by_the_rule_and_those_that_did_not_fit_are_counted(rule, pixels, clipped):
    found, count = as_pixels(VALUES, rule)
    assert (found.tolist(), found.dtype, count) == ([pixels], np.uint8, clipped)


@pytest.mark.parametrize("rule", [PixelRule.ABSOLUTE, PixelRule.OFFSET])
def test_every_difference_of_two_pictures_fits_without_clipping(rule):
    assert as_pixels(np.arange(-255, 256), rule)[1] == 0
