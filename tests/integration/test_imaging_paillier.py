"""Filters under Paillier through the three real services: equal to sums of integers, and to OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from support.photos import encoded
from support.services import Services

import blindsight
from blindsight.client import StoredPhoto
from blindsight.errors import InvalidArgument, ResourceExhausted

GREY = data.camera()[100:124, 150:170]
COLOUR = data.astronaut()[40:64, 150:170]
UNDER = {"scheme": "paillier", "key_bits": 2048}
BORDERS = {
    "reflect": cv2.BORDER_REFLECT_101,
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
}


@pytest.fixture(scope="module")
def vault(tmp_path_factory):
    # Six minutes: what takes longer is refused.
    limited = {"keyholder": {"combine_seconds": "360"}}
    running = Services(tmp_path_factory.mktemp("services"), settings=limited)
    try:
        with blindsight.connect(running.start().address()) as connected:
            yield connected
    finally:
        running.stop()


def derivative(image, x, y):
    return cv2.Sobel(image, -1, x, y, ksize=3)


ORACLES = {
    "box:5": lambda image: cv2.blur(image, (5, 5)),
    "gaussian:5": lambda image: cv2.GaussianBlur(image, (5, 5), 0),
    "gaussian:9": lambda image: cv2.GaussianBlur(image, (9, 9), 0),
    "sobel:x": lambda image: derivative(image, 1, 0),
    "sobel": lambda image: cv2.magnitude(derivative(image, 1, 0), derivative(image, 0, 1)),
    "laplacian": lambda image: cv2.Laplacian(image, -1, ksize=1),
    "emboss": lambda image: cv2.filter2D(image, -1, np.array([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])),
    "brightness:-40": lambda image: image - 40,
    "contrast:1.7": lambda image: (image - 127.5) * 1.7 + 127.5,
}


def wanted(answer, image, oracle):
    """What an oracle makes of every channel, rounded as the answer is."""
    planes = [oracle(plane.astype(np.float64)) for plane in np.atleast_3d(image).transpose(2, 0, 1)]
    expected = np.rint(np.stack(planes, axis=-1).reshape(image.shape))
    return np.clip(expected, 0, 255) if answer.kind == "pixels" else expected


@pytest.mark.parametrize("operation", ORACLES)
def test_a_filter_whose_weights_are_fractions_of_one_number_is_exact(vault, operation):
    answer = vault.filter(GREY, operation, **UNDER)
    np.testing.assert_array_equal(answer.values, wanted(answer, GREY, ORACLES[operation]))
    assert answer.error_bound < 1e-9
    account = answer.account
    assert (account.scheme, account.parameter_set, account.key_bits) == ("paillier", "", 2048)
    assert account.sent_bytes > 512 * account.ciphertexts
    assert min(account.encrypt_busy_seconds, account.compute_busy_seconds, account.decrypt_busy_seconds) > 0


def test_a_picture_in_colour_has_its_channels_in_the_same_ciphertexts(vault):
    answer = vault.filter(COLOUR, "gaussian:5", **UNDER)
    np.testing.assert_array_equal(answer.values, wanted(answer, COLOUR, ORACLES["gaussian:5"]))
    assert answer.account.results < COLOUR.size / 100


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    half=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    shape=st.tuples(st.integers(1, 24), st.integers(1, 20)),
    border=st.sampled_from(sorted(BORDERS)),
    seed=st.integers(0, 99),
)
def test_any_kernel_of_integers_is_a_sum_of_integers(vault, half, shape, border, seed):
    random = np.random.default_rng(seed)
    image = random.choice(np.array([0, 1, 254, 255], np.uint8), shape)
    kernel = random.integers(-9, 10, (2 * half[0] + 1, 2 * half[1] + 1))
    kernel[half] -= kernel.sum()  # a map, which is not clipped
    kernel[half] += 0 if kernel.any() else 1
    answer = vault.filter(image, [kernel], border=border, **UNDER)
    expected = cv2.filter2D(image.astype(np.float64), -1, kernel.astype(float), borderType=BORDERS[border])
    clipped = np.clip(expected, 0, 255) if answer.kind == "pixels" else expected
    np.testing.assert_array_equal(answer.values, clipped)
    assert answer.error_bound == 0


def test_real_weights_are_rounded_to_within_a_tenth_of_a_grey_level(vault):
    kernel = np.random.default_rng(8).normal(0, 0.2, (5, 3))
    answer = vault.filter(GREY, [kernel], **UNDER)
    expected = cv2.filter2D(GREY.astype(np.float64), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    expected = np.clip(expected, 0, 255) if answer.kind == "pixels" else expected
    assert 0 < answer.error_bound <= 0.1
    assert np.abs(answer.values - expected).max() <= 0.5 + answer.error_bound


def test_operations_in_a_row_are_one_round_trip_and_a_gradient_begins_another(vault):
    told = []
    answer = vault.filter(GREY, ["sobel", "box:3"], progress=told.append, **UNDER)
    edges = np.clip(np.rint(ORACLES["sobel"](GREY.astype(np.float64))), 0, 255)
    np.testing.assert_array_equal(answer.values, np.rint(cv2.blur(edges, (3, 3))))
    assert answer.account.round_trips == 2
    assert [one.stage for one in told][:3] == ["keygen", "keygen", "compute"]
    one = vault.filter(GREY, ["gaussian:3", "sobel:y"], **UNDER)
    assert (one.account.round_trips, one.error_bound) == (1, 0)


def test_what_would_take_too_long_is_refused_before_it_is_encrypted_with_an_estimate(vault):
    with pytest.raises(ResourceExhausted) as refused:
        vault.filter(np.zeros((2000, 2000, 3), np.uint8), "sobel", scheme="paillier", key_bits=3072)
    assert " results would take paillier about " in refused.value.message
    assert refused.value.message.endswith("want at most 6: a smaller picture or kernel, or bfv")


REFUSED = {
    "a small key": (GREY, "box:3", {"key_bits": 1024}, "paillier key of 1024 bits, want at least 2048"),
    "a key of another": (GREY, "box:3", {"scheme": "bfv"}, "key bits are for paillier only"),
    "no scheme": (
        GREY,
        "box:3",
        {"scheme": "scramble", "key_bits": None},
        "scheme 'scramble', want one of bfv, ckks",
    ),
    "an overflow": (GREY, [np.full((3, 3), 1e6)], {}, "the kernel would overflow: magnitudes of its weights"),
    "too far": (GREY, ["gaussian:31"] * 3, {}, "operations that reach 45 pixels together, want at most 31"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(vault, name):
    image, operations, options, said = REFUSED[name]
    with pytest.raises(InvalidArgument) as refused:
        vault.filter(image, operations, **{**UNDER, **options})
    assert refused.value.message.startswith(said)


ANEW = "the keyholder decrypted them and encrypted"


@pytest.mark.parametrize("scheme", ["bfv", "ckks"])
def test_stored_photos_are_encrypted_anew_for_it_and_it_is_said(vault, scheme):
    album = vault.create_collection(scheme, scheme=scheme, embedder="pixels")
    pictures = {"a": GREY, "b": GREY[::-1]}
    files = [(name, encoded(Image.fromarray(image), "PNG")) for name, image in pictures.items()]
    a, b = (StoredPhoto(scheme, item.id) for item in album.ingest(files, planes=True, plane_halo=2).items)
    why = f"stored planes are of {scheme}-4096, and the job is under paillier: {ANEW} them anew"
    smooth = vault.filter(a, "gaussian:5", **UNDER)
    np.testing.assert_array_equal(smooth.values, wanted(smooth, GREY, ORACLES["gaussian:5"]))
    assert (smooth.account.scheme, smooth.account.stored) == ("paillier", "decrypted")
    assert smooth.account.remarks == (why,)
    for pair, others in (((a, b), [f"A: {why}", f"B: {why}"]), ((GREY, b), [f"B: {why}"])):
        answer = vault.diff(*pair, **UNDER)
        np.testing.assert_array_equal(answer.values, GREY.astype(int) - GREY[::-1])
        assert (answer.account.stored, list(answer.account.remarks)) == ("decrypted", others)
    eroded = vault.filter(a, "erode:3:cross:4", **UNDER)
    np.testing.assert_array_equal(eroded.values, vault.filter(GREY, "erode:3:cross:4", scheme="bfv").values)
    assert eroded.account.remarks[0].endswith(f"{ANEW} planes of levels")
