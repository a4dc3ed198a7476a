"""Integers to residues in NTT form with fresh noise, and residues back to integers."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numba
import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidVector
from blindsight.packing.columns import Floats
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.ring import ntt
from blindsight.ring.jit import compiled
from blindsight.ring.lanes import LANES, Address, Factors, Lanes, Word, vector_code
from blindsight.trusted.schemes.encryption import of_integers
from blindsight.trusted.schemes.sampling import Words, add_noise


def scaled(values: Floats, scale: float) -> Integers:
    """Returns values multiplied by a scale and rounded."""
    return np.rint(values * scale).astype(np.int64)


def transformed(values: Integers, parameters: ParameterSet) -> Residues:
    """Returns integers [count, N] below 2^53 as polynomials in NTT form: uint32 [count, primes, N]."""
    residues = of_integers(values, parameters)
    ntt.forward(residues, parameters)
    return residues


def noisy(messages: Integers, parameters: ParameterSet) -> Residues:
    """Returns messages with fresh noise, in NTT form: uint32 [count, primes, N].

    CKKS adds the noise, BFV t times the noise: the form of BGV (Brakerski, Gentry, Vaikuntanathan, 2012),
    whose products need no scaling.

    Args:
        messages: int64 [count, N].

    Raises:
        InvalidVector: if a message is too large for its modulus, t or q: it would wrap around.
    """
    values = np.array(messages, np.int64)
    largest, limit = max(int(values.max()), -int(values.min())), _limit(parameters)
    if largest >= limit:
        raise InvalidVector(f"value of {largest} after scaling, want less than {limit}")
    add_noise(values, parameters.plain_modulus or 1)
    return transformed(values, parameters)


def _limit(parameters: ParameterSet) -> int:
    """Returns half of the modulus of messages, below which they are read back as they were."""
    return (parameters.plain_modulus or parameters.modulus) // 2


@cache
def composition(parameters: ParameterSet) -> tuple[Any, ...]:
    """Returns what `compose` takes beside residues, for the integer d_0 + d_1 p_0 + d_2 p_0 p_1 + ...

    These are the primes; the inverses of p_s modulo p_r, [r, s], and their companions; the products of
    primes modulo 2^64; the digits of (q - 1) / 2; q modulo 2^64; and t, or 0.
    """
    primes, count = parameters.primes, len(parameters.primes)
    inverses = np.zeros((count, count), np.uint32)
    radices, half, digits = [1], (parameters.modulus - 1) // 2, []
    for r, prime in enumerate(primes):
        for s in range(r):
            inverses[r, s] = pow(primes[s], -1, prime)
        half, digit = divmod(half, prime)
        digits.append(digit)
        radices.append(radices[-1] * prime)
    factors = Factors.of(inverses, primes)
    words = [value & ((1 << 64) - 1) for value in radices]
    return (
        np.array(primes, np.uint32),
        factors.residues,
        factors.companions,
        np.array(words[:-1], np.uint64),
        np.array(digits, np.uint32),
        np.uint64(words[-1]),
        parameters.plain_modulus,
    )


@vector_code
def _next_digit(
    v: Lanes, value: Address, digit: Address, inverse: Word, companion: Word, prime: Word
) -> None:
    """Subtracts a digit and divides by its prime, in place."""
    prime = v.filled(prime)
    # A digit is below another prime of as many bits, so below 2 p.
    difference = v.sub(v.add(v.load(value), v.add(prime, prime)), v.load(digit))
    v.store(v.below(v.times(difference, v.filled(inverse), v.filled(companion), prime), prime), value)


@compiled
def compose(
    residues: Residues,
    out: Integers,
    primes: Residues,
    inverses: Residues,
    companions: Residues,
    radices: Words,
    halves: Residues,
    modulus: Any,
    plain: int,
) -> None:
    """Computes the centred integers [size] of residues [primes, size], which it overwrites with digits.

    Garner, "The residue number system" (1959).

    Args:
        primes, and so on: see `composition`.
    """
    size, row_bytes = residues.shape[1], numba.uintp(4 * residues.shape[1])
    start = numba.uintp(residues.ctypes.data)
    upper = np.zeros(size, np.uint8)
    out[:] = 0
    for row in range(primes.size):
        for before in range(row):
            factor = inverses[row, before], companions[row, before]
            value, digit = start + numba.uintp(row) * row_bytes, start + numba.uintp(before) * row_bytes
            for k in range(0, size, LANES):
                skipped = numba.uintp(4 * k)
                _next_digit(value + skipped, digit + skipped, *factor, primes[row])
        radix, half, digits = numba.int64(radices[row]), halves[row], residues[row]
        for k in range(size):
            out[k] += numba.int64(digits[k]) * radix
            # Whether the digits so far are those of more than (q - 1) / 2: the last one that differs tells.
            upper[k] = (digits[k] > half) | ((digits[k] == half) & upper[k])
    for k in range(size):
        out[k] -= numba.int64(upper[k]) * numba.int64(modulus)
    if plain:
        for k in range(size):
            value_ = out[k] & (plain - 1)
            out[k] = value_ - plain * (value_ >= plain // 2)


@compiled
def _integers(residues: Residues, constants: Any, out: Integers) -> None:
    for index in range(residues.shape[0]):
        compose(residues[index].copy(), out[index], *constants)


def integers(residues: Residues, parameters: ParameterSet) -> Integers:
    """Returns the integers, centred, of residues uint32 [count, primes, size]: int64 [count, size].

    They are modulo q under CKKS, and modulo t under BFV, whose t is a power of two.
    """
    count, _, size = residues.shape
    out = np.empty((count, size), np.int64)
    _integers(residues, composition(parameters), out)
    return out


@compiled
def to_grid(values: Integers, factor: float, grid: float, out: Floats) -> None:
    """Rounds values times a factor, and multiplies them by a grid."""
    for k in range(values.size):
        out[k] = math.floor(numba.float64(values[k]) * factor + 0.5) * grid
