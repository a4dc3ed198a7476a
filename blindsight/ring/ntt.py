"""The negacyclic number-theoretic transform, with SEAL's roots and order.

Longa and Naehrig, "Speeding up the Number Theoretic Transform for Faster Ideal Lattice-Based
Cryptography" (2016), algorithm 1; products by a constant are Shoup's: with w' = floor(w 2^32 / p),
x w - floor(x w' / 2^32) p is below 2 p, for any x below 2^32.
"""

from __future__ import annotations

from functools import cache

import numba
import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet
from blindsight.ring.jit import compiled

Words = npt.NDArray[np.uint64]


@cache
def _roots(parameters: ParameterSet, *, inverse: bool = False) -> tuple[Words, Words]:
    """Returns powers of the roots in bit-reversed order, and their Shoup companions: uint64 [primes, N].

    Args:
        parameters: ring and primes.
        inverse: whether the powers are those of the roots' inverses.
    """
    degree = parameters.ring_degree
    bits = degree.bit_length() - 1
    order = [int(format(index, f"0{bits}b")[::-1], 2) for index in range(degree)]
    powers = np.empty((len(parameters.primes), degree), np.uint64)
    for row, prime in enumerate(parameters.primes):
        root = _smallest_root(2 * degree, prime)
        root = pow(root, -1, prime) if inverse else root
        ascending = [1]
        for _ in range(degree - 1):
            ascending.append(ascending[-1] * root % prime)
        powers[row] = np.array(ascending, np.uint64)[order]
    primes = np.array(parameters.primes, np.uint64)[:, None]
    return powers, (powers << np.uint64(32)) // primes


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
def _transform(polynomial: Residues, powers: Words, companions: Words, prime: int) -> None:
    """Transforms one polynomial [N], in place."""
    span = polynomial.size
    groups = 1
    modulus = numba.uint64(prime)
    while groups < polynomial.size:
        span //= 2
        for group in range(groups):
            power, companion = powers[groups + group], companions[groups + group]
            low = polynomial[2 * group * span : (2 * group + 1) * span]
            high = polynomial[(2 * group + 1) * span : (2 * group + 2) * span]
            for k in range(span):
                value = numba.uint64(high[k])
                # Residue and root have 27 bits, the companion 32: products of 54 and 59 bits.
                product = value * power - ((value * companion) >> numba.uint64(32)) * modulus
                product = product - modulus if product >= modulus else product
                total = numba.uint64(low[k]) + product
                difference = numba.uint64(low[k]) + modulus - product  # never below 0
                low[k] = total - modulus if total >= modulus else total
                high[k] = difference - modulus if difference >= modulus else difference
        groups *= 2


@compiled
def _transform_back(polynomial: Residues, powers: Words, companions: Words, prime: int, scale: int) -> None:
    """Transforms one polynomial [N] back, in place: algorithm 2; `scale` is the inverse of N."""
    span = 1
    groups = polynomial.size // 2
    modulus = numba.uint64(prime)
    while groups >= 1:
        for group in range(groups):
            power, companion = powers[groups + group], companions[groups + group]
            low = polynomial[2 * group * span : (2 * group + 1) * span]
            high = polynomial[(2 * group + 1) * span : (2 * group + 2) * span]
            for k in range(span):
                first, second = numba.uint64(low[k]), numba.uint64(high[k])
                total = first + second
                low[k] = total - modulus if total >= modulus else total
                difference = first + modulus - second  # never below 0, below 2 p
                product = difference * power - ((difference * companion) >> numba.uint64(32)) * modulus
                high[k] = product - modulus if product >= modulus else product
        groups //= 2
        span *= 2
    for k in range(polynomial.size):
        polynomial[k] = numba.uint64(polynomial[k]) * numba.uint64(scale) % modulus


@compiled
def _forward(residues: Residues, powers: Words, companions: Words, primes: Words) -> None:
    for index in range(residues.shape[0]):
        for row in range(residues.shape[1]):
            _transform(residues[index, row], powers[row], companions[row], primes[row])


def forward(residues: Residues, parameters: ParameterSet) -> None:
    """Transforms polynomials into NTT form, in place.

    Args:
        residues: uint32 [count, primes, N], contiguous, each below its prime.
    """
    powers, companions = _roots(parameters)
    _forward(residues, powers, companions, np.array(parameters.primes, np.uint64))


@compiled
def _inverse(residues: Residues, powers: Words, companions: Words, primes: Words, scales: Words) -> None:
    for index in range(residues.shape[0]):
        for row in range(residues.shape[1]):
            _transform_back(residues[index, row], powers[row], companions[row], primes[row], scales[row])


def inverse(residues: Residues, parameters: ParameterSet) -> None:
    """Transforms polynomials from NTT form back to coefficients, in place.

    Args:
        residues: uint32 [count, primes, N], contiguous, each below its prime.
    """
    powers, companions = _roots(parameters, inverse=True)
    scales = [pow(parameters.ring_degree, -1, prime) for prime in parameters.primes]
    primes = np.array(parameters.primes, np.uint64)
    _inverse(residues, powers, companions, primes, np.array(scales, np.uint64))
