"""The negacyclic number-theoretic transform, with SEAL's roots and order.

Longa and Naehrig, "Speeding up the Number Theoretic Transform for Faster Ideal Lattice-Based
Cryptography" (2016), algorithms 1 and 2; products by a constant are Shoup's: with w' = floor(w 2^32 / p),
x w - floor(x w' / 2^32) p is below 2 p, for any x below 2^32.  Between stages values stay below 4 p (forward)
or 2 p (backward), which 32 bits hold, and are reduced once at the end (Harvey, "Faster arithmetic for
number-theoretic transforms", 2014).

The four stages whose butterflies stand closer than `_LANES` work on the transposed polynomial, so that
every inner loop runs over neighbours and becomes vector instructions.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet
from blindsight.ring.jit import compiled

Words = npt.NDArray[np.uint64]

# Rows of the transposed polynomial; also the smallest polynomial.
_LANES = 16
MIN_SIZE = _LANES


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """Powers of the roots and their Shoup companions, for each prime.

    Attributes:
        powers, companions: in bit-reversed order, uint64 [primes, size].
        close_powers, close_companions: those of the close stages, uint64 [primes, 15, size / 16]: for
            butterflies of span s, 8 / s vectors, the widest stage first.
        primes: uint64 [primes].
        scales: the inverses of N, uint64 [primes].
    """

    powers: Words
    companions: Words
    close_powers: Words
    close_companions: Words
    primes: Words
    scales: Words


@cache
def _tables(parameters: ParameterSet, size: int, *, inverse: bool = False) -> _Tables:
    """Returns the tables for polynomials of `size` coefficients.

    The first `size` powers of the table of N are those of the root's (N / size)-th power.

    Args:
        inverse: whether the powers are those of the roots' inverses.
    """
    degree = parameters.ring_degree
    bits = degree.bit_length() - 1
    order = [int(format(index, f"0{bits}b")[::-1], 2) for index in range(size)]
    powers = np.empty((len(parameters.primes), size), np.uint64)
    for row, prime in enumerate(parameters.primes):
        root = _smallest_root(2 * degree, prime)
        root = pow(root, -1, prime) if inverse else root
        ascending = [1]
        for _ in range(degree - 1):
            ascending.append(ascending[-1] * root % prime)
        powers[row] = np.array(ascending, np.uint64)[order]
    primes = np.array(parameters.primes, np.uint64)
    close = np.concatenate([_close(powers, span) for span in (8, 4, 2, 1)], axis=1)
    scales = np.array([pow(degree, -1, prime) for prime in parameters.primes], np.uint64)
    return _Tables(powers, _shoup(powers, primes), close, _shoup(close, primes[:, None]), primes, scales)


def _close(powers: Words, span: int) -> Words:
    """Returns the powers of a close stage, [primes, 8 / span, size / 16]."""
    primes, size = powers.shape
    groups = size // (2 * span)
    of_stage = powers[:, groups : 2 * groups].reshape(primes, size // _LANES, -1)
    return np.ascontiguousarray(of_stage.transpose(0, 2, 1))


def _shoup(powers: Words, primes: Words) -> Words:
    return (powers << np.uint64(32)) // primes[:, None]


def _smallest_root(order: int, prime: int) -> int:
    """Returns the smallest primitive root of unity of an order that is a power of two: SEAL's choice."""
    generator = 2
    while pow(pow(generator, (prime - 1) // order, prime), order // 2, prime) != prime - 1:
        generator += 1
    root = pow(generator, (prime - 1) // order, prime)
    # The order is a power of two, so the primitive roots are the odd powers of one of them.
    square, smallest, current = root * root % prime, root, root
    for _ in range(order // 2):
        current = current * square % prime
        smallest = min(smallest, current)
    return smallest


@compiled
def _below(value: Any, bound: Any) -> Any:
    """Returns `value` modulo `bound`, for a value below twice the bound: a smaller one wraps and stays."""
    return min(value, numba.uint32(value - bound))


@compiled
def _times(value: Any, power: Any, companion: Any, prime: Any) -> Any:
    """Returns value * power modulo the prime, below 2 p, for any value below 2^32."""
    wide = numba.uint64(value)
    return numba.uint32(wide * power - ((wide * companion) >> numba.uint64(32)) * numba.uint64(prime))


@compiled
def _apart(first: Any, second: Any, power: Any, companion: Any, prime: Any) -> Any:
    """A butterfly forward (Cooley and Tukey): first + power * second, and first - power * second."""
    double = numba.uint32(numba.uint32(2) * prime)
    least = _below(first, double)
    product = _times(second, power, companion, prime)
    return numba.uint32(least + product), numba.uint32(numba.uint32(least + double) - product)


@compiled
def _together(first: Any, second: Any, power: Any, companion: Any, prime: Any) -> Any:
    """A butterfly backward (Gentleman and Sande): first + second, and power * (first - second)."""
    double = numba.uint32(numba.uint32(2) * prime)
    difference = numba.uint32(numba.uint32(first + double) - second)
    total = _below(numba.uint32(first + second), double)
    return total, _times(difference, power, companion, prime)


@compiled
def _transform(
    polynomial: Residues, powers: Words, companions: Words, close: Words, close_companions: Words, prime: Any
) -> None:
    """Transforms one polynomial, in place."""
    size = polynomial.size
    span, groups = size // 2, 1
    while span >= _LANES:
        for group in range(groups):
            power, companion = powers[groups + group], companions[groups + group]
            low = polynomial[2 * group * span : (2 * group + 1) * span]
            high = polynomial[(2 * group + 1) * span : (2 * group + 2) * span]
            for k in range(span):
                low[k], high[k] = _apart(low[k], high[k], power, companion, prime)
        groups *= 2
        span //= 2
    turned = np.empty((_LANES, size // _LANES), np.uint32)
    for k in range(size // _LANES):
        for lane in range(_LANES):
            turned[lane, k] = polynomial[k * _LANES + lane]
    vector = 0
    for stage in range(4):
        span = 8 >> stage
        for start in range(0, _LANES, 2 * span):
            power_row, companion_row = close[vector], close_companions[vector]
            vector += 1
            for lane in range(start, start + span):
                low, high = turned[lane], turned[lane + span]
                for k in range(low.size):
                    low[k], high[k] = _apart(low[k], high[k], power_row[k], companion_row[k], prime)
    for k in range(size // _LANES):
        for lane in range(_LANES):
            value = _below(turned[lane, k], numba.uint32(numba.uint32(2) * prime))
            polynomial[k * _LANES + lane] = _below(value, prime)


@compiled
def _transform_back(
    polynomial: Residues,
    powers: Words,
    companions: Words,
    close: Words,
    close_companions: Words,
    prime: Any,
    scale: Any,
) -> None:
    """Transforms one polynomial back, in place, and multiplies it by `scale`."""
    size = polynomial.size
    turned = np.empty((_LANES, size // _LANES), np.uint32)
    for k in range(size // _LANES):
        for lane in range(_LANES):
            turned[lane, k] = polynomial[k * _LANES + lane]
    for stage in range(4):
        span = 1 << stage
        vector = 8 // span - 1  # the vectors of the widest stage come first
        for start in range(0, _LANES, 2 * span):
            power_row, companion_row = close[vector], close_companions[vector]
            vector += 1
            for lane in range(start, start + span):
                low, high = turned[lane], turned[lane + span]
                for k in range(low.size):
                    low[k], high[k] = _together(low[k], high[k], power_row[k], companion_row[k], prime)
    for k in range(size // _LANES):
        for lane in range(_LANES):
            polynomial[k * _LANES + lane] = turned[lane, k]
    span, groups = _LANES, size // (2 * _LANES)
    while groups >= 1:
        for group in range(groups):
            power, companion = powers[groups + group], companions[groups + group]
            low = polynomial[2 * group * span : (2 * group + 1) * span]
            high = polynomial[(2 * group + 1) * span : (2 * group + 2) * span]
            for k in range(span):
                low[k], high[k] = _together(low[k], high[k], power, companion, prime)
        groups //= 2
        span *= 2
    companion = (numba.uint64(scale) << numba.uint64(32)) // numba.uint64(prime)
    for k in range(size):
        polynomial[k] = _below(_times(polynomial[k], scale, companion, prime), prime)


@compiled
def _forward(
    residues: Residues, powers: Words, companions: Words, close: Words, close_companions: Words, primes: Words
) -> None:
    for index in range(residues.shape[0]):
        for row in range(residues.shape[1]):
            prime = numba.uint32(primes[row])
            _transform(
                residues[index, row], powers[row], companions[row], close[row], close_companions[row], prime
            )


@compiled
def _inverse(
    residues: Residues,
    powers: Words,
    companions: Words,
    close: Words,
    close_companions: Words,
    primes: Words,
    scales: Words,
) -> None:
    for index in range(residues.shape[0]):
        for row in range(residues.shape[1]):
            prime, scale = numba.uint32(primes[row]), scales[row]
            tables = powers[row], companions[row], close[row], close_companions[row]
            _transform_back(residues[index, row], *tables, prime, scale)


def forward(residues: Residues, parameters: ParameterSet) -> None:
    """Transforms polynomials into NTT form, in place.

    Args:
        residues: uint32 [count, primes, N], contiguous, each below its prime.
    """
    made = _tables(parameters, parameters.ring_degree)
    tables = made.powers, made.companions, made.close_powers, made.close_companions
    _forward(residues, *tables, made.primes)


def inverse(residues: Residues, parameters: ParameterSet) -> None:
    """Transforms polynomials from NTT form back to coefficients, in place.

    Of a polynomial in NTT form whose values were added up in groups of b neighbours, it makes the
    coefficients at multiples of b: in this order the points with the same b-th power stand side by side, and
    the sum over them is b times the value that those coefficients have at that power.

    Args:
        residues: uint32 [count, primes, N / b], contiguous, each below its prime; at least `MIN_SIZE` values.
    """
    made = _tables(parameters, residues.shape[2], inverse=True)
    tables = made.powers, made.companions, made.close_powers, made.close_companions
    _inverse(residues, *tables, made.primes, made.scales)
