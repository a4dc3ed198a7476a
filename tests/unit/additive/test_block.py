"""What comes through the door of the public half: every field and every number is checked before use."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.additive import evaluator, key, sent

from blindsight.additive import AdditiveBlock, AdditivePublicKey, AdditiveScheme, parse_header
from blindsight.additive.block import HEADER
from blindsight.additive.keys import SECP256K1_P
from blindsight.errors import BlindsightError, InvalidArgument, InvalidCiphertext, SecretMaterialRefused

PAILLIER = AdditiveScheme.PAILLIER
EC = AdditiveScheme.LIGHTPHE_EC_ELGAMAL


@pytest.fixture(scope="module")
def good():
    return sent(PAILLIER, np.array([[1, 2, 3], [4, 5, 6]])).to_bytes()


def changed(data, offset, replacement):
    return data[:offset] + replacement + data[offset + len(replacement) :]


def test_a_block_is_64_bytes_of_header_and_its_numbers(good):
    header = parse_header(good)
    assert HEADER.size == 64
    assert (header.layout.rows, header.layout.columns, header.layout.per_ciphertext) == (2, 3, 3)
    assert len(good) == 64 + 2 * 2 * 2048 // 8
    assert header.pack() == good[:64]


@pytest.mark.parametrize(
    ("offset", "replacement", "reason"),
    [
        (0, b"BSCT", "wrong magic"),
        (4, b"\x02", "version 2"),
        (5, b"\xff", "scheme 255 is not known"),
        (5, b"\x10", "ciphertexts of lightphe-paillier, want paillier"),
        (6, b"\x01", "version"),
        (8, b"\xff", "numbers of"),
        (12, b"\x03", "block of 3 additive ciphertexts, want 2"),
        (16, b"\x00" * 16, "ciphertexts of key 0000"),
        (32, bytes(4), "0 rows"),
        (36, b"\xff\xff\xff\xff", "columns"),
        (40, bytes(2), "0 values per ciphertext"),
        (42, b"\xff", "value bits"),
        (43, b"\xff", "guard bits"),
        (44, b"\xff", "scale bits"),
        (45, b"\x01", "version"),
        (48, bytes(8), "growth of 0"),
        (48, b"\x11", "growth of 17, want 1 to 16"),
        (56, b"\x01", "version"),
    ],
)
def test_a_header_with_a_wrong_field_is_refused_with_the_reason(good, offset, replacement, reason):
    with pytest.raises(InvalidCiphertext, match=reason):
        evaluator(PAILLIER).read(changed(good, offset, replacement))


@pytest.mark.parametrize("cut", [0, 10, 63, 64, -1])
def test_a_block_that_is_cut_off_is_refused(good, cut):
    with pytest.raises(InvalidCiphertext):
        evaluator(PAILLIER).read(good[:cut])


def test_a_block_with_something_behind_it_is_refused(good):
    with pytest.raises(InvalidCiphertext, match="want 1088"):
        evaluator(PAILLIER).read(good + b"\0")


@given(st.binary(max_size=200))
def test_junk_is_refused_with_an_error_of_ours(data):
    with pytest.raises(BlindsightError):
        evaluator(PAILLIER).read(data)
    with pytest.raises(BlindsightError):
        AdditivePublicKey.from_bytes(data)


@given(st.integers(0, 63), st.integers(0, 255))
def test_no_changed_byte_of_a_header_gives_anything_but_a_block_or_an_error_of_ours(offset, value):
    data = changed(sent(PAILLIER, np.array([[1, 2]])).to_bytes(), offset, bytes([value]))
    try:
        read = evaluator(PAILLIER).read(data)
    except BlindsightError:
        return
    assert isinstance(read, AdditiveBlock)


def n_of(scheme):
    return key(scheme).public_key.numbers[0]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (lambda n: 0, "out of range"),
        (lambda n: n * n, "out of range"),
        (lambda n: n, "factor in common"),
        (lambda n: 5 * n, "factor in common"),
    ],
    ids=["zero", "modulus", "n", "multiple of n"],
)
def test_a_number_that_is_no_paillier_ciphertext_is_refused(number, reason):
    block = sent(PAILLIER, np.array([[1], [2]]))
    bad = replace(block, numbers=[block.numbers[0], number(n_of(PAILLIER))])
    with pytest.raises(InvalidCiphertext, match=reason):
        evaluator(PAILLIER).read(bad.to_bytes())


def test_a_point_that_is_not_on_the_curve_is_refused():
    block = sent(EC, np.array([[1]]))
    x, y, *second = block.numbers
    for point in [(x, (y + 1) % SECP256K1_P), (x + SECP256K1_P, y), (1, 0)]:
        if max(point) < 1 << 256:
            with pytest.raises(InvalidCiphertext, match="not a pair of points"):
                evaluator(EC).read(replace(block, numbers=[*point, *second]).to_bytes())


def test_a_secret_key_is_refused_at_both_doors():
    secret = key(PAILLIER).to_secret().reveal_secret()
    with pytest.raises(SecretMaterialRefused):
        evaluator(PAILLIER).read(secret)
    with pytest.raises(SecretMaterialRefused):
        AdditivePublicKey.from_bytes(secret)


def test_a_public_key_holds_nothing_of_the_secret_one():
    holder = key(PAILLIER)
    public, secret = holder.public_key.to_bytes(), holder.to_secret().reveal_secret()
    p = AdditivePublicKey.from_bytes(public).numbers[0]
    assert public[24:] in secret
    for start in range(len(public), len(secret) - 16, 16):
        assert secret[start : start + 16] not in public
    assert p == n_of(PAILLIER)


def test_a_public_key_comes_back_from_its_bytes():
    public = key(PAILLIER).public_key
    assert AdditivePublicKey.from_bytes(public.to_bytes()) == public


@pytest.mark.parametrize("cut", [0, 20, 24, 30, -1])
def test_a_public_key_that_is_cut_off_is_refused(cut):
    with pytest.raises(InvalidArgument, match="malformed key"):
        AdditivePublicKey.from_bytes(key(PAILLIER).public_key.to_bytes()[:cut])


@pytest.mark.parametrize(
    ("numbers", "reason"),
    [
        (lambda n, h: (n,), "of 1 numbers, want 2"),
        (lambda n, h: (n >> 1024, h), "key of 1024 bits, want at least 2048"),
        (lambda n, h: (n + 1, h), "even"),
        (lambda n, h: (n, 0), "not a unit"),
        (lambda n, h: (n, n), "not a unit"),
        (lambda n, h: (n, n * n + 2), "not a unit"),
        (lambda n, h: (n << 20000 | 1, h), "at most 8192"),
    ],
)
def test_a_public_key_with_wrong_numbers_is_refused(numbers, reason):
    n, h = key(PAILLIER).public_key.numbers
    with pytest.raises(InvalidArgument, match=reason):
        AdditivePublicKey(PAILLIER, bytes(16), numbers(n, h))


def test_small_keys_of_lightphe_are_refused_unless_they_are_asked_for():
    data = key(AdditiveScheme.LIGHTPHE_BENALOH).public_key.to_bytes()
    with pytest.raises(InvalidArgument, match="want at least 2048"):
        AdditivePublicKey.from_bytes(data)
