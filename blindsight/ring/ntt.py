"""The negacyclic number-theoretic transform, with SEAL's roots and order.

Longa and Naehrig, "Speeding up the Number Theoretic Transform for Faster Ideal Lattice-Based
Cryptography" (2016), algorithms 1 and 2.  Between stages values stay below 4 p (forward) or 2 p (backward),
which 32 bits hold, and are reduced once at the end (Harvey, "Faster arithmetic for number-theoretic
transforms", 2014).  Butterflies whose ends stand `LANES` or more apart are done 16 at a time, the last four
stages within one vector.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet
from blindsight.ring.jit import compiled
from blindsight.ring.lanes import LANE_BYTES, LANES, Address, Factors, Lanes, Word, vector_code

# The smallest polynomial.
MIN_SIZE = LANES

# Distances of butterflies within a vector, in the order of the transform.
_SPANS = (8, 4, 2, 1)


@dataclass(frozen=True, slots=True, eq=False)
class _Tables:
    """Powers of the roots, for each prime.

    Attributes:
        primes: uint32 [primes].
        powers: in bit-reversed order, [primes, size].
        close: those of the stages within vectors, [primes, size]: for each vector, 8 / s of the stage of span
            s from lane 8 / s - 1 on.
        scales: the inverses of N, [primes, 1].
    """

    primes: Residues
    powers: Factors
    close: Factors
    scales: Factors

    @property
    def stages(self) -> tuple[Residues, ...]:
        """What a transform takes, beside the primes."""
        return self.powers.residues, self.powers.companions, self.close.residues, self.close.companions


@cache
def _tables(parameters: ParameterSet, size: int, *, inverse: bool = False) -> _Tables:
    """Returns the tables for polynomials of `size` coefficients.

    The first `size` powers of the table of N are those of the root's (N / size)-th power.

    Args:
        inverse: whether the powers are those of the roots' inverses.
    """
    degree, primes = parameters.ring_degree, parameters.primes
    bits = degree.bit_length() - 1
    order = [int(format(index, f"0{bits}b")[::-1], 2) for index in range(size)]
    powers = np.empty((len(primes), size), np.uint32)
    for row, prime in enumerate(primes):
        root = _smallest_root(2 * degree, prime)
        root = pow(root, -1, prime) if inverse else root
        ascending = [1]
        for _ in range(degree - 1):
            ascending.append(ascending[-1] * root % prime)
        powers[row] = np.array(ascending, np.uint32)[order]
    scales = np.array([[pow(degree, -1, prime)] for prime in primes], np.uint32)
    tables = (Factors.of(each, primes) for each in (powers, _close(powers), scales))
    return _Tables(np.array(primes, np.uint32), *tables)


def _close(powers: Residues) -> Residues:
    """Returns the powers of the stages within vectors; see `_Tables`."""
    primes, size = powers.shape
    vectors = size // LANES
    close = np.zeros((primes, vectors, LANES), np.uint32)
    for span in _SPANS:
        groups, first, count = size // (2 * span), _first(span), _SPANS[0] // span
        close[:, :, first : first + count] = powers[:, groups : 2 * groups].reshape(primes, vectors, count)
    return close.reshape(primes, size)


def _first(span: int) -> int:
    """Returns the lane of a close stage's first power."""
    return _SPANS[0] // span - 1


def _spread(span: int) -> list[int]:
    """Returns, for each lane of a close stage, the lane of its butterfly's power."""
    return [_first(span) + lane // (2 * span) for lane in range(LANES)]


def _ends(span: int) -> tuple[list[int], list[int], list[bool]]:
    """Returns the lower and the upper lane of each lane's butterfly, and whether it is the upper one."""
    lanes = range(LANES)
    lower, upper = [lane & ~span for lane in lanes], [lane | span for lane in lanes]
    return lower, upper, [lane == end for lane, end in zip(lanes, upper, strict=True)]


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


@vector_code
def _apart(v: Lanes, low: Address, high: Address, power: Word, companion: Word, prime: Word) -> None:
    """Butterflies forward (Cooley and Tukey): low + power * high, and low - power * high."""
    power, companion, prime = v.filled(power), v.filled(companion), v.filled(prime)
    double = v.add(prime, prime)
    least, product = v.below(v.load(low), double), v.times(v.load(high), power, companion, prime)
    v.store(v.add(least, product), low)
    v.store(v.sub(v.add(least, double), product), high)


@vector_code
def _together(v: Lanes, low: Address, high: Address, power: Word, companion: Word, prime: Word) -> None:
    """Butterflies backward (Gentleman and Sande): low + high, and power * (low - high)."""
    power, companion, prime = v.filled(power), v.filled(companion), v.filled(prime)
    double = v.add(prime, prime)
    first, second = v.load(low), v.load(high)
    v.store(v.below(v.add(first, second), double), low)
    v.store(v.times(v.sub(v.add(first, double), second), power, companion, prime), high)


@vector_code
def _apart_within(v: Lanes, at: Address, powers: Address, companions: Address, prime: Word) -> None:
    """The last four stages forward, and the reduction."""
    prime = v.filled(prime)
    double = v.add(prime, prime)
    values, powers, companions = v.load(at), v.load(powers), v.load(companions)
    for span in _SPANS:
        (lower, upper, is_upper), spread = _ends(span), _spread(span)
        least = v.below(v.shuffled(values, lower), double)
        of_stage = v.shuffled(powers, spread), v.shuffled(companions, spread)
        product = v.times(v.shuffled(values, upper), *of_stage, prime)
        values = v.chosen(is_upper, v.sub(v.add(least, double), product), v.add(least, product))
    v.store(v.below(v.below(values, double), prime), at)


@vector_code
def _together_within(v: Lanes, at: Address, powers: Address, companions: Address, prime: Word) -> None:
    """The first four stages backward."""
    prime = v.filled(prime)
    double = v.add(prime, prime)
    values, powers, companions = v.load(at), v.load(powers), v.load(companions)
    for span in reversed(_SPANS):
        (lower, upper, is_upper), spread = _ends(span), _spread(span)
        first, second = v.shuffled(values, lower), v.shuffled(values, upper)
        of_stage = v.shuffled(powers, spread), v.shuffled(companions, spread)
        product = v.times(v.sub(v.add(first, double), second), *of_stage, prime)
        values = v.chosen(is_upper, product, v.below(v.add(first, second), double))
    v.store(values, at)


@vector_code
def _scale(v: Lanes, at: Address, factor: Word, companion: Word, prime: Word) -> None:
    prime = v.filled(prime)
    product = v.times(v.load(at), v.filled(factor), v.filled(companion), prime)
    v.store(v.below(product, prime), at)


@compiled
def _transform(
    polynomial: Residues,
    powers: Residues,
    companions: Residues,
    close: Residues,
    close_companions: Residues,
    prime: Any,
) -> None:
    """Transforms one polynomial, in place."""
    start, step = numba.uintp(polynomial.ctypes.data), numba.uintp(LANE_BYTES)
    span, groups = polynomial.size // 2, 1
    while span >= LANES:
        for group in range(groups):
            power, companion = powers[groups + group], companions[groups + group]
            low = start + numba.uintp(8 * group * span)
            high = low + numba.uintp(4 * span)
            for k in range(span // LANES):
                _apart(low + step * numba.uintp(k), high + step * numba.uintp(k), power, companion, prime)
        groups *= 2
        span //= 2
    first, second = numba.uintp(close.ctypes.data), numba.uintp(close_companions.ctypes.data)
    for k in range(polynomial.size // LANES):
        skipped = step * numba.uintp(k)
        _apart_within(start + skipped, first + skipped, second + skipped, prime)


@compiled
def _transform_back(
    polynomial: Residues,
    powers: Residues,
    companions: Residues,
    close: Residues,
    close_companions: Residues,
    prime: Any,
    scale: Any,
    scale_companion: Any,
) -> None:
    """Transforms one polynomial back, in place, and multiplies it by `scale`."""
    start, step = numba.uintp(polynomial.ctypes.data), numba.uintp(LANE_BYTES)
    vectors = polynomial.size // LANES
    first, second = numba.uintp(close.ctypes.data), numba.uintp(close_companions.ctypes.data)
    for k in range(vectors):
        skipped = step * numba.uintp(k)
        _together_within(start + skipped, first + skipped, second + skipped, prime)
    span, groups = LANES, vectors // 2
    while groups >= 1:
        for group in range(groups):
            power, companion = powers[groups + group], companions[groups + group]
            low = start + numba.uintp(8 * group * span)
            high = low + numba.uintp(4 * span)
            for k in range(span // LANES):
                _together(low + step * numba.uintp(k), high + step * numba.uintp(k), power, companion, prime)
        groups //= 2
        span *= 2
    for k in range(vectors):
        _scale(start + step * numba.uintp(k), scale, scale_companion, prime)


@compiled
def _forward(
    residues: Residues,
    primes: Residues,
    powers: Residues,
    companions: Residues,
    close: Residues,
    close_companions: Residues,
) -> None:
    for index in range(residues.shape[0]):
        for row in range(primes.size):
            tables = powers[row], companions[row], close[row], close_companions[row]
            _transform(residues[index, row], *tables, primes[row])


@compiled
def inverse_rows(
    polynomial: Residues,
    primes: Residues,
    scales: Residues,
    scale_companions: Residues,
    powers: Residues,
    companions: Residues,
    close: Residues,
    close_companions: Residues,
) -> None:
    """Transforms one polynomial uint32 [primes, size] back, in place: `inverse` for compiled code.

    Args:
        primes, and so on: see `inverse_tables`.
    """
    for row in range(primes.size):
        tables = powers[row], companions[row], close[row], close_companions[row]
        scale = scales[row, 0], scale_companions[row, 0]
        _transform_back(polynomial[row], *tables, primes[row], *scale)


@compiled
def _inverse(
    residues: Residues,
    primes: Residues,
    scales: Residues,
    scale_companions: Residues,
    powers: Residues,
    companions: Residues,
    close: Residues,
    close_companions: Residues,
) -> None:
    tables = powers, companions, close, close_companions
    for index in range(residues.shape[0]):
        inverse_rows(residues[index], primes, scales, scale_companions, *tables)


def forward(residues: Residues, parameters: ParameterSet) -> None:
    """Transforms polynomials into NTT form, in place.

    Args:
        residues: uint32 [count, primes, N], contiguous, each below its prime.
    """
    tables = _tables(parameters, parameters.ring_degree)
    _forward(residues, tables.primes, *tables.stages)


def inverse(residues: Residues, parameters: ParameterSet) -> None:
    """Transforms polynomials from NTT form back to coefficients, in place.

    Of a polynomial in NTT form whose values were added up in groups of b neighbours, it makes the
    coefficients at multiples of b: in this order the points with the same b-th power stand side by side, and
    the sum over them is b times the value that those coefficients have at that power.

    Args:
        residues: uint32 [count, primes, N / b], contiguous, each below its prime; at least `MIN_SIZE` values.
    """
    _inverse(residues, *inverse_tables(parameters, residues.shape[2]))


def inverse_tables(parameters: ParameterSet, size: int) -> tuple[Residues, ...]:
    """Returns what `inverse_rows` takes beside a polynomial of `size` coefficients."""
    tables = _tables(parameters, size, inverse=True)
    return tables.primes, tables.scales.residues, tables.scales.companions, *tables.stages
