"""Batches of rows: b_j = m_j + e_j - a s_j, all columns with one random polynomial a.

These are Ring-LWE samples under as many independent secrets as there are columns, which share their uniform
part (Bae, Cheon, Hanrot, Park, Stehle, Crypto 2024).  The 32 bytes from which a is made are stored with
the batch.  Every batch has a seed of its own from the operating system: under one seed, two different batches
would give away their difference.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numba
import numpy as np

from blindsight.ciphertext.residues import Residues, prime_column
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.ring import columns, ntt
from blindsight.ring.columns import row_primes
from blindsight.ring.jit import compiled
from blindsight.ring.lanes import LANES, Address, Factors, Lanes, Word, vector_code
from blindsight.ring.tiles import TILE, Geometry, from_tiles
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.columns.numbers import integers, noisy
from blindsight.trusted.schemes.sampling import KEY_BYTES, Words, uniform

# Columns that are encrypted together: their polynomials stay in the second-level cache.
_AT_ONCE = 16


@vector_code
def _take(
    v: Lanes, values: Address, common: Address, companions: Address, each: Address, prime: Word, out: Address
) -> None:
    """Computes values - common * each."""
    prime = v.filled(prime)
    product = v.times(v.load(each), v.load(common), v.load(companions), prime)
    v.store(v.below(v.sub(v.add(v.load(values), prime), v.below(product, prime)), prime), out)


@compiled
def _cover(
    polynomials: Residues,
    common: Residues,
    companions: Residues,
    each: Residues,
    primes: Words,
    out: Residues,
    first: int,
) -> None:
    """Computes polynomials_j - common * each_j for columns from `first` on, in tiles."""
    columns_, count, degree = polynomials.shape
    row_bytes, column_bytes = numba.uintp(4 * TILE * out.shape[1]), numba.uintp(4 * TILE)
    polynomial_bytes = numba.uintp(4 * count * degree)
    for row in range(out.shape[0]):
        prime = numba.uint32(primes[row])
        # A row of tiles holds the same points of all columns, TILE of those of one prime.
        of_points, of_tiles = numba.uintp(4 * TILE * row), row_bytes * numba.uintp(row)
        for j in range(columns_):
            for k in range(0, TILE, LANES):
                points = of_points + numba.uintp(4 * k)
                tile = of_tiles + column_bytes * numba.uintp(first + j) + numba.uintp(4 * k)
                _take(
                    numba.uintp(polynomials.ctypes.data) + polynomial_bytes * numba.uintp(j) + points,
                    numba.uintp(common.ctypes.data) + points,
                    numba.uintp(companions.ctypes.data) + points,
                    numba.uintp(each.ctypes.data) + tile,
                    prime,
                    numba.uintp(out.ctypes.data) + tile,
                )


def cover(
    messages: Integers,
    common: Factors,
    each: Residues,
    parameters: ParameterSet,
    out: Residues,
    first_column: int = 0,
) -> None:
    """Encrypts messages: m_j + e_j - common * each_j, with fresh noise.

    Args:
        messages: int64 [count, N], of columns from `first_column` on.
        common: one polynomial in NTT form, [primes, N].
        each: a polynomial for each column, in tiles.
        out: receives the columns, in tiles of the same shape.
    """
    last = first_column + len(messages)
    if messages.shape[1:] != (parameters.ring_degree,) or not 0 <= first_column <= last <= out.shape[1]:
        raise ValueError(f"messages {messages.shape} from column {first_column}, want columns of {out.shape}")
    columns.check_shapes([each, out], parameters, out.shape[1], ((0, out.shape[1]),), 1)
    for start in range(0, len(messages), _AT_ONCE):
        _covered(
            noisy(messages[start : start + _AT_ONCE], parameters),
            common,
            each,
            parameters,
            out,
            first_column + start,
        )


def _covered(
    polynomials: Residues,
    common: Factors,
    each: Residues,
    parameters: ParameterSet,
    out: Residues,
    first_column: int,
) -> None:
    rows = row_primes(parameters)
    _cover(polynomials, common.residues, common.companions, each, rows, out, first_column)


def fresh_seed() -> bytes:
    """Returns a new seed for a batch."""
    return os.urandom(KEY_BYTES)


def common_polynomial(seed: bytes, parameters: ParameterSet) -> Residues:
    """Returns the polynomial a of a seed: uniform, in NTT form, uint32 [primes, N]."""
    polynomial: Residues = uniform(seed, 1, parameters)[0]
    return polynomial


def encrypt(messages: Integers, keys: ColumnKeys) -> tuple[Residues, bytes]:
    """Encrypts a batch [columns, N] under a new seed; returns tiles and the seed."""
    seed = fresh_seed()
    common = common_polynomial(seed, keys.parameters)
    tiles = np.empty_like(keys.secrets)
    factors = Factors.of(common, keys.parameters.primes)
    cover(messages, factors, keys.secrets, keys.parameters, tiles)
    return tiles, seed


def decrypt(batches: Sequence[tuple[Residues, bytes]], keys: ColumnKeys) -> Integers:
    """Decrypts the sum of batches, given as tiles and seeds: int64 [columns, N]."""
    parameters = keys.parameters
    total = np.zeros(Geometry(parameters, keys.secrets.shape[1]).shape, np.uint32)
    common = np.zeros((len(parameters.primes), parameters.ring_degree), np.uint32)
    for tiles, seed in batches:
        columns.add(total, tiles, parameters)
        common = sum_of(common, common_polynomial(seed, parameters), parameters)
    negated = np.where(common, prime_column(parameters) - common, 0).astype(np.uint32)
    opened = np.empty_like(total)
    factors = Factors.of(negated, parameters.primes)
    _covered(from_tiles(total, parameters), factors, keys.secrets, parameters, opened, 0)
    polynomials = from_tiles(opened, parameters)
    ntt.inverse(polynomials, parameters)
    return integers(polynomials, parameters)


def sum_of(first: Residues, second: Residues, parameters: ParameterSet) -> Residues:
    """Returns the sum of polynomials uint32 [..., primes, N]."""
    primes = prime_column(parameters)
    total = first + second  # below 2^28: no wrap
    least: Residues = np.minimum(total, total - primes)
    return least
