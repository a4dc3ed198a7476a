"""Structuring elements, levels and packed counts against OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from blindsight.errors import InvalidArgument, InvalidCiphertext
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.imaging import filters, morphology
from blindsight.trusted.imaging.filters import Operation, Step
from blindsight.trusted.imaging.morphology import Element, Morphology, Packing, Shape, Threshold
from blindsight.trusted.imaging.quantising import Room
from services.keyholder.imaging.ring_engine import room

SHAPES = {Shape.SQUARE: cv2.MORPH_RECT, Shape.CROSS: cv2.MORPH_CROSS, Shape.DISC: cv2.MORPH_ELLIPSE}
COINS = data.coins()
ROOMS = [room(PARAMETER_SETS[name]) for name in ("bfv-4096", "ckks-4096")]


@pytest.mark.parametrize("size", range(1, 32, 2))
@pytest.mark.parametrize("shape", Shape)
def test_an_element_is_opencvs(shape, size):
    wanted = cv2.getStructuringElement(SHAPES[shape], (size, size))
    np.testing.assert_array_equal(Element(shape, size).mask, wanted)


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("size", [(7, 7), (7, 12), (30, 8)], ids=str)
def test_what_lies_inside_of_a_picture_is_counted_to_its_corners(shape, size):
    element = Element(shape, 7)
    ones = np.ones(size, np.uint8)
    wanted = cv2.filter2D(ones, cv2.CV_32F, element.mask, borderType=cv2.BORDER_CONSTANT)
    np.testing.assert_array_equal(element.inside(*size), wanted)


@settings(max_examples=60, deadline=None)
@given(
    shape=st.sampled_from(Shape),
    half=st.integers(0, 15),
    levels=st.integers(2, 256),
    where=st.sampled_from(ROOMS),
    seed=st.integers(0, 99),
)
def test_counts_of_all_levels_come_out_of_packed_numbers(shape, half, levels, where, seed):
    element = Element(shape, 2 * half + 1)
    packing = Packing.of(element, levels, where)
    ranked = np.random.default_rng(seed).integers(0, levels, element.mask.shape, np.uint8)
    covered = ranked[element.mask > 0]
    counted = []
    for group in range(packing.groups):
        numbers = packing.pack(covered, group)
        assert np.abs(numbers).max() < where.largest
        total = int(numbers.sum(dtype=np.int64)) + packing.kernel.offset
        assert abs(total) < where.largest
        counted += [int(counts[0]) for counts in packing.counts(np.array([total]), group)]
    assert counted == [int((covered >= level).sum()) for level in range(1, levels)]


def test_sixteen_levels_under_a_small_element_need_few_numbers():
    for where in ROOMS:
        assert Packing.of(Element(Shape.SQUARE, 3), 16, where).groups == 2
        assert Packing.of(Element(Shape.DISC, 5), 16, where).groups == 3
        assert Packing.of(Element(Shape.SQUARE, 31), 16, where).digits == 3


def test_numbers_stay_as_small_as_what_may_go_in():
    packing = Packing.of(Element(Shape.SQUARE, 3), 16, Room("bytes", 1 << 30))
    assert packing.digits == 3
    assert packing.pack(np.array([15], np.uint8), 0).max() == 111


def test_an_element_whose_counts_have_no_room_is_refused():
    for tight in (Room("toy", 4), Room("toy", 1 << 20, noise=0.1), Room("toy", 1 << 20, most_reach=0)):
        with pytest.raises(InvalidArgument) as refused:
            Packing.of(Element(Shape.SQUARE, 3), 2, tight)
        assert refused.value.message == "element of 9 pixels, whose counts have no room under toy"


@pytest.mark.parametrize("value", [-(1 << 31), (1 << 31) - 1, 1 << 29, -(1 << 29) - 1])
def test_counts_that_no_picture_has_are_refused(value):
    packing = Packing.of(Element(Shape.SQUARE, 3), 16, ROOMS[0])
    with pytest.raises(InvalidCiphertext):
        list(packing.counts(np.array([value]), 0))


@pytest.mark.parametrize("levels", [2, 3, 16, 100, 256])
def test_levels_are_even_from_black_to_white_and_a_pixel_takes_the_nearest(levels):
    greys = morphology.shades(levels).astype(int)
    assert (greys[0], greys[-1], len(greys)) == (0, 255, levels)
    assert np.ptp(np.diff(greys)) <= 1
    every = np.arange(256, dtype=np.uint8)
    taken = greys[morphology.ranks(every, levels)]
    np.testing.assert_array_equal(np.abs(taken - every), np.abs(greys[:, None] - every).min(axis=0))


@pytest.mark.parametrize("picture", ["coins", "camera", "page", "moon"])
def test_otsus_threshold_is_opencvs(picture):
    image = getattr(data, picture)()
    level, wanted = cv2.threshold(image, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    assert morphology.otsu(image) == level
    np.testing.assert_array_equal(morphology.binarised(image, int(level)), wanted)


def test_an_even_picture_has_a_threshold_too():
    assert morphology.otsu(np.full((3, 3), 7, np.uint8)) == 0


def planned(*texts):
    return filters.steps([Operation(text) for text in texts])


def test_a_list_is_cut_where_it_is_not_linear():
    smooth, binary, opened, sharp = planned("gaussian:5", "box:3", "threshold:90", "open:5:disc", "sharpen")
    assert isinstance(smooth, Step)
    assert smooth.reach == 3
    assert binary == Threshold(90)
    assert opened == Morphology("open", Element(Shape.DISC, 5), 2)
    assert isinstance(sharp, Step)


def test_a_binary_picture_has_two_levels_until_a_filter_makes_it_grey():
    made = planned("erode", "threshold", "erode", "gradient:3:cross:256", "box:3", "dilate:3:square:16")
    assert [one.levels for one in made if isinstance(one, Morphology)] == [256, 2, 2, 16]


REFUSED = {
    "erode:4": "erode of size 4, want an odd size of 1 to 31",
    "open:33:disc": "open of size 33, want an odd size of 1 to 31",
    "dilate:3:star": "element 'star', want one of square, cross, disc",
    "close:3:disc:1": "close levels of 1, want 2 to 256",
    "close:3:disc:257": "close levels of 257, want 2 to 256",
    "top-hat:x": "operation 'top-hat:x', want top-hat:SIZE, top-hat:SIZE:ELEMENT or ",
    "erode:3:disc:8:1": "operation 'erode:3:disc:8:1', want erode:SIZE, ",
    "threshold:255": "threshold of 255, want 0 to 254",
    "threshold:1.5": "operation 'threshold:1.5', want threshold:otsu or threshold:LEVEL",
}


@pytest.mark.parametrize("text", REFUSED)
def test_an_operation_that_there_is_not_is_refused_in_one_line(text):
    with pytest.raises(InvalidArgument) as refused:
        planned(text)
    assert refused.value.message.startswith(REFUSED[text])
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("before", ["sobel:x", "laplacian"])
@pytest.mark.parametrize("text", ["erode:3", "threshold:9"])
def test_negative_values_are_no_pixels(before, text):
    with pytest.raises(InvalidArgument) as refused:
        planned("gaussian:3", before, text)
    assert refused.value.message.startswith(f"operation '{text}' after a map of differences")
