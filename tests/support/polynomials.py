"""Polynomials of the ring as Python's and numpy's integers, which do not overflow."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import PARAMETER_SETS, ParameterSet
from blindsight.ring import ntt
from blindsight.ring.tiles import Geometry

SETS = pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)

# Bytes of a coefficient of a product: 8,192 products of residues of 27 bits have 67 bits.
_COEFFICIENT_BYTES = 12


def random_residues(parameters: ParameterSet, count: int, seed: int) -> Residues:
    """Uniform polynomials: uint32 [count, primes, N]."""
    primes = np.array(parameters.primes)[:, None]
    shape = count, len(parameters.primes), parameters.ring_degree
    return np.random.default_rng(seed).integers(0, primes, shape).astype(np.uint32)


def tile_primes(parameters: ParameterSet) -> npt.NDArray[np.uint64]:
    """The prime of each row of tiles, to broadcast over [rows, columns, TILE]."""
    rows = Geometry(parameters, 1).rows
    return np.repeat(np.array(parameters.primes, np.uint64), rows // len(parameters.primes))[:, None, None]


def random_tiles(parameters: ParameterSet, columns: int, seed: int) -> Residues:
    """Uniform columns in tiles: uint32 [primes * tiles, columns, TILE]."""
    generator, shape = np.random.default_rng(seed), Geometry(parameters, columns).shape
    return generator.integers(0, tile_primes(parameters), shape).astype(np.uint32)


def largest_tiles(parameters: ParameterSet, columns: int) -> Residues:
    """Columns in tiles whose residues are all as large as they can be."""
    shape = Geometry(parameters, columns).shape
    return np.ascontiguousarray(np.broadcast_to(tile_primes(parameters) - 1, shape), np.uint32)


def coefficients(values: Residues, parameters: ParameterSet) -> Residues:
    """The coefficients of one polynomial in NTT form, whole or folded: uint32 [primes, size]."""
    made = values[None].copy()
    ntt.inverse(made, parameters)
    return made[0]


def negacyclic(first: npt.NDArray[Any], second: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The product of two polynomials [N] modulo X^N + 1, as Python's integers.

    All coefficients are multiplied at once, as the digits of two very large numbers (Kronecker, 1882).
    """
    size = first.size
    product = _number(first) * _number(second)
    digits = product.to_bytes(2 * size * _COEFFICIENT_BYTES, "little")
    starts = range(0, len(digits), _COEFFICIENT_BYTES)
    found = [int.from_bytes(digits[at : at + _COEFFICIENT_BYTES], "little") for at in starts]
    return np.array(found[:size], object) - np.array(found[size:], object)


def _number(polynomial: npt.NDArray[Any]) -> int:
    digits = (value.to_bytes(_COEFFICIENT_BYTES, "little") for value in polynomial.tolist())
    return int.from_bytes(b"".join(digits), "little")
