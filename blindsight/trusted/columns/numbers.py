"""Integers to residues in NTT form with fresh noise, and residues back to integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
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
from blindsight.ring.jit import compiled, reduced
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


@dataclass(frozen=True, slots=True, eq=False)
class _Moduli:
    """Constants of the Chinese remainder theorem: q / p_i and q modulo 2^64, (q / p_i)^-1 modulo p_i."""

    primes: Words
    cofactors: Words
    inverses: Words
    modulus: np.uint64


@cache
def _moduli(parameters: ParameterSet) -> _Moduli:
    word = (1 << 64) - 1
    cofactors = [parameters.modulus // prime for prime in parameters.primes]
    inverses = [pow(value, -1, prime) for value, prime in zip(cofactors, parameters.primes, strict=True)]
    return _Moduli(
        np.array(parameters.primes, np.uint64),
        np.array([value & word for value in cofactors], np.uint64),
        np.array(inverses, np.uint64),
        np.uint64(parameters.modulus & word),
    )


@compiled
def _compose(
    residues: Residues,
    primes: Words,
    cofactors: Words,
    inverses: Words,
    modulus: Any,
    plain: Any,
    out: Integers,
) -> None:
    """Computes the centred integers of residues [count, primes, size], each pass over neighbours."""
    size = residues.shape[2]
    total, fraction = np.empty(size, np.uint64), np.empty(size, np.float64)
    for index in range(residues.shape[0]):
        total[:], fraction[:] = 0, 0.0
        for row in range(primes.size):
            prime, cofactor, inverse = primes[row], cofactors[row], inverses[row]
            reciprocal = 1.0 / numba.float64(prime)
            polynomial = residues[index, row]
            for k in range(size):
                part = reduced(numba.uint64(polynomial[k]) * inverse, prime, reciprocal)
                total[k] += numba.uint64(part) * cofactor
                fraction[k] += numba.float64(part) * reciprocal
        # The fraction is value / q plus a whole number of turns.  Valid values are far from q / 2, where
        # the rounding of doubles could choose the other neighbour.
        composed = out[index]
        for k in range(size):
            turns = numba.uint64(fraction[k] + 0.5)
            composed[k] = numba.int64(total[k] - turns * modulus)
        if plain:
            for k in range(size):
                value = composed[k] & (plain - 1)
                composed[k] = value - plain * (value >= plain // 2)


def integers(residues: Residues, parameters: ParameterSet) -> Integers:
    """Returns the integers, centred, of residues uint32 [count, primes, size]: int64 [count, size].

    They are modulo q under CKKS, and modulo t under BFV, whose t is a power of two.
    """
    moduli = _moduli(parameters)
    count, _, size = residues.shape
    out = np.empty((count, size), np.int64)
    constants = moduli.primes, moduli.cofactors, moduli.inverses, moduli.modulus
    _compose(residues, *constants, parameters.plain_modulus, out)
    return out


@compiled
def _round(values: Integers, factor: float, grid: float, out: Floats) -> None:
    for k in range(values.size):
        out[k] = math.floor(numba.float64(values[k]) * factor + 0.5) * grid


def rounded(residues: Residues, parameters: ParameterSet, scale: float, grid: float) -> Floats:
    """Returns the numbers that `integers` are at a scale, rounded to multiples of a grid: [count, size]."""
    values = integers(residues, parameters)
    out = np.empty(values.shape, np.float64)
    _round(values.reshape(-1), 1 / (scale * grid), grid, out.reshape(-1))
    return out
