"""Pictures of keypoints and matches: what must be seen is seen, where it must be."""

import numpy as np
import pytest
from skimage import data
from support.scalespace import features, grey, known, seen_from_aside

from blindsight.trusted.imaging import matching
from blindsight.trusted.imaging.drawing import draw_keypoints, draw_matches
from blindsight.trusted.imaging.sift import Features


def matched(first, second):
    return matching.match(first, second, matching.nearest_by_flann(first.descriptors, second.descriptors))


def coloured(image):
    """Where a picture of grey ones is not grey: [height, width]."""
    return np.ptp(np.asarray(image).astype(int), axis=2) > 60


def test_an_inlier_has_a_dot_of_one_colour_at_both_ends():
    view, _ = seen_from_aside(grey("camera"))
    first, second = known("camera"), features(view)
    found = matched(first, second)
    seen = np.asarray(draw_matches(grey("camera"), view, (first, second), found)).astype(int)
    scale = 1000 / 512
    for one, other in found.pairs[found.inliers][:40]:
        (x, y), (u, v) = first.places[one] * scale, second.places[other] * scale
        left, right = seen[round(y), round(x)], seen[round(v), round(u) + 1000 + 16]
        assert np.ptp(left) > 60
        assert np.abs(left - right).max() < 90  # where dots lie over each other, neighbours' colours


def test_pictures_of_any_size_and_colour_stand_side_by_side():
    colour, flat = data.coffee()[:200, :320], grey("coins")
    nothing = Features.none()
    image = draw_matches(colour, flat, (nothing, nothing), matched(nothing, nothing))
    scale = 1000 / 512
    assert image.width == round(320 * scale) + 16 + 1000
    assert 1000 < image.height < 1100
    assert coloured(image)[:, : round(320 * scale)].mean() > 0.2
    assert not coloured(image)[:, -1000:].any()


def test_the_first_picture_is_outlined_in_the_second():
    view, homography = seen_from_aside(grey("coins"))
    first, second = known("coins"), features(view)
    image = draw_matches(grey("coins"), view, (first, second), matched(first, second))
    middle = homography @ [255.5, 0, 1]  # of the upper edge
    x, y = middle[:2] / middle[2] * 1000 / 512
    around = np.asarray(image)[round(y) - 4 : round(y) + 5, round(x) + 1016 - 4 : round(x) + 1016 + 5]
    assert (around.min(axis=2) > 240).any()


@pytest.mark.parametrize("count", [0, 1, 200])
def test_keypoints_are_circles_around_their_places(count):
    found = known("camera").strongest(count)
    drawn = coloured(draw_keypoints(grey("camera"), found))
    assert drawn.any() == bool(count)
    for place, scale in zip(found.places * 1000 / 512, found.scales * 1000 / 512, strict=True):
        turns = np.linspace(0, 2 * np.pi, 60)
        rim = np.rint(place + max(2 * scale, 2) * np.column_stack([np.cos(turns), np.sin(turns)]))
        inside = rim[((rim >= 0) & (rim < 1000)).all(axis=1)].astype(int)
        assert drawn[inside[:, 1], inside[:, 0]].mean() > 0.5
