"""Noise of ring ciphertexts, from AES-256 in counter mode under a fresh key of the operating system.

There is no floating point here, no branch and no table look-up on a random word: what a sampler does, and how
long it takes, does not depend on what it draws.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from math import prod
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blindsight.packing.planes import Integers
from blindsight.ring.jit import compiled

Words = npt.NDArray[np.uint64]

NOISE_BITS = 21
"""The bits of each of the two sums whose difference is the noise; its variance is half of this."""


def random_words(shape: Sequence[int]) -> Words:
    """Returns uniform words: uint64 of this shape."""
    # One key serves one call, so the counter may begin at zero.
    stream = Cipher(algorithms.AES(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * prod(shape))), np.uint64).reshape(shape)


@compiled
def _ones(word: Any) -> Any:
    """Returns the number of bits that are set: Hacker's Delight, section 5-1."""
    pairs = word - ((word >> numba.uint64(1)) & numba.uint64(0x5555555555555555))
    fours = (pairs & numba.uint64(0x3333333333333333)) + (
        (pairs >> numba.uint64(2)) & numba.uint64(0x3333333333333333)
    )
    bytes_ = (fours + (fours >> numba.uint64(4))) & numba.uint64(0x0F0F0F0F0F0F0F0F)
    return (bytes_ * numba.uint64(0x0101010101010101)) >> numba.uint64(56)


@compiled
def _add_noise(words: Words, out: Integers) -> None:
    mask = numba.uint64((1 << NOISE_BITS) - 1)
    for index in range(words.size):
        word = words[index]
        plus = _ones(word & mask)
        minus = _ones((word >> numba.uint64(NOISE_BITS)) & mask)
        out[index] += numba.int64(plus) - numba.int64(minus)


def add_noise(values: Integers) -> None:
    """Adds the error of fresh ciphertexts to contiguous int64 values, in place.

    It is a centred binomial distribution, 21 fair bits minus 21 others, of standard deviation 3.24: that of
    SEAL (`sample_poly_cbd` in SEAL 4.1's `rlwe.cpp`), which the security estimates of the parameter sets
    assume.
    """
    _add_noise(random_words(values.shape).reshape(-1), values.reshape(-1))
