"""Combine from the evaluator's side: neither pixels nor keys come through its door, unless it is scramble."""

import re

import numpy as np
import pytest
from support.canaries import Needles, contents, factor_of, picture, windows
from support.services import NO_RENEWALS, Services
from support.tap import Tap

import blindsight
from blindsight.additive.block import HEADER, MAGIC, parse_header
from blindsight.additive.keys import PUBLIC_MAGIC, SECRET_MAGIC
from blindsight.trusted.imaging.images import decode

SCHEMES = {
    "paillier": {"key_bits": 2048},
    "lightphe-okamoto-uchiyama": {"key_bits": 512, "insecure_small_keys": True},
    "lightphe-benaloh": {"key_bits": 512, "insecure_small_keys": True},
}
# Pieces of two pictures: each row holds a canary, and the rest is no less recognisable.
FIRST, SECOND = (np.asarray(decode(picture(seed)[0]), np.int64)[:12, :24] for seed in (1, 2))


@pytest.fixture(scope="module")
def taps():
    made = {}
    yield made
    for one in made.values():
        one.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory, taps):
    def way(client, server, address):
        taps[client, server] = Tap(address)
        return taps[client, server].address

    workers = {name: {"workers": "1"} for name in ("keyholder", "evaluator")}
    running = Services(
        tmp_path_factory.mktemp("secrecy"), settings={**workers, "storage": NO_RENEWALS}, way=way
    )
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def vault(services):
    with blindsight.connect(services.address()) as connected:
        yield connected


@pytest.fixture
def passed(taps):
    """What passes between keyholder and evaluator from now on, in both directions."""
    tap = taps["keyholder", "evaluator"]
    before = [len(record) for record in tap.recorded]

    def since():
        starts = before + [0] * (len(tap.recorded) - len(before))
        return b"".join(record[start:] for record, start in zip(tap.recorded, starts, strict=True))

    return since


def needles(*arrays):
    """Values in a row, as bytes and as integers of other sizes."""
    flat = [array.ravel() for array in arrays]
    return Needles(
        {
            f"array {number} as {kind}": windows(one.astype(kind).tobytes(), 400)
            for kind in ("u1", "<i2", "<i4", "<i8", ">i8")
            for number, one in enumerate(flat)
        }
    )


def places(data, magic):
    return [match.start() for match in re.finditer(re.escape(magic), data)]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_neither_pixels_nor_their_difference_pass_to_or_from_the_evaluator(vault, services, passed, scheme):
    answer = vault.combine([FIRST, SECOND], weights=[1, -1], scheme=scheme, **SCHEMES[scheme])
    np.testing.assert_array_equal(answer.values, FIRST - SECOND)
    looked_for = needles(FIRST, SECOND, answer.values)
    seen = passed()
    assert len(seen) > answer.sent_bytes + answer.received_bytes
    assert not looked_for.found(seen)
    assert not looked_for.found_in(contents(services.folder / "evaluator"))
    assert looked_for.found(seen + FIRST.tobytes())


def test_the_public_half_of_a_key_passes_and_neither_the_secret_one_nor_a_factor_of_it(vault, passed):
    vault.combine([FIRST, SECOND], **SCHEMES["paillier"])
    seen = passed()
    assert SECRET_MAGIC not in seen
    (start,) = places(seen, PUBLIC_MAGIC)
    size = int.from_bytes(seen[start + 24 : start + 28], "little")
    modulus = int.from_bytes(seen[start + 28 : start + 28 + size], "little")
    assert modulus.bit_length() == 2048
    assert not factor_of(modulus, seen)


def test_every_call_has_a_key_of_its_own_and_equal_pictures_look_different(vault, passed):
    for _ in range(2):
        vault.combine([FIRST, FIRST], **SCHEMES["paillier"])
    seen = passed()
    keys = [seen[place + 8 : place + 24] for place in places(seen, PUBLIC_MAGIC)]
    assert len(set(keys)) == len(keys) == 2
    fresh = [place for place in places(seen, MAGIC) if parse_header(seen[place:]).growth == 1]
    assert {parse_header(seen[place:]).key_id for place in fresh} == set(keys)
    ciphertexts = {seen[place + HEADER.size :][:512] for place in fresh}
    assert len(ciphertexts) == len(fresh) == 4


def test_under_scramble_the_evaluator_sees_every_value_as_the_warning_says(vault, passed):
    answer = vault.combine([FIRST, SECOND], weights=[1, -1], scheme="scramble")
    assert answer.warning == "not encryption: hides a picture from a glance only"
    seen = passed()
    fresh = [place for place in places(seen, MAGIC) if parse_header(seen[place:]).growth == 1]
    for place, pixels in zip(fresh, (FIRST, SECOND), strict=True):
        size = parse_header(seen[place:]).number_bytes
        data = np.frombuffer(seen[place + HEADER.size :][: pixels.size * size], np.uint8)
        shown = data.reshape(-1, size)[:, 0].astype(np.int64)
        # Half of them are inverted; otherwise they are the pixels, in another order.
        folded = [np.sort(np.minimum(values, 255 - values)) for values in (shown, pixels.ravel())]
        np.testing.assert_array_equal(*folded)
