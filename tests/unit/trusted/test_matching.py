"""Matches of keypoints, against brute force and against homographies that are known."""

import sys

import cv2
import numpy as np
import pytest
from scipy.spatial.distance import cdist
from support.scalespace import NAMES, features, grey, known, seen_from_aside

from blindsight.errors import InvalidArgument, MissingPackage
from blindsight.trusted.imaging import matching
from blindsight.trusted.imaging.sift import Features

RNG = np.random.default_rng(17)


def matched(first, second, ratio=matching.RATIO):
    nearest = matching.nearest_by_flann(first.descriptors, second.descriptors)
    return matching.match(first, second, nearest, ratio)


def brute_force(queries, gallery):
    """Indices and distances of the two nearest, [queries, 2] each."""
    distances = cdist(queries, gallery)
    order = np.argsort(distances, axis=1)[:, :2]
    return order, np.take_along_axis(distances, order, axis=1)


def unit_vectors(count, dimension=128):
    vectors = np.abs(RNG.normal(size=(count, dimension))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


FINDERS = {
    "scores": lambda queries, gallery: matching.Nearest.from_scores(queries @ gallery.T),
    "all": matching.nearest_of_all,
    "flann": matching.nearest_by_flann,
}


@pytest.mark.parametrize("find", ["scores", "all"])
@pytest.mark.parametrize("counts", [(1, 2), (7, 3), (40, 200), (200, 40)])
def test_the_two_nearest_of_all_are_those_of_brute_force(find, counts):
    queries, gallery = map(unit_vectors, counts)
    found = FINDERS[find](queries, gallery)
    indices, distances = brute_force(queries, gallery)
    assert np.array_equal(found.indices, indices)
    assert found.distances == pytest.approx(distances, abs=1e-3)


@pytest.mark.parametrize("find", FINDERS)
@pytest.mark.parametrize("counts", [(0, 0), (0, 5), (5, 0), (3, 1)])
def test_what_a_small_gallery_has_no_more_of_is_infinitely_far(find, counts):
    queries, gallery = map(unit_vectors, counts)
    found = FINDERS[find](queries, gallery)
    assert found.indices.shape == found.distances.shape == (counts[0], 2)
    assert (found.indices[:, min(counts[1], 2) :] == -1).all()
    assert np.isinf(found.distances[:, min(counts[1], 2) :]).all()
    assert np.isfinite(found.distances[:, : min(counts[1], 2)]).all()


def test_flann_finds_nearly_all_of_what_brute_force_finds():
    queries, gallery = known("camera").descriptors, features(seen_from_aside(grey("camera"))[0]).descriptors
    found = matching.nearest_by_flann(queries, gallery)
    indices, distances = brute_force(queries, gallery)
    clear = distances[:, 0] < matching.RATIO * distances[:, 1]
    assert clear.sum() > 100
    assert np.mean(found.indices[clear, 0] == indices[clear, 0]) > 0.98


@pytest.mark.parametrize("name", NAMES)
def test_inliers_of_another_view_are_where_its_homography_puts_them(name):
    view, homography = seen_from_aside(grey(name))
    first, second = known(name), features(view)
    found = matched(first, second)
    places = first.places[found.pairs[found.inliers, 0]]
    wanted = cv2.perspectiveTransform(places[None], homography)[0]
    off = np.linalg.norm(wanted - second.places[found.pairs[found.inliers, 1]], axis=1)
    assert found.inlier_count > 0.3 * min(len(first), len(second))
    assert found.inlier_count > 0.9 * len(found)
    assert found.verified
    assert np.mean(off < 3) > 0.98
    corners = np.array([[[0.0, 0], [511, 0], [511, 511], [0, 511]]])
    seen = cv2.perspectiveTransform(corners, found.homography)
    assert np.abs(seen - cv2.perspectiveTransform(corners, homography)).max() < 2


def test_unrelated_photos_agree_on_next_to_nothing():
    for name, other in [("camera", "astronaut"), ("astronaut", "coins"), ("coins", "camera")]:
        found = matched(known(name), known(other))
        assert found.inlier_count < 8
        assert not found.verified


def test_matches_are_the_same_in_every_run_and_best_first():
    first, second = known("coins"), features(seen_from_aside(grey("coins"))[0])
    one, other = matched(first, second), matched(first, second)
    assert np.array_equal(one.pairs, other.pairs)
    assert np.array_equal(one.inliers, other.inliers)
    assert (np.diff(one.distances) >= 0).all()


def test_every_place_is_matched_once():
    found = known("astronaut")
    pairs = matched(found, found, ratio=1.0).pairs
    assert len(pairs) > 100
    for column in (0, 1):
        assert len(np.unique(found.places[pairs[:, column]], axis=0)) == len(pairs)


def test_a_stricter_ratio_leaves_fewer_matches():
    first, second = known("camera"), features(seen_from_aside(grey("camera"))[0])
    strict, lax = matched(first, second, 0.5), matched(first, second, 0.9)
    assert 0 < len(strict) < len(lax)


@pytest.mark.parametrize("ratio", [0.0, -1.0, 1.01, float("nan")])
def test_a_ratio_that_cannot_be_is_refused(ratio):
    with pytest.raises(InvalidArgument, match="want more than 0 and at most 1"):
        matched(known("camera"), known("camera"), ratio)


@pytest.mark.parametrize("counts", [(0, 0), (0, 50), (50, 0), (1, 1), (50, 1), (3, 3)])
def test_too_few_keypoints_are_no_inliers_and_no_error(counts):
    first, second = (known("camera").strongest(count) for count in counts)
    found = matched(first, second)
    assert found.inlier_count == 0
    assert found.homography is None
    assert len(found) <= min(counts)
    assert found.inliers.shape == (len(found),)


def test_matches_in_one_line_or_in_a_mirror_are_no_view():
    places = known("camera").places[:40]
    descriptors = unit_vectors(40)
    for moved in (places * [1, 0], places * [-1, 1] + [511, 0]):
        first, second = (
            Features(at, *(np.ones(40),) * 3, np.zeros(40, np.intp), descriptors) for at in (places, moved)
        )
        found = matched(first, second)
        assert found.inlier_count == 0
        assert found.homography is None


def test_without_opencv_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(MissingPackage, match=r"pip install 'blindsight-vault-trusted\[imaging\]'"):
        matched(known("camera"), known("camera"))
