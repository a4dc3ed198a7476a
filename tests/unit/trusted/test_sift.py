"""The keyholder's half of SIFT, against OpenCV's and against what a picture is known to hold."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import cKDTree
from support.scalespace import NAMES, features, grey, known, pyramid

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging import sift


def opencv(name):
    """Places [count, 2], scales, angles in radians and unit descriptors by OpenCV's SIFT."""
    keypoints, descriptors = cv2.SIFT_create().detectAndCompute(grey(name), None)
    places = np.array([one.pt for one in keypoints])
    scales = np.array([one.size / 2 for one in keypoints])
    angles = np.deg2rad([one.angle for one in keypoints])
    return places, scales, angles, descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def found_again(places, scales, other_places, other_scales):
    """Share of keypoints with another one within 2 pixels and a fifth of its scale."""
    near = cKDTree(other_places).query_ball_point(places, 2.0)
    alike = [np.abs(np.log(other_scales[of] / scale)) < 0.2 for of, scale in zip(near, scales, strict=True)]
    return np.mean([bool(one.any()) for one in alike])


@pytest.mark.parametrize("name", NAMES)
def test_keypoints_are_where_opencv_finds_them_and_of_its_scale(name):
    mine, (places, scales, _, _) = known(name), opencv(name)
    assert found_again(mine.places, mine.scales, places, scales) > 0.93
    assert found_again(places, scales, mine.places, mine.scales) > 0.93
    assert len(mine) == pytest.approx(len(places), rel=0.1)


@pytest.mark.parametrize("name", NAMES)
def test_directions_and_descriptors_are_those_of_opencv(name):
    mine, (places, scales, angles, descriptors) = known(name), opencv(name)
    likeness = []
    for place, scale, angle, descriptor in zip(
        mine.places, mine.scales, mine.angles, mine.descriptors, strict=True
    ):
        same = np.linalg.norm(places - place, axis=1) < 1
        same &= np.abs(np.log(scales / scale)) < 0.1
        same &= np.cos(angles - angle) > np.cos(0.1)
        likeness += [float((descriptors[same] @ descriptor).max())] if same.any() else []
    assert len(likeness) > 0.85 * len(mine)
    assert np.median(likeness) > 0.99
    assert np.quantile(likeness, 0.05) > 0.97


@pytest.mark.parametrize("name", NAMES)
def test_errors_of_a_hundredth_of_a_grey_level_leave_nine_keypoints_of_ten(name):
    exact, noisy = known(name), features(grey(name), noise=0.01)
    assert found_again(exact.places, exact.scales, noisy.places, noisy.scales) > 0.9
    assert found_again(noisy.places, noisy.scales, exact.places, exact.scales) > 0.88


@pytest.mark.parametrize("level", range(6))
def test_kernels_of_the_first_octave_double_and_blur_in_one(level):
    image = grey("camera", 96).astype(np.float64)
    (plan, *_) = sift.octave_plans(*image.shape)
    sigma = plan.sigmas[level]
    doubled = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    wanted = gaussian_filter(doubled, sigma, mode="mirror", radius=int(np.ceil(3 * sigma)))
    got = pyramid(image, plan).gaussians[level]
    # OpenCV repeats the last pixel where it doubles.
    inner = np.s_[24:-24, 24:-24]
    assert np.abs(got[inner] - wanted[inner]).max() < 0.01


@pytest.mark.parametrize("doubled", [True, False])
def test_kernels_of_every_octave_blur_to_the_scales_of_the_paper(doubled):
    for plan in sift.octave_plans(130, 130, octaves=2, doubled=doubled):
        impulse = np.zeros((plan.height // plan.phases, plan.width // plan.phases))
        impulse[len(impulse) // 2, len(impulse) // 2] = 1
        base = gaussian_filter(impulse, plan.base_blur / plan.phases)
        for level, image in enumerate(pyramid(base, plan).gaussians):
            at = np.arange(image.shape[0])
            profile = image.sum(axis=0) / image.sum()
            blur = np.sqrt(profile @ at**2 - (profile @ at) ** 2)
            interpolated = 0.75 if plan.phases == 2 else 0.0
            wanted = np.sqrt((1.6 * 2 ** (level / 3)) ** 2 + interpolated)
            # What is cut off at three deviations is missing.
            assert blur == pytest.approx(wanted, rel=0.03)


def test_kernels_keep_brightness_and_differences_have_none():
    for plan in sift.octave_plans(64, 64):
        for level in range(plan.levels):
            assert plan.gaussian_kernels(level).sum(axis=(1, 2)) == pytest.approx(1.0, abs=1e-12)
        for level in range(plan.levels - 1):
            assert plan.difference_kernels(level).sum(axis=(1, 2)) == pytest.approx(0.0, abs=1e-12)


def test_one_gaussian_and_all_differences_say_everything():
    for plan in sift.octave_plans(64, 80, octaves=2):
        made = pyramid(grey("coins", 96)[: plan.height // plan.phases, : plan.width // plan.phases], plan)
        again = sift.Pyramid.from_differences(made.gaussians[0], list(made.differences))
        assert np.abs(again.gaussians - made.gaussians).max() < 1e-3
        assert np.array_equal(again.differences, made.differences)


def test_octaves_shrink_by_two_until_a_side_is_short():
    plans = sift.octave_plans(100, 300)
    assert [(plan.index, plan.height, plan.width) for plan in plans] == [
        (-1, 200, 600),
        (0, 100, 300),
        (1, 50, 150),
        (2, 25, 75),
    ]
    assert [plan.first_is_base for plan in plans] == [False, True, True, True]
    for plan, after in pairwise(plans):
        images = np.zeros((plan.levels, plan.height, plan.width), np.float32)
        assert plan.next_base(sift.Pyramid(images, images[1:])).shape == (after.height, after.width)


def test_octaves_and_scales_are_chosen():
    plans = sift.octave_plans(512, 512, octaves=2, scales=5, doubled=False)
    assert [(plan.index, plan.levels) for plan in plans] == [(0, 8), (1, 8)]
    few, many = (features(grey("camera", 128), octaves=1, scales=scales) for scales in (2, 5))
    assert 0 < len(few) < len(many)
    assert set(many.octaves) == {-1}


@pytest.mark.parametrize("options", [{"octaves": 0}, {"scales": 1}, {"scales": 6}])
def test_octaves_and_scales_that_cannot_be_are_refused(options):
    with pytest.raises(InvalidArgument, match=r"0 octaves|(1|6) scales"):
        sift.octave_plans(64, 64, **options)


@pytest.mark.parametrize(("contrast", "edge"), [(-0.1, 10), (2, 10), (float("nan"), 10), (0.04, 0.5)])
def test_thresholds_that_cannot_be_are_refused(contrast, edge):
    with pytest.raises(InvalidArgument, match="threshold"):
        sift.Detection(contrast, edge)


@pytest.mark.parametrize("blur", [3.0, 6.0, 11.0])
def test_a_blob_is_one_keypoint_in_its_middle_and_of_its_size(blur):
    x, y = 101.3, 88.7
    columns, rows = np.meshgrid(np.arange(200), np.arange(180))
    blob = 200 * np.exp(-(np.square(columns - x) + np.square(rows - y)) / (2 * blur**2))
    found = features(blob)
    assert len(found) >= 1
    assert np.abs(found.places - [x, y]).max() < 0.15
    # A difference of two Gaussians stands for the scale between them.
    assert found.scales * 2 ** (1 / 6) == pytest.approx(blur, rel=0.1)


def test_directions_turn_with_the_picture():
    image = grey("camera", 256)
    upright, turned = features(image), features(np.ascontiguousarray(np.rot90(image)))
    # A quarter turn to the left brings (x, y) to (y, 255 - x).
    moved = np.column_stack([upright.places[:, 1], 255 - upright.places[:, 0]])
    distance, nearest = cKDTree(turned.places).query(moved)
    near = distance < 0.5
    assert near.mean() > 0.7
    by = upright.angles[near] - turned.angles[nearest[near]]
    assert np.mean(np.cos(by - np.pi / 2) > 0.95) > 0.7


def test_descriptors_are_unit_vectors_without_a_dominant_number():
    descriptors = known("camera").descriptors
    assert descriptors.dtype == np.float32
    assert np.linalg.norm(descriptors, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert descriptors.min() >= 0
    assert descriptors.max() < 0.5  # 0.2, and longer once the vector is a unit vector again


@pytest.mark.parametrize("shape", [(1, 1), (7, 200), (8, 8), (16, 16), (200, 9), (300, 300)])
def test_an_image_that_is_small_or_flat_has_no_keypoints(shape):
    found = features(np.full(shape, 130, np.uint8))
    assert len(found) == 0
    assert found.descriptors.shape == (0, 128)


def test_small_and_narrow_images_have_keypoints_inside():
    rng = np.random.default_rng(3)
    for shape in [(8, 8), (9, 100), (31, 17)]:
        found = features(rng.integers(0, 256, shape, np.uint8))
        assert np.isfinite(found.descriptors).all()
        assert (found.places >= 0).all()
        assert (found.places < shape[::-1]).all()


def test_the_strongest_come_first():
    found = known("camera")
    best = found.strongest(50)
    assert len(best) == 50
    assert (np.diff(best.responses) <= 0).all()
    assert best.responses[-1] == np.sort(found.responses)[-50]
    assert len(found.strongest(10**6)) == len(found)


def test_more_contrast_is_asked_for_and_fewer_are_found():
    (plan, *_) = sift.octave_plans(*grey("camera").shape)
    made = pyramid(grey("camera"), plan)
    counts = [len(sift.features(made, plan, sift.Detection(contrast))) for contrast in (0.02, 0.04, 0.1)]
    assert counts[0] > counts[1] > counts[2] > 0
    strict = sift.features(made, plan, sift.Detection(edge=2.0))
    assert 0 < len(strict) < counts[1]
