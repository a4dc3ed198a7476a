"""Morphology through the three real services, against OpenCV."""

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import data
from support.photos import encoded

import blindsight
from blindsight.client import StoredPhoto
from blindsight.errors import InvalidArgument

SCHEMES = ["bfv", "ckks"]
KINDS = {
    "erode": cv2.MORPH_ERODE,
    "dilate": cv2.MORPH_DILATE,
    "open": cv2.MORPH_OPEN,
    "close": cv2.MORPH_CLOSE,
    "gradient": cv2.MORPH_GRADIENT,
    "top-hat": cv2.MORPH_TOPHAT,
    "black-hat": cv2.MORPH_BLACKHAT,
}
TRIPS = {"erode": 1, "dilate": 1, "gradient": 1, "open": 2, "close": 2, "top-hat": 2, "black-hat": 2}
SHAPES = {"square": cv2.MORPH_RECT, "cross": cv2.MORPH_CROSS, "disc": cv2.MORPH_ELLIPSE}
BORDERS = {
    None: {},
    "reflect": {"borderType": cv2.BORDER_REFLECT_101},
    "constant": {"borderType": cv2.BORDER_CONSTANT, "borderValue": 0},
    "replicate": {"borderType": cv2.BORDER_REPLICATE},
}
COINS = data.coins()[30:106, 40:123]
BINARY = cv2.threshold(COINS, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[1]
COLOUR = data.astronaut()[60:90, 200:231]


@pytest.fixture(scope="module")
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


def wanted(image, kind, shape="square", size=3, border=None):
    """OpenCV's, of the same element."""
    element = cv2.getStructuringElement(SHAPES[shape], (size, size))
    return cv2.morphologyEx(image, KINDS[kind], element, **BORDERS[border])


def reduced(image, levels):
    """A picture of evenly spaced levels."""
    step = 255 / (levels - 1)
    return np.rint(np.rint(image / step) * step).astype(np.uint8)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_binary_picture_it_is_opencvs(vault, kind, shape, scheme):
    answer = vault.filter(COINS, ["threshold:otsu", f"{kind}:5:{shape}"], scheme=scheme)
    np.testing.assert_array_equal(answer.values, wanted(BINARY, kind, shape, 5))
    account = answer.account
    assert (answer.kind, answer.levels, answer.error_bound) == ("pixels", 2, 0)
    # A binary picture of 76 x 83 is 2 x 2 tiles of one number.
    assert (account.round_trips, account.ciphertexts) == (TRIPS[kind], 4 * TRIPS[kind])


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("kind", KINDS)
def test_on_a_grey_picture_of_fewer_levels_it_is_opencvs_of_that_picture(vault, kind, scheme):
    answer = vault.filter(COINS, f"{kind}:3:disc:16", scheme=scheme)
    np.testing.assert_array_equal(answer.values, wanted(reduced(COINS, 16), kind, "disc"))
    account = answer.account
    assert (answer.levels, account.round_trips) == (16, TRIPS[kind])
    # Five pixels of a cross: 15 planes are digits of two numbers.
    assert account.ciphertexts == 4 * 2 * TRIPS[kind]
    assert account.remarks == (
        f"{kind}, disc of 3: 16 levels of grey (pixels brought to the nearest of 16), 2 numbers a pixel",
    )


@pytest.mark.parametrize("border", BORDERS, ids=str)
@pytest.mark.parametrize("kind", ["close", "black-hat", "gradient"])
def test_all_levels_are_exact_up_to_any_border(vault, kind, border):
    answer = vault.filter(COINS[:25, :40], f"{kind}:7:cross", border=border)
    np.testing.assert_array_equal(answer.values, wanted(COINS[:25, :40], kind, "cross", 7, border))
    assert answer.levels == 256


@pytest.mark.parametrize("shape", [(3, 3), (3, 70), (130, 5)], ids=str)
def test_a_picture_as_small_as_the_element_has_room(vault, shape):
    image = np.random.default_rng(3).integers(0, 256, shape, np.uint8)
    np.testing.assert_array_equal(vault.filter(image, "open:3").values, wanted(image, "open"))


def test_colours_are_taken_one_by_one(vault):
    answer = vault.filter(COLOUR, "dilate:3:cross:64")
    np.testing.assert_array_equal(answer.values, wanted(reduced(COLOUR, 64), "dilate", "cross"))


def test_filters_and_morphology_follow_each_other_in_several_round_trips(vault):
    answer = vault.filter(COINS, ["sobel", "threshold:60", "close:3", "box:3"])
    across, down = (cv2.Sobel(COINS.astype(float), -1, *which) for which in ((1, 0), (0, 1)))
    edges = np.where(np.rint(cv2.magnitude(across, down)) > 60, 255, 0).astype(np.uint8)
    smooth = cv2.blur(wanted(edges, "close").astype(float), (3, 3))
    assert np.abs(answer.values - smooth).max() <= 1
    assert answer.account.round_trips == 4


def test_a_large_picture_goes_in_several_calls_and_progress_is_of_all_of_them(vault):
    image = np.tile(data.coins()[:260, :260], (2, 2))
    told = []
    answer = vault.filter(image, "erode", scheme="ckks", progress=told.append)
    np.testing.assert_array_equal(answer.values, wanted(image, "erode"))
    assert answer.account.round_trips == 2
    assert {one.total for one in told} == {answer.account.ciphertexts}
    done = [one.done for one in told]
    assert done == sorted(done)
    assert done[-1] == answer.account.ciphertexts


def test_a_threshold_is_the_keyholders_alone_and_said_to_be(vault):
    answer = vault.filter(COINS, "threshold:otsu")
    np.testing.assert_array_equal(answer.values, BINARY)
    assert (answer.account.round_trips, answer.account.ciphertexts) == (0, 0)
    (remark,) = answer.account.remarks
    assert remark.endswith("(Otsu's), else 0, by the keyholder alone: nothing was sent for it")


def test_a_stored_photo_is_decrypted_for_it_and_that_is_said(vault):
    made = vault.create_collection("coins", scheme="bfv", embedder="pixels")
    report = made.ingest([("coins", encoded(Image.fromarray(COINS), "PNG"))], planes=True)
    photo = StoredPhoto("coins", report.items[0].id)
    answer = vault.filter(photo, "erode:3:square:2")
    np.testing.assert_array_equal(answer.values, wanted(reduced(COINS, 2), "erode"))
    assert answer.account.remarks[0] == (
        "erode counts in planes of levels, stored are planes of pixels: "
        "the keyholder decrypted them and encrypted planes of levels"
    )


REFUSED = {
    "too small": (
        COINS[:5],
        "erode:7",
        "picture of 83 x 5 pixels, too small for erode with an element of size 7, want at least 7 x 7",
    ),
    "an even size": (COINS, "open:4", "open of size 4, want an odd size of 1 to 31"),
    "no element": (COINS, "open:3:star", "element 'star', want one of square, cross, disc"),
    "otsu in colour": (
        COLOUR,
        "threshold:otsu",
        "Otsu's threshold of a picture in colour, want a grey one",
    ),
    "negative values": (COINS, ["sobel:x", "erode"], "operation 'erode' after a map of differences"),
    "degrees": (COINS, ["sobel:orientation", "erode"], "operations after an orientation"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(vault, name):
    image, operations, said = REFUSED[name]
    with pytest.raises(InvalidArgument) as refused:
        vault.filter(image, operations)
    assert refused.value.message.startswith(said)
