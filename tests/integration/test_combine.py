"""Weighted sums under additive schemes, through the real services, against numpy."""

import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families
from support.photos import encoded, photo
from support.ports import free_ports
from support.services import Process, Services, wait_until

import blindsight
from blindsight.additive import SCHEMES, Operation
from blindsight.errors import InvalidArgument, InvalidImage, ResourceExhausted
from services.keyholder.operations.combine import MAX_LIGHTPHE_VALUES, MAX_VALUES

RNG = np.random.default_rng(11)
SMALL = {"key_bits": 512, "insecure_small_keys": True}
# The fastest size that a scheme has.
FAST = {
    info.name: ({"key_bits": 2048} if not info.algorithm else SMALL) if not info.fixed_bits else {}
    for info in SCHEMES.values()
}
ADDING = [info.name for info in SCHEMES.values() if Operation.WEIGHTED_SUM in info.operations]
BOTH = [7, -3]


@pytest.fixture(scope="module")
def ports():
    return dict(zip(("keyholder", "evaluator"), free_ports(2), strict=True))


@pytest.fixture(scope="module")
def services(tmp_path_factory, ports):
    settings = {name: {"metrics_port": str(port)} for name, port in ports.items()}
    running = Services(tmp_path_factory.mktemp("combine"), settings=settings)
    try:
        yield running.start()
    finally:
        running.stop()


def values(*shape, count=2, bound=256):
    return RNG.integers(-bound + 1, bound, (count, *shape))


def counted(port):
    """How often each histogram of a service has observed something: {(name, scheme): count}."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        families = text_string_to_metric_families(page.read().decode())
        return {
            (family.name, sample.labels["scheme"]): sample.value
            for family in families
            for sample in family.samples
            if sample.name.endswith("_count") and "scheme" in sample.labels
        }


# --- every scheme against numpy ------------------------------------------------------------------


@pytest.mark.parametrize("scheme", FAST)
def test_differences_are_numpys_under_every_scheme(vault, scheme):
    first, second = values(3, 7)
    answer = vault.combine([first, second], weights=[1, -1], scheme=scheme, **FAST[scheme])
    np.testing.assert_array_equal(answer.values, first - second)
    assert answer.values.dtype == np.int64
    assert (answer.scheme, answer.weights) == (scheme, (1, -1))


@pytest.mark.parametrize("scheme", ADDING)
def test_weighted_sums_are_numpys_under_every_scheme_that_can(vault, scheme):
    arrays = values(1, 3, 2, count=4)
    answer = vault.combine(list(arrays), weights=[3, 0, -2, 1], scheme=scheme, **FAST[scheme])
    np.testing.assert_array_equal(answer.values, np.tensordot([3, 0, -2, 1], arrays, 1))


@pytest.mark.parametrize("scheme", ["paillier", "lightphe-okamoto-uchiyama", "lightphe-benaloh"])
def test_arrays_of_many_slices_keep_their_order(vault, scheme):
    first, second = values(41, 97) if scheme == "paillier" else values(23, 19)
    answer = vault.combine([first, second], weights=BOTH, scheme=scheme, **FAST[scheme])
    np.testing.assert_array_equal(answer.values, 7 * first - 3 * second)
    assert answer.ciphertexts > 16


@pytest.mark.parametrize("shape", [(1,), (1, 1), (2, 3, 4, 5), (1000,)])
def test_every_shape_comes_back(vault, shape):
    arrays = values(*shape, count=3)
    answer = vault.combine(list(arrays), **FAST["paillier"])
    np.testing.assert_array_equal(answer.values, arrays.sum(axis=0))


@pytest.mark.parametrize("bound", [1, 2**31, 2**60])
def test_large_values_are_exact(vault, bound):
    first, second = values(4, 5, bound=bound)
    answer = vault.combine([first, second], weights=[1, -1], **FAST["paillier"])
    np.testing.assert_array_equal(answer.values, first - second)


def test_large_weights_are_exact(vault):
    first, second = values(4)
    answer = vault.combine([first, second], weights=[2**40, -(2**41)], **FAST["paillier"])
    np.testing.assert_array_equal(answer.values, 2**40 * first - 2**41 * second)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "list"])
def test_integers_of_every_type_are_taken(vault, dtype):
    plain = [[1, 0], [1, 1]]
    given = plain if dtype == "list" else np.array(plain, dtype)
    answer = vault.combine([given, given], **FAST["paillier"])
    assert answer.values.tolist() == [[2, 0], [2, 2]]


def test_calls_at_the_same_time_have_keys_of_their_own(vault):
    first, second = values(3000)
    every = [BOTH, [1, 1], [-1, 2], [0, 5]]
    with ThreadPoolExecutor(len(every)) as threads:
        answers = threads.map(
            lambda one: vault.combine([first, second], weights=one, **FAST["paillier"]), every
        )
        for weights, answer in zip(every, answers, strict=True):
            np.testing.assert_array_equal(answer.values, weights[0] * first + weights[1] * second)


# --- pictures ------------------------------------------------------------------------------------


def views(size):
    image = photo("astronaut").resize(size)
    return image, image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


@pytest.mark.parametrize("scheme", ["paillier", "scramble"])
def test_the_difference_of_two_pictures_is_that_of_their_pixels(vault, scheme):
    first, second = views((31, 17))
    pixels = [np.asarray(one, np.int64) for one in (first, second)]
    answer = vault.combine([first, encoded(second, "PNG")], weights=[1, -1], scheme=scheme, **FAST[scheme])
    assert answer.values.shape == (17, 31, 3)
    np.testing.assert_array_equal(answer.values, pixels[0] - pixels[1])


def test_pictures_without_colour_are_grey_unless_told_otherwise(vault):
    first, second = (one.convert("L") for one in views((8, 6)))
    total = np.asarray(first, np.int64) + np.asarray(second)
    np.testing.assert_array_equal(vault.combine([first, second], **FAST["paillier"]).values, total)
    rgb = vault.combine([first, second], colours="rgb", **FAST["paillier"])
    np.testing.assert_array_equal(rgb.values, np.repeat(total[..., None], 3, axis=2))


def test_pictures_in_colour_can_be_taken_as_grey(vault):
    first, second = views((8, 6))
    grey = [np.asarray(one.convert("L"), np.int64) for one in (first, second)]
    answer = vault.combine([first, second], weights=BOTH, colours="grey", **FAST["paillier"])
    np.testing.assert_array_equal(answer.values, 7 * grey[0] - 3 * grey[1])


def test_a_picture_and_an_array_of_its_shape_can_be_combined(vault):
    picture, _ = views((8, 6))
    array = values(6, 8, 3, count=1)[0]
    answer = vault.combine([picture, array], **FAST["paillier"])
    np.testing.assert_array_equal(answer.values, np.asarray(picture) + array)


# --- what the answer says ------------------------------------------------------------------------


def test_an_answer_says_how_it_was_computed(vault):
    told = []
    answer = vault.combine(list(values(300)), weights=BOTH, progress=told.append, **FAST["paillier"])
    assert (answer.scheme, answer.key_bits, answer.warning) == ("paillier", 2048, "")
    assert "rests on factoring" in answer.description
    assert answer.sent_bytes == 2 * answer.received_bytes == 2 * (64 + 512 * answer.ciphertexts)
    seconds = answer.timings.seconds()
    assert min(seconds.values()) > 0
    assert sum(seconds.values()) - seconds["total"] <= seconds["total"]
    assert list(dict.fromkeys(one.stage for one in told)) == ["keygen", "encrypt", "compute", "decrypt"]
    ends = {one.stage: (one.done, one.total) for one in told}
    count = answer.ciphertexts
    assert ends == {
        "keygen": (1, 1),
        "encrypt": (2 * count,) * 2,
        "compute": (count,) * 2,
        "decrypt": (count,) * 2,
    }


@pytest.mark.parametrize("scheme", FAST)
def test_what_is_no_encryption_and_what_anybody_can_break_is_called_so(vault, scheme):
    answer = vault.combine(list(values(2)), weights=[1, -1], scheme=scheme, **FAST[scheme])
    if scheme == "scramble":
        assert answer.warning == "not encryption: hides a picture from a glance only"
    elif FAST[scheme] == SMALL:
        assert "anybody can break" in answer.warning
        assert answer.key_bits < 600
    else:
        assert answer.warning == ""


def test_every_stage_is_in_the_metrics_of_the_service_that_did_it(vault, ports):
    before = {name: counted(port) for name, port in ports.items()}
    scheme = "lightphe-okamoto-uchiyama"
    vault.combine(list(values(5, count=3)), scheme=scheme, **FAST[scheme])
    grown = {}
    for name, port in ports.items():
        for (metric, labelled), count in counted(port).items():
            grown[metric, labelled] = count - before[name].get((metric, labelled), 0)
    assert {key: count for key, count in grown.items() if count and "combine" in key[0]} == {
        ("blindsight_keyholder_combine_keygen_seconds", scheme): 1,
        ("blindsight_keyholder_combine_encrypt_seconds", scheme): 3,
        ("blindsight_keyholder_combine_decrypt_seconds", scheme): 1,
        ("blindsight_evaluator_combine_seconds", scheme): 1,
    }


# --- what cannot be ------------------------------------------------------------------------------

ONE, TWO = values(2, 3)
IMPOSSIBLE = {
    "sums under scramble": ({"scheme": "scramble"}, r"cannot do sums, it can do differences"),
    "weights under scramble": ({"scheme": "scramble", "weights": BOTH}, "cannot do weighted sums"),
    "more than 20 bits": (
        {"scheme": "lightphe-benaloh", "key_bits": 2048, "weights": [5000, 1]},
        "values of 8 bits with weights that add 13 would overflow: a message of lightphe-benaloh has 20 bits",
    ),
    "more than 62 bits": ({"weights": [2**62, 1]}, "weights would overflow"),
    "a small key": ({"key_bits": 1024}, "paillier key of 1024 bits, want at least 2048"),
    "a small key of ours though insecure": ({"insecure_small_keys": True, "key_bits": 1024}, "at least 2048"),
    "a small key of LightPHE's": (
        {"scheme": "lightphe-paillier", "key_bits": 1024},
        "lightphe-paillier key of 1024 bits, want at least 2048",
    ),
    "no key size": ({"scheme": "lightphe-paillier"}, "has no default key size"),
    "a group that there is not": (
        {"scheme": "lightphe-exponential-elgamal", "key_bits": 4096},
        "want 2048 or 3072",
    ),
    "no scheme": ({"scheme": "rot13"}, "want one of paillier, scramble"),
    "a weight too many": ({"weights": [1, 1, 1]}, "3 weights for 2 inputs"),
    "a weight that is no integer": ({"weights": [1, 0.5]}, "weights are not integers"),
    "no mode": ({"colours": "cmyk"}, "want one of auto, grey, rgb"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_be_is_one_error_before_any_work(vault, name):
    settings, message = IMPOSSIBLE[name]
    told = []
    with pytest.raises(InvalidArgument, match=message):
        vault.combine([ONE, TWO], progress=told.append, **settings)
    assert not told


BAD_INPUTS = {
    "different shapes": ([ONE, TWO.T], InvalidArgument, "input 2 has shape 3 x 2, input 1 has 2 x 3"),
    "a picture of another size": (
        [views((8, 6))[0], views((6, 8))[0]],
        InvalidArgument,
        "input 2 has shape 8 x 6 x 3, input 1 has 6 x 8 x 3",
    ),
    "one input": ([ONE], InvalidArgument, "1 inputs, want 2 to 16"),
    "no input": ([], InvalidArgument, "0 inputs, want 2 to 16"),
    "too many inputs": ([ONE] * 17, InvalidArgument, "more than 16 inputs"),
    "reals": ([ONE, TWO / 3], InvalidArgument, "input 2 is float64"),
    "nothing in it": ([ONE[:0], TWO[:0]], InvalidArgument, "want integers of 1 axis or more"),
    "rows of several lengths": ([[[1, 2], [3]], ONE], InvalidArgument, "rows of several lengths"),
    "values over 63 bits": ([np.array([2**63], np.uint64)] * 2, InvalidArgument, "values of 2\\^63 or more"),
    "values over 62 bits": ([np.array([2**62])] * 2, InvalidArgument, "would overflow: want at most 62 bits"),
    "the least integer": (
        [np.array([-(2**63)])] * 2,
        InvalidArgument,
        "would overflow: want at most 62 bits",
    ),
    "no picture": ([b"no picture", encoded(views((8, 6))[0])], InvalidImage, "photo is not an image"),
    "too many values": ([np.zeros(MAX_VALUES + 1, np.int8)] * 2, ResourceExhausted, "want at most"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_do_not_belong_together_are_one_error(vault, name):
    inputs, kind, message = BAD_INPUTS[name]
    with pytest.raises(kind, match=message):
        vault.combine(inputs, **FAST["paillier"])


def test_lightphe_takes_small_arrays_only(vault):
    large = np.zeros(MAX_LIGHTPHE_VALUES + 1, np.uint8)
    with pytest.raises(ResourceExhausted, match="65537 values in an input, want 1 to 65536"):
        vault.combine([large, large], scheme="lightphe-paillier", **SMALL)


# --- time, and processes that die ----------------------------------------------------------------


def test_what_would_take_too_long_is_refused_with_an_estimate(services, tmp_path):
    impatient = services.keyholder_settings("impatient") | {"combine_seconds": "0.001", "workers": "1"}
    process = Process("keyholder", impatient, tmp_path / "log")
    try:
        with blindsight.connect(process.start()) as vault:
            with pytest.raises(
                ResourceExhausted, match=r"would take paillier about 1 minutes here, want at most"
            ):
                vault.combine(list(values(20_000)), **FAST["paillier"])
            few = vault.combine(list(values(10)), **FAST["paillier"])
            assert few.values.shape == (10,)
    finally:
        process.stop()


@pytest.mark.parametrize("name", ["keyholder", "evaluator"])
def test_a_worker_that_dies_is_replaced_and_the_sum_comes(vault, services, name):
    first, second = values(20_000)
    killed = []

    def kill(progress):
        stage = {"keyholder": "encrypt", "evaluator": "compute"}[name]
        if progress.stage == stage and not killed:
            for worker in services[name].workers()[-1:]:
                worker.kill()
                killed.append(worker.pid)

    answer = vault.combine([first, second], weights=BOTH, progress=kill, **FAST["paillier"])
    np.testing.assert_array_equal(answer.values, 7 * first - 3 * second)
    assert killed
    wait_until(lambda: killed[0] not in [one.pid for one in services[name].workers()], what="a new worker")
