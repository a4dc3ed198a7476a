"""Filters and differences through the three real services, against OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from support.photos import encoded

import blindsight
from blindsight.client import StoredPhoto
from blindsight.errors import InvalidArgument, InvalidImage, NotFound

SCHEMES = ["bfv", "ckks"]
BORDERS = {
    "reflect": cv2.BORDER_REFLECT_101,
    "constant": cv2.BORDER_CONSTANT,
    "replicate": cv2.BORDER_REPLICATE,
}
CAMERA = data.camera()[100:260, 150:300]
ASTRONAUT = data.astronaut()[40:190, 150:331]


@pytest.fixture(scope="module")
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


def derivative(image, border, x, y):
    return cv2.Sobel(image, -1, x, y, ksize=3, borderType=border)


ORACLES = {
    "box:5": lambda image, border: cv2.blur(image, (5, 5), borderType=border),
    "gaussian:5": lambda image, border: cv2.GaussianBlur(image, (5, 5), 0, borderType=border),
    "gaussian:31": lambda image, border: cv2.GaussianBlur(image, (31, 31), 0, borderType=border),
    "sobel:x": lambda image, border: derivative(image, border, 1, 0),
    "sobel": lambda image, border: cv2.magnitude(
        derivative(image, border, 1, 0), derivative(image, border, 0, 1)
    ),
    "laplacian": lambda image, border: cv2.Laplacian(image, -1, ksize=1, borderType=border),
    "brightness:-40": lambda image, border: image - 40,
    "contrast:1.7": lambda image, border: (image - 127.5) * 1.7 + 127.5,
}


def wanted(image, oracle, border="reflect"):
    """An oracle on every channel, in floats."""
    planes = [
        oracle(plane.astype(np.float64), BORDERS[border]) for plane in np.atleast_3d(image).transpose(2, 0, 1)
    ]
    return np.stack(planes, axis=-1).reshape(image.shape)


def apart(answer, expected):
    """The largest difference, in grey levels, of what an answer holds."""
    clipped = np.clip(expected, 0, 255) if answer.kind == "pixels" else expected
    return np.abs(answer.values - clipped).max()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("operation", ORACLES)
def test_a_filter_is_within_one_grey_level_of_opencvs_at_every_pixel(vault, operation, scheme):
    answer = vault.filter(CAMERA, operation, scheme=scheme)
    assert apart(answer, wanted(CAMERA, ORACLES[operation])) <= 0.5 + answer.error_bound
    assert answer.error_bound < 0.5
    assert answer.kind == ("signed" if operation in ("sobel:x", "laplacian") else "pixels")
    assert (answer.account.scheme, answer.account.round_trips) == (scheme, 1)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (67, 1), (2, 3), (61, 131, 3)], ids=str)
def test_any_picture_is_filtered_up_to_its_border(vault, shape, border, scheme):
    image = np.random.default_rng(7).integers(0, 256, shape, np.uint8)
    answer = vault.filter(image, "gaussian:9", scheme=scheme, border=border)
    assert answer.values.shape == shape
    assert apart(answer, wanted(image, _nine, border)) <= 1


def _nine(image, border):
    return cv2.GaussianBlur(image, (9, 9), 0, borderType=border)


@pytest.mark.parametrize("scheme", SCHEMES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    half=st.tuples(st.integers(0, 4), st.integers(0, 4)),
    shape=st.tuples(st.integers(1, 80), st.integers(1, 80)),
    border=st.sampled_from(sorted(BORDERS)),
    seed=st.integers(0, 99),
)
def test_any_kernel_of_the_callers_is_applied_as_by_opencv(vault, scheme, half, shape, border, seed):
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, shape, np.uint8)
    kernel = random.normal(0, 0.2, (2 * half[0] + 1, 2 * half[1] + 1))
    answer = vault.filter(image, [kernel], scheme=scheme, border=border)
    expected = cv2.filter2D(image.astype(np.float64), -1, kernel, borderType=BORDERS[border])
    assert apart(answer, expected) <= 0.5 + answer.error_bound


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_list_of_linear_operations_is_one_round_trip_and_a_gradient_begins_another(vault, scheme):
    def smoothed_edges(image, border):
        return derivative(cv2.GaussianBlur(image, (5, 5), 0, borderType=border), border, 1, 0)

    one = vault.filter(CAMERA, ["gaussian:5", "sobel:x"], scheme=scheme)
    assert one.account.round_trips == 1
    assert apart(one, wanted(CAMERA, smoothed_edges)) <= 1
    two = vault.filter(CAMERA, ["sobel", "box:5"], scheme=scheme)
    assert two.account.round_trips == 2
    edges = np.clip(np.rint(wanted(CAMERA, ORACLES["sobel"])), 0, 255)
    assert apart(two, wanted(edges, ORACLES["box:5"])) <= 1


def test_an_orientation_is_opencvs(vault):
    answer = vault.filter(ASTRONAUT, "scharr:orientation")
    assert (answer.kind, answer.values.shape) == ("degrees", ASTRONAUT.shape)
    for channel in range(3):
        plane = ASTRONAUT[:, :, channel].astype(np.float64)
        across, down = (cv2.Sobel(plane, -1, *which, ksize=cv2.FILTER_SCHARR) for which in ((1, 0), (0, 1)))
        found, there = answer.values[:, :, channel], np.hypot(across, down) > 0
        np.testing.assert_array_equal(found >= 0, there)
        turned = np.abs(found - cv2.phase(across, down, angleInDegrees=True))[there]
        assert np.minimum(turned, 360 - turned).max() <= 1


def test_how_far_it_is_and_what_it_took_is_told(vault):
    told = []
    answer = vault.filter(ASTRONAUT, "sobel", progress=told.append)
    assert [(one.stage, one.done) for one in told][:1] == [("compute", 0)]
    assert {one.stage for one in told} == {"compute", "finish"}
    account = answer.account
    assert account.results == 2 * account.ciphertexts == told[0].total
    assert account.received_bytes > account.sent_bytes > 49_000 * account.ciphertexts
    assert min(account.encrypt_busy_seconds, account.compute_busy_seconds, account.decrypt_busy_seconds) > 0
    assert (account.parameter_set, account.warning, account.remarks) == ("bfv-4096", "", ())


DEEP = CAMERA.astype(np.uint16) * 257
CONVERTED = {
    "16 bits": (DEEP, {}, "more than 8 bits a channel brought to 8"),
    "a palette": (Image.fromarray(ASTRONAUT).quantize(64), {}, "palette resolved to RGB"),
    "alpha": (Image.fromarray(ASTRONAUT).convert("RGBA"), {}, "transparency put on white"),
    "colour as grey": (Image.fromarray(ASTRONAUT), {"colours": "grey"}, "colour brought to grey"),
}


@pytest.mark.parametrize("name", CONVERTED)
def test_a_picture_that_was_converted_is_said_to_be(vault, name):
    image, options, remark = CONVERTED[name]
    file = encoded(image if isinstance(image, Image.Image) else Image.fromarray(image), "PNG")
    answer = vault.filter(file, "brightness:0", **options)
    assert answer.account.remarks == (remark,)
    if name == "16 bits":
        np.testing.assert_array_equal(answer.values, CAMERA)


REFUSED = {
    "no operation": ("blur", {}, "operation 'blur', want one of box, gaussian, "),
    "an even size": ("gaussian:4", {}, "gaussian of size 4, want an odd size of 1 to 31"),
    "an overflow": (
        [np.full((3, 3), 1e6)],
        {},
        "the kernel would overflow: magnitudes of its weights sum to 9e+06",
    ),
    "no scheme": ("box:3", {"scheme": "rot13"}, "scheme 'rot13', want one of ckks, bfv"),
    "no border": ("box:3", {"border": "wrap"}, "border 'wrap', want one of reflect, constant, replicate"),
    "a vector": ([[1, 2, 3]], {}, "kernel of shape [3], want rows and columns"),
    "rows of several lengths": ([[[1, 2], [1]]], {}, "kernel that is not a matrix of numbers"),
    "after an orientation": (["sobel:orientation", "box:3"], {}, "operations after an orientation"),
    "too far": (
        ["gaussian:31"] * 3,
        {},
        "operations that reach 45 pixels together, want at most 31 under bfv-4096",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_done_is_refused_in_one_line(vault, name):
    operations, options, said = REFUSED[name]
    with pytest.raises(InvalidArgument) as refused:
        vault.filter(CAMERA, operations, **options)
    assert refused.value.message.startswith(said)


def test_a_file_that_is_no_picture_is_refused(vault):
    with pytest.raises(InvalidImage):
        vault.filter(b"no picture", "box:3")


# --- differences -----------------------------------------------------------------------------------

OTHER = np.roll(ASTRONAUT, 3, axis=1)
SIGNED = ASTRONAUT.astype(np.int32) - OTHER


@pytest.mark.parametrize("scheme", [*SCHEMES, "scramble"])
def test_a_difference_is_numpys_without_wrapping(vault, scheme):
    answer = vault.diff(ASTRONAUT, OTHER, scheme=scheme)
    np.testing.assert_array_equal(answer.values, SIGNED)
    assert (answer.kind, answer.values.dtype) == ("signed", np.int32)
    assert (answer.minimum, answer.maximum) == (SIGNED.min(), SIGNED.max())
    assert answer.differing == np.count_nonzero(SIGNED)
    assert bool(answer.account.warning) == (scheme == "scramble")


def test_a_difference_under_paillier_is_the_same(vault):
    answer = vault.diff(CAMERA[:20, :30], CAMERA[20:40, :30], scheme="paillier", key_bits=2048)
    np.testing.assert_array_equal(answer.values, CAMERA[:20, :30].astype(int) - CAMERA[20:40, :30])
    assert (answer.account.key_bits, answer.account.parameter_set) == (2048, "")


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (130, 131), (3, 4, 3)], ids=str)
def test_extremes_of_any_size_are_subtracted(vault, shape, scheme):
    first = np.random.default_rng(2).choice(np.array([0, 255], np.uint8), shape)
    second = 255 - first
    answer = vault.diff(first, second, scheme=scheme)
    np.testing.assert_array_equal(answer.values, first.astype(int) - second)


def test_a_mode_is_applied_by_the_keyholder(vault):
    absolute = vault.diff(ASTRONAUT, OTHER, mode="absolute")
    np.testing.assert_array_equal(absolute.values, np.abs(SIGNED))
    over = vault.diff(ASTRONAUT, OTHER, mode="threshold", threshold=30)
    np.testing.assert_array_equal(over.values, np.where(np.abs(SIGNED) > 30, 255, 0))
    assert over.over_threshold == np.count_nonzero(np.abs(SIGNED) > 30)
    assert {absolute.kind, over.kind} == {"pixels"}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_the_server_saw_is_noise_that_says_nothing_of_the_pictures(vault, scheme):
    answer = vault.diff(CAMERA, CAMERA[::-1], scheme=scheme, server_views=True)
    assert set(answer.server_views) == {"a", "b", "result"}
    for seen in answer.server_views.values():
        counts = np.bincount(seen.reshape(-1), minlength=256)
        assert seen.shape[1] == CAMERA.shape[1]
        assert seen.size >= 12_000
        # 255 degrees of freedom: beyond this once in ten million.
        assert ((counts - seen.size / 256) ** 2 / (seen.size / 256)).sum() < 390
    assert not vault.diff(CAMERA, CAMERA, scheme=scheme).server_views


def test_a_grey_picture_and_one_in_colour_are_compared_in_colour_and_it_is_said(vault):
    answer = vault.diff(ASTRONAUT, ASTRONAUT[:, :, 0])
    np.testing.assert_array_equal(answer.values, ASTRONAUT.astype(int) - ASTRONAUT[:, :, :1])
    assert answer.account.remarks == ("B: grey taken as RGB, as the other picture is",)


DIFF_REFUSED = {
    "sizes": ((CAMERA, CAMERA[:-1]), {}, "A is 150 x 160 pixels and B is 150 x 159, want the same size"),
    "scheme": (
        (CAMERA, CAMERA),
        {"scheme": "rot13"},
        "scheme 'rot13', want one of ckks, bfv, paillier, scramble",
    ),
    "mode": ((CAMERA, CAMERA), {"mode": "xor"}, "mode 'xor', want one of signed, absolute, threshold"),
    "threshold": ((CAMERA, CAMERA), {"threshold": 255}, "threshold of 255, want 0 to 254"),
    "key bits": ((CAMERA, CAMERA), {"key_bits": 2048}, "key bits are for paillier only"),
}


@pytest.mark.parametrize("name", DIFF_REFUSED)
def test_a_difference_that_cannot_be_is_refused_in_one_line(vault, name):
    pair, options, said = DIFF_REFUSED[name]
    with pytest.raises(InvalidArgument) as refused:
        vault.diff(*pair, **options)
    assert refused.value.message.startswith(said)


# --- stored photos ---------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=SCHEMES)
def album(vault, request):
    """Photos with planes by id; of `plain` there are none, and `bare` has no halo."""
    made = vault.create_collection(f"album {request.param}", scheme=request.param, embedder="pixels")
    photos = {"a": ASTRONAUT, "b": OTHER, "grey": CAMERA}
    files = [(name, encoded(Image.fromarray(image), "PNG")) for name, image in photos.items()]
    report = made.ingest(files, planes=True, plane_halo=3)
    ids = {item.path: item.id for item in report.items}
    upside_down = [("plain", encoded(Image.fromarray(OTHER[::-1]), "PNG"))]
    mirrored = [("bare", encoded(Image.fromarray(OTHER[:, ::-1]), "PNG"))]
    for more in (made.ingest(upside_down), made.ingest(mirrored, planes=True)):
        ids |= {item.path: item.id for item in more.items}
    return request.param, {name: StoredPhoto(made.describe().name, one) for name, one in ids.items()}


def test_stored_photos_are_subtracted_where_they_are(vault, album):
    scheme, stored = album
    answer = vault.diff(stored["a"], stored["b"])
    np.testing.assert_array_equal(answer.values, SIGNED)
    account = answer.account
    assert (account.scheme, account.sent_bytes, account.encrypt_busy_seconds) == (scheme, 0, 0)
    assert (account.stored, account.remarks) == ("in place", ())
    assert vault.diff(stored["a"], stored["a"]).differing == 0


def test_a_stored_photo_and_a_file_are_subtracted(vault, album):
    _, stored = album
    for pair, wanted in (((stored["a"], OTHER), SIGNED), ((OTHER, stored["a"]), -SIGNED)):
        answer = vault.diff(*pair)
        np.testing.assert_array_equal(answer.values, wanted)
        assert (answer.account.stored, answer.account.remarks) == ("in place", ())
    assert vault.diff(ASTRONAUT, OTHER).account.stored == ""


ANEW = ": the keyholder decrypted them and encrypted them anew"


def test_of_photos_with_different_halos_one_is_encrypted_anew_and_it_is_said(vault, album):
    scheme, stored = album
    answer = vault.diff(stored["a"], stored["bare"])
    np.testing.assert_array_equal(answer.values, ASTRONAUT.astype(int) - OTHER[:, ::-1])
    assert (answer.account.scheme, answer.account.stored) == (scheme, "decrypted")
    assert answer.account.remarks == (
        f"B: stored planes have a halo of 0 pixels, and the other photo's of 3{ANEW}",
    )
    alone = vault.diff(stored["a"], OTHER[:, ::-1])
    assert 0 < answer.account.sent_bytes == alone.account.sent_bytes


@pytest.mark.parametrize("under", ["other", "scramble"])
def test_stored_photos_go_under_another_scheme_when_it_is_asked_for_and_it_is_said(vault, album, under):
    scheme, stored = album
    other = SCHEMES[1 - SCHEMES.index(scheme)] if under == "other" else under
    named = f"{other}-4096" if under == "other" else under
    why = f"stored planes are of {scheme}-4096, and the job is under {named}{ANEW}"
    answer = vault.diff(stored["a"], stored["b"], scheme=other)
    np.testing.assert_array_equal(answer.values, SIGNED)
    assert (answer.account.scheme, answer.account.stored) == (other, "decrypted")
    assert answer.account.remarks == (f"A: {why}", f"B: {why}")
    if under == "other":
        filtered = vault.filter(stored["a"], "gaussian:5", scheme=other)
        assert apart(filtered, wanted(ASTRONAUT, ORACLES["gaussian:5"])) <= 1
        assert (filtered.account.scheme, filtered.account.remarks) == (other, (why,))


def test_a_stored_photo_in_colour_is_taken_as_grey_when_it_is_asked_for_and_it_is_said(vault, album):
    _, stored = album
    grey = np.asarray(Image.fromarray(ASTRONAUT).convert("L"))
    why = f"stored planes are RGB, and grey was asked for{ANEW}"
    answer = vault.filter(stored["a"], "gaussian:5", colours="grey")
    assert apart(answer, wanted(grey, ORACLES["gaussian:5"])) <= 1
    assert (answer.account.stored, answer.account.remarks) == ("decrypted", (why, "colour brought to grey"))
    compared = vault.diff(stored["a"], ASTRONAUT, colours="grey")
    assert compared.differing == 0
    assert compared.account.remarks == (
        f"A: {why}",
        "A: colour brought to grey",
        "B: colour brought to grey",
    )
    binary = vault.filter(stored["a"], "threshold:otsu", colours="grey")
    level, expected = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    np.testing.assert_array_equal(binary.values, expected)
    assert binary.account.remarks == (
        "a threshold is for pixels in the clear: the keyholder decrypted the stored planes",
        "colour brought to grey",
        f"threshold: 255 over {level:g} (Otsu's), else 0, by the keyholder alone: nothing was sent for it",
    )
    there = vault.filter(stored["grey"], "gaussian:5", colours="grey")
    assert (there.account.stored, there.account.remarks) == ("in place", ())


def test_a_stored_photo_in_colour_and_a_grey_one_are_compared_in_colour(vault, album):
    _, stored = album
    answer = vault.diff(stored["a"], ASTRONAUT[:, :, 0])
    np.testing.assert_array_equal(answer.values, ASTRONAUT.astype(int) - ASTRONAUT[:, :, :1])
    assert answer.account.remarks == (
        f"A: one picture is grey and one is not{ANEW}",
        "B: grey taken as RGB, as the other picture is",
    )


def test_a_stored_photo_is_filtered_where_it_is_as_far_as_its_halo_allows(vault, album):
    _, stored = album
    bright = vault.filter(stored["a"], ["brightness:30", "contrast:1.2"])
    assert apart(bright, (ASTRONAUT + 30.0 - 127.5) * 1.2 + 127.5) <= 1
    assert (bright.account.sent_bytes, bright.account.stored, bright.account.remarks) == (0, "in place", ())
    for operation in ("gaussian:5", "sobel"):
        there = vault.filter(stored["a"], operation)
        assert apart(there, wanted(ASTRONAUT, ORACLES[operation])) <= 1
        assert (there.account.sent_bytes, there.account.remarks) == (0, ())


def test_beyond_that_the_keyholder_encrypts_anew_and_says_so(vault, album):
    _, stored = album
    far = vault.filter(stored["a"], "gaussian:31")
    assert apart(far, wanted(ASTRONAUT, ORACLES["gaussian:31"])) <= 1
    assert far.account.stored == "decrypted"
    assert far.account.remarks == (f"stored planes have a halo of 3 pixels, and the kernel reaches 15{ANEW}",)
    other = vault.filter(stored["a"], "gaussian:5", border="constant")
    assert apart(other, wanted(ASTRONAUT, ORACLES["gaussian:5"], "constant")) <= 1
    assert other.account.remarks == (
        f"stored planes are mirrored beyond the border, and another border was asked for{ANEW}",
    )


def test_a_stored_photo_that_cannot_be_used_is_refused(vault, album):
    _, stored = album
    with pytest.raises(NotFound, match="has no planes: delete it, and ingest it again with --planes"):
        vault.filter(stored["plain"], "box:3")
    with pytest.raises(NotFound, match="no item"):
        vault.diff(stored["a"], StoredPhoto(stored["a"].collection, "nobody"))
    with pytest.raises(NotFound):
        vault.filter(StoredPhoto("no such collection", "a"), "box:3")
    with pytest.raises(InvalidArgument, match="A is 181 x 150 pixels and B is 150 x 160"):
        vault.diff(stored["a"], stored["grey"])
