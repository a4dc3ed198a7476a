"""Noise, secrets and public polynomials of ring ciphertexts, from AES-256 in counter mode.

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

from blindsight.ciphertext.residues import Residues
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.ring.jit import compiled, reduced

Words = npt.NDArray[np.uint64]

NOISE_BITS = 21
"""The bits of each of the two sums whose difference is the noise; its variance is half of this."""


# Bytes of a key of the generator.
KEY_BYTES = 32


def _words(key: bytes, shape: Sequence[int]) -> Words:
    """Returns the first words of the generator under a key: uint64 of this shape."""
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * prod(shape))), np.uint64).reshape(shape)


def random_words(shape: Sequence[int]) -> Words:
    """Returns uniform words: uint64 of this shape."""
    # One key serves one call, so the counter may begin at zero.
    return _words(os.urandom(KEY_BYTES), shape)


@compiled
def _ternary(words: Words, out: Integers) -> None:
    for index in range(words.size):
        high = words[index] >> numba.uint64(32)
        out[index] = numba.int64((high * numba.uint64(3)) >> numba.uint64(32)) - 1


def ternary(key: bytes, shape: Sequence[int]) -> Integers:
    """Returns uniform values of -1, 0 and 1 under a key of the generator: int64 of this shape.

    32 bits times 3, the upper part: no value is more likely than another by more than 2^-32.
    """
    out = np.empty(shape, np.int64)
    _ternary(_words(key, shape).reshape(-1), out.reshape(-1))
    return out


@compiled
def _reduce(words: Words, primes: Words, out: Residues) -> None:
    for index in range(out.shape[0]):
        for row in range(primes.size):
            reciprocal = 1.0 / numba.float64(primes[row])
            for k in range(out.shape[2]):
                out[index, row, k] = reduced(words[index, row, k], primes[row], reciprocal)


def uniform(key: bytes, count: int, parameters: ParameterSet) -> Residues:
    """Returns uniform polynomials under a key of the generator: uint32 [count, primes, N], in any form.

    64 bits modulo a prime of 27: no residue is more likely than another by more than 2^-37.
    """
    out = np.empty((count, len(parameters.primes), parameters.ring_degree), np.uint32)
    _reduce(_words(key, out.shape), np.array(parameters.primes, np.uint64), out)
    return out


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
def _add_noise(words: Words, factor: int, out: Integers) -> None:
    mask = numba.uint64((1 << NOISE_BITS) - 1)
    for index in range(words.size):
        word = words[index]
        plus = _ones(word & mask)
        minus = _ones((word >> numba.uint64(NOISE_BITS)) & mask)
        out[index] += (numba.int64(plus) - numba.int64(minus)) * factor


def add_noise(values: Integers, factor: int = 1) -> None:
    """Adds the error of fresh ciphertexts, multiplied by a factor, to contiguous int64 values, in place.

    It is a centred binomial distribution, 21 fair bits minus 21 others, of standard deviation 3.24: that of
    SEAL (`sample_poly_cbd` in SEAL 4.1's `rlwe.cpp`), which the security estimates of the parameter sets
    assume.
    """
    _add_noise(random_words(values.shape).reshape(-1), factor, values.reshape(-1))


def scalars(key: bytes, count: int, parameters: ParameterSet) -> Words:
    """Returns uniform numbers modulo each prime under a key of the generator: uint64 [count, primes].

    The first ones of a larger count are the same.  The bias is that of `uniform`.
    """
    return _words(key, (count, len(parameters.primes))) % np.array(parameters.primes, np.uint64)
