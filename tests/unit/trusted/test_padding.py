"""Padding: what is sealed has one of few sizes, and is refused if it is not padded as it should be."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.ciphertext.header import SEALED_OVERHEAD_BYTES
from blindsight.errors import DataLoss
from blindsight.runtime.transfer import MAX_PHOTO_BYTES
from blindsight.trusted.keyring.padding import pad, padded_size, padme, unpad
from services.storage.validation import MAX_ORIGINAL_BYTES

SIZES = st.integers(1, 2 * MAX_PHOTO_BYTES)


@given(SIZES)
def test_a_size_grows_by_twelve_percent_at_most_and_is_its_own_padded_size(size):
    padded = padme(size)
    assert size <= padded <= 1.12 * size
    assert padme(padded) == padded


@given(SIZES, SIZES)
def test_a_larger_size_is_never_padded_to_a_smaller_one(one, other):
    small, large = sorted((one, other))
    assert padme(small) <= padme(large)


def test_few_sizes_are_left():
    assert [padme(size) for size in (1, 8, 9, 17, 100, 1000, 10_000, 1_000_000)] == [
        1, 8, 10, 18, 104, 1024, 10_240, 1_015_808,
    ]  # fmt: skip
    # Of photos between 1 and 2 megabytes there are 32 sizes, of those between 32 and 64 as many.
    assert len({padme(size) for size in range(1 << 20, 1 << 21, 512)}) == 33
    assert len({padme(size) for size in range(1 << 25, 1 << 26, 1 << 14)}) == 33


@given(st.binary(max_size=3000))
def test_what_was_padded_comes_out_as_it_went_in(data):
    assert unpad(pad(data)) == data
    assert len(pad(data)) == padded_size(len(data)) == padme(len(data) + 8)


def test_the_largest_photo_fits_storage():
    assert padded_size(MAX_PHOTO_BYTES) + SEALED_OVERHEAD_BYTES < MAX_ORIGINAL_BYTES


WHOLE = pad(b"photo" * 100)
WRONG = {
    "nothing": b"",
    "half a length": WHOLE[:7],
    "a byte less": WHOLE[:-1],
    "a byte more": WHOLE + b"\0",
    "the next size": WHOLE + bytes(padme(len(WHOLE) + 1) - len(WHOLE)),
    "no zeros": struct.pack("<Q", 500) + b"photo" * 100,
    "something behind": WHOLE[:-1] + b"\1",
    "a longer length": struct.pack("<Q", 1 << 63) + WHOLE[8:],
    "a shorter length": struct.pack("<Q", 499) + WHOLE[8:],
    "not padded": b"photo" * 100,
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_padded_as_it_should_be_is_refused(name):
    with pytest.raises(DataLoss, match="not padded as a file is"):
        unpad(WRONG[name])
