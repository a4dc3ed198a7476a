"""Named filters against OpenCV, scipy and scikit-image; kernels of integers against kernels of reals."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage
from skimage import data

from blindsight.errors import InvalidArgument
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.imaging import filters, finishing
from blindsight.trusted.imaging.borders import Border, pad
from blindsight.trusted.imaging.filters import OPERATIONS, USAGE, Operation, Reading
from blindsight.trusted.imaging.linear import LinearMap
from blindsight.trusted.imaging.quantising import Room, quantise
from services.keyholder.imaging.ring_engine import room

CAMERA = data.camera()[:120, :90]
REALS = CAMERA.astype(np.float64)
BORDERS = {
    Border.REFLECT: cv2.BORDER_REFLECT_101,
    Border.CONSTANT: cv2.BORDER_CONSTANT,
    Border.REPLICATE: cv2.BORDER_REPLICATE,
}


def applied(one, image, border=Border.REFLECT):
    """A map over a padded picture, by its definition."""
    padded = pad(image.astype(np.float64), one.reach, border)
    height, width = image.shape
    result = np.full(image.shape, one.offset)
    for (row, column), weight in np.ndenumerate(one.weights):
        down, right = one.reach + row - one.anchor[0], one.reach + column - one.anchor[1]
        result += weight * padded[down : down + height, right : right + width]
    return result


def maps(*texts):
    (step,) = filters.steps([Operation(text) for text in texts])
    return step.maps


def derivative(x, y, size=3):
    return lambda image, border: cv2.Sobel(image, -1, x, y, ksize=size, borderType=border)


BLURRED = cv2.getGaussianKernel(7, 2.5)
ORACLES = {
    "box:1": lambda image, border: image,
    "box:7": lambda image, border: cv2.blur(image, (7, 7), borderType=border),
    "box:31": lambda image, border: cv2.blur(image, (31, 31), borderType=border),
    **{
        f"gaussian:{size}": lambda image, border, size=size: cv2.GaussianBlur(
            image, (size, size), 0, borderType=border
        )
        for size in (1, 3, 5, 7, 9, 11, 21, 31)
    },
    "gaussian:7:2.5": lambda image, border: cv2.sepFilter2D(image, -1, BLURRED, BLURRED, borderType=border),
    "unsharp:5:1.5": lambda image, border: (
        2.5 * image - 1.5 * cv2.GaussianBlur(image, (5, 5), 0, borderType=border)
    ),
    "sobel:x": derivative(1, 0),
    "sobel:y": derivative(0, 1),
    "scharr:x": derivative(1, 0, cv2.FILTER_SCHARR),
    "scharr:y": derivative(0, 1, cv2.FILTER_SCHARR),
    "laplacian": lambda image, border: cv2.Laplacian(image, -1, ksize=1, borderType=border),
    "brightness:-20": lambda image, border: image - 20,
    "contrast:1.5": lambda image, border: (image - 127.5) * 1.5 + 127.5,
}


@pytest.mark.parametrize("border", Border)
@pytest.mark.parametrize("text", ORACLES)
def test_a_filter_is_opencvs(text, border):
    (one,) = maps(text)
    wanted = ORACLES[text](REALS, BORDERS[border])
    np.testing.assert_allclose(applied(one, CAMERA, border), wanted, rtol=0, atol=1e-9)


def test_prewitt_is_scipys_and_roberts_the_one_of_the_books():
    for name, axis in (("prewitt:x", 1), ("prewitt:y", 0)):
        wanted = ndimage.prewitt(REALS, axis, mode="mirror")
        np.testing.assert_allclose(applied(*maps(name), CAMERA), wanted, atol=1e-9)
    first, second = (applied(*maps(name), CAMERA)[:-1, :-1] for name in ("roberts:x", "roberts:y"))
    np.testing.assert_array_equal(first, REALS[:-1, :-1] - REALS[1:, 1:])
    np.testing.assert_array_equal(second, REALS[:-1, 1:] - REALS[1:, :-1])


def test_sharpen_and_emboss_leave_an_even_picture_as_it_is():
    even = np.full((9, 9), 77)
    for name in ("sharpen", "emboss"):
        np.testing.assert_allclose(applied(*maps(name), even), even)
        assert not np.allclose(applied(*maps(name), CAMERA), CAMERA)


def test_linear_operations_in_a_row_are_one_map_that_does_the_same():
    (one,) = maps("gaussian:5", "brightness:12", "sobel:x", "contrast:2", "roberts:y")
    wanted = pad(REALS, one.reach, Border.REPLICATE)
    for text in ("gaussian:5", "brightness:12", "sobel:x", "contrast:2", "roberts:y"):
        wanted = applied(*maps(text), wanted)
    inside = slice(one.reach, -one.reach)
    np.testing.assert_allclose(applied(one, CAMERA, Border.REPLICATE), wanted[inside, inside], atol=1e-9)


def test_a_gradient_ends_a_step_and_starts_with_what_came_before():
    first, second = filters.steps(
        [Operation(text) for text in ("gaussian:5", "sobel", "box:3", "sharpen", "scharr:orientation")]
    )
    assert [step.reading for step in (first, second)] == [Reading.MAGNITUDE, Reading.ORIENTATION]
    assert [len(step.maps) for step in (first, second)] == [2, 2]
    assert [step.reach for step in (first, second)] == [3, 3]


SOME = Operation("custom", np.ones((3, 3)))
REFUSED = {
    "nothing": ([], "0 operations, want 1 to 16"),
    "too many": ([Operation("sharpen")] * 17, "17 operations, want 1 to 16"),
    "unknown": (
        [Operation("blur:3")],
        (
            "operation 'blur', want one of box, gaussian, sharpen, unsharp, emboss, roberts, prewitt, sobel, "
            "scharr, laplacian, brightness, contrast, threshold, erode, dilate, open, close, gradient, "
            "top-hat, black-hat, custom"
        ),
    ),
    "an even box": ([Operation("box:4")], "box of size 4, want an odd size of 1 to 31"),
    "an even gaussian": ([Operation("gaussian:6")], "gaussian of size 6, want an odd size of 1 to 31"),
    "too large": ([Operation("gaussian:33")], "gaussian of size 33, want an odd size of 1 to 31"),
    "a negative size": ([Operation("box:-3")], "box of size -3, want an odd size of 1 to 31"),
    "a text without end": (
        [Operation("box:" + "3" * 1000)],
        "operation of 1004 characters, want at most 64",
    ),
    "no number": ([Operation("box:x")], "operation 'box:x', want box:SIZE"),
    "too much": ([Operation("sharpen:1")], "operation 'sharpen:1', want sharpen"),
    "too little": ([Operation("brightness")], "operation 'brightness', want brightness:LEVELS"),
    "no sigma": ([Operation("gaussian:5:0")], "gaussian sigma of 0, want 0.1 to 100"),
    "no number of levels": ([Operation("brightness:nan")], "brightness of nan, want -255 to 255"),
    "no contrast": ([Operation("contrast:0")], "contrast of 0, want 0.0625 to 16"),
    "no direction": (
        [Operation("sobel:z")],
        "operation 'sobel:z', want sobel:magnitude (or alone), :orientation, :x or :y",
    ),
    "no kernel": ([Operation("custom")], "operation custom without its kernel, want the numbers of one"),
    "a kernel too many": (
        [Operation("box:3", np.ones((3, 3)))],
        "operation 'box' with a kernel, want one with custom only",
    ),
    "an even kernel": (
        [Operation("custom", np.ones((3, 4)))],
        "kernel of 3 x 4, want odd numbers of rows and columns, at most 31",
    ),
    "a large kernel": (
        [Operation("custom", np.ones((33, 1)))],
        "kernel of 33 x 1, want odd numbers of rows and columns, at most 31",
    ),
    "zeros": ([Operation("custom", np.zeros((3, 3)))], "kernel of zeros, want at least one non-zero weight"),
    "no numbers": (
        [Operation("custom", np.full((3, 3), np.inf))],
        "kernel with a number that is not finite, want finite ones",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_bad_operation_is_refused_in_one_line_that_says_what_is_wanted(name):
    operations, said = REFUSED[name]
    with pytest.raises(InvalidArgument) as refused:
        filters.steps(operations)
    assert refused.value.message == said


def test_every_operation_has_a_usage():
    assert set(USAGE) == set(OPERATIONS)
    assert {filters.family([Operation(name)]) for name in OPERATIONS} == set(OPERATIONS)
    assert filters.family([SOME]) == "custom"
    assert filters.family([SOME, SOME]) == "list"


weights = arrays.arrays(
    np.float64,
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda half: (2 * half[0] + 1, 2 * half[1] + 1)),
    elements=st.floats(-1, 1, width=32),
).filter(lambda drawn: np.abs(drawn).sum() > 0.01)


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=lambda one: one.name)
@settings(max_examples=60, deadline=None)
@given(matrix=weights, offset=st.floats(-300, 300), seed=st.integers(0, 9))
def test_integers_keep_to_their_bound_and_to_the_room(parameters, matrix, offset, seed):
    one, space = LinearMap.centred(matrix, offset), room(parameters)
    made = quantise([one], space)
    (kernel,) = made.kernels
    assert kernel.gain * 255 + abs(kernel.offset) < space.largest
    assert kernel.norm <= space.most_norm
    # Pictures that are as bad as they can be for this kernel, and one that is none of them.
    signs = np.where(matrix - np.array(kernel.weights).reshape(matrix.shape) / made.scale > 0, 255, 0)
    for image in (signs, 255 - signs, np.random.default_rng(seed).integers(0, 256, matrix.shape)):
        exact = (matrix * image).sum() + offset
        found = (np.dot(kernel.weights, image.ravel()) + kernel.offset) / made.scale
        assert abs(exact - found) <= made.error_bound + 1e-9


@pytest.mark.parametrize("text", ["box:31", "gaussian:31", "gaussian:11", "unsharp:31:5", "box:3"])
def test_an_even_picture_keeps_its_brightness_to_the_last_digit(text):
    for parameters in PARAMETER_SETS.values():
        made = quantise(maps(text), room(parameters))
        assert sum(made.kernels[0].weights) == made.scale
        assert made.error_bound < 0.4


def test_kernels_that_would_overflow_are_refused_with_the_bound():
    space = room(PARAMETER_SETS["bfv-4096"])
    with pytest.raises(InvalidArgument) as refused:
        quantise([LinearMap.centred(np.full((3, 3), 1e6))], space)
    assert refused.value.message == (
        "the kernel would overflow: magnitudes of its weights sum to 9e+06 (offset 0), want at most 2105376 "
        "under bfv-4096, where results stay below 536870912"
    )


def test_kernels_whose_small_weights_would_be_lost_are_refused_with_the_error():
    matrix = np.full((5, 5), 0.4)
    matrix[2, 2] = 2e6
    with pytest.raises(
        InvalidArgument, match=r"off by up to .* grey levels under bfv-4096, want less than 0\.5"
    ):
        quantise([LinearMap.centred(matrix)], room(PARAMETER_SETS["bfv-4096"]))


@pytest.mark.parametrize("scale", [1, 3, 1 << 20])
def test_results_are_divided_exactly_enough_however_large_they_are(scale):
    values = np.array([[[0, 1, -255, 2**29 + 1, -(2**29) - 1]]], np.int32)
    found = finishing.scaled(values, scale)
    np.testing.assert_allclose(found, values / scale, rtol=0, atol=0.01)
    assert found.dtype == (np.float64 if scale < 2**13 else np.float32)


@pytest.mark.parametrize("border", Border)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (2, 3), (4, 4), (40, 3)])
def test_a_border_is_opencvs_however_small_the_picture(shape, border):
    image = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    wanted = cv2.copyMakeBorder(image, 15, 15, 15, 15, BORDERS[border])
    np.testing.assert_array_equal(pad(image, 15, border), wanted)


def test_results_are_rounded_clipped_and_turned_as_opencv_does_it():
    across, down = (
        np.random.default_rng(seed).normal(0, 90, (1, 50, 60)).astype(np.float32) for seed in (1, 2)
    )
    across[0, 0, :3], down[0, 0, :3] = 0, (0, 0.2, -7)
    length, degrees = cv2.cartToPolar(across[0], down[0], angleInDegrees=True)
    found = finishing.magnitude(across, down)
    np.testing.assert_array_equal(found.values[0], np.clip(np.rint(length), 0, 255))
    assert found.clipped == np.count_nonzero(np.rint(length) > 255)
    turned = finishing.direction(across, down).values[0]
    assert turned[0, :3].tolist() == [-1, -1, 270]
    apart = np.abs(turned - degrees)[1:]
    assert np.minimum(apart, 360 - apart).max() <= 1
    np.testing.assert_array_equal(finishing.signed(across).values, np.rint(across))
    assert finishing.pixels(np.array([[[-3.0, 0.4, 255.5, 300.0]]], np.float32)).values.tolist() == [
        [[0, 0, 255, 255]]
    ]


# --- where every bit costs time --------------------------------------------------------------------

SPARING = Room("paillier", 1 << 30, enough=0.1)
EXACT = {
    "box:5": (25, 25),
    "gaussian:5": (256, 256),
    "sharpen": (1, 9),
    "sobel:x": (1, 8),
    "unsharp:5:1": (256, 476 + 220),
    "contrast:1.2": (10, 12),
    "gaussian:3 box:3": (144, 144),
}


@pytest.mark.parametrize("names", EXACT)
def test_weights_that_are_fractions_of_one_number_are_as_small_as_they_can_be(names):
    made = quantise(maps(*names.split()), SPARING)
    scale, gain = EXACT[names]
    assert (made.scale, made.kernels[0].gain) == (scale, gain)
    assert made.error_bound < 1e-9


@settings(max_examples=60, deadline=None)
@given(matrix=weights, offset=st.floats(-300, 300))
def test_other_weights_are_no_finer_than_good_enough(matrix, offset):
    one = LinearMap.centred(matrix, offset)
    made, finest = quantise([one], SPARING), quantise([one], Room("any", 1 << 30))
    assert made.error_bound <= 0.1
    assert made.scale <= finest.scale


def test_where_there_is_no_room_for_good_enough_weights_are_as_fine_as_they_can_be():
    uneven = LinearMap.centred([[10.0, 1e-3, 1 / 3]])
    tight = Room("tight", 1 << 22, enough=1e-6)
    made = quantise([uneven], tight)
    assert made.scale == quantise([uneven], Room("tight", 1 << 22)).scale
    assert 1e-6 < made.error_bound < 0.5
