"""Adds ciphertexts to blocks: expands their seeds and arranges them in the kernel's order."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import PARAMETER_SETS, ParameterSet
from blindsight.ring.jit import compiled
from blindsight.ring.prng import SEED_PREFIX, expand
from services.evaluator.computing.schemes import Side, prepare
from services.evaluator.geometry import TILE, Geometry

# Columns that are expanded at once before they are added: their residues fit in the second-level cache.
_GROUP = 8


@cache
def row_primes(parameters: ParameterSet) -> npt.NDArray[np.uint64]:
    """Returns the prime of each row of a block: uint64 [primes * tiles]."""
    return np.repeat(np.array(parameters.primes, np.uint64), parameters.ring_degree // TILE)


@compiled
def _add(
    block: Residues, column: int, first: Residues, second: Residues, primes: npt.NDArray[np.uint32]
) -> None:
    """Adds ciphertexts [count, primes, N], given as two polynomials, to a block from `column` on."""
    count, _, degree = first.shape
    tiles = degree // TILE
    for row in range(block.shape[0]):
        index, start = row // tiles, row % tiles * TILE
        prime = primes[index]
        for j in range(count):
            # Both are below the prime, so one subtraction reduces their sum, and 32 bits hold it.
            for k in range(TILE):
                total = block[row, column + j, 0, k] + first[j, index, start + k]
                block[row, column + j, 0, k] = total - prime if total >= prime else total
                total = block[row, column + j, 1, k] + second[j, index, start + k]
                block[row, column + j, 1, k] = total - prime if total >= prime else total


def compile_all() -> None:
    """Compiles this module's functions, or loads them from numba's cache."""
    for parameters in PARAMETER_SETS.values():
        block = np.zeros(Geometry(parameters, 1).shape, np.uint32)
        residues = np.zeros((1, 2, len(parameters.primes), parameters.ring_degree), np.uint32)
        seeds = np.frombuffer(SEED_PREFIX + bytes(64), np.uint8).reshape(1, -1)
        add_seeded(block, residues[:, :1], seeds, parameters)
        add_full(block, residues, parameters)
        for writable in (True, False):  # numba compiles for each, and mapped files are read-only
            block.flags.writeable = writable
            checksum(block)


def add_seeded(
    block: Residues,
    residues: Residues,
    seeds: npt.NDArray[np.uint8],
    parameters: ParameterSet,
    first_column: int = 0,
    side: Side = Side.GALLERY,
) -> None:
    """Expands seeded ciphertexts and adds them to a block, column by column.

    Args:
        block: uint32 [primes * tiles, columns, 2, TILE], changed in place; zeros to only arrange them.
        residues: uint32 [count, 1, primes, N], below their primes.
        seeds: uint8 [count, 81].
        first_column: the column of the first ciphertext.
        side: the factor of the product that they are.

    Raises:
        InvalidCiphertext: if a seed is of another generator.
        ValueError: if the shapes do not fit.
    """
    _check(block, residues, parameters, first_column)
    for start in range(0, residues.shape[0], _GROUP):
        stop = start + _GROUP
        second = expand(seeds[start:stop], parameters)
        _put(block, first_column + start, residues[start:stop, 0], second, parameters, side)


def add_full(
    block: Residues,
    residues: Residues,
    parameters: ParameterSet,
    first_column: int = 0,
    side: Side = Side.GALLERY,
) -> None:
    """Adds full ciphertexts, uint32 [count, 2, primes, N], to a block, like `add_seeded`.

    Raises:
        ValueError: if the shapes do not fit.
    """
    _check(block, residues, parameters, first_column)
    for start in range(0, residues.shape[0], _GROUP):
        stop = start + _GROUP
        second = np.array(residues[start:stop, 1])
        _put(block, first_column + start, residues[start:stop, 0], second, parameters, side)


def _put(
    block: Residues, column: int, first: Residues, second: Residues, parameters: ParameterSet, side: Side
) -> None:
    # A copy is always contiguous and writable, so one compiled version is enough.
    first = np.array(first)
    prepare(first, parameters, side)
    prepare(second, parameters, side)
    _add(block, column, first, second, _primes(parameters))


@cache
def _primes(parameters: ParameterSet) -> npt.NDArray[np.uint32]:
    return np.array(parameters.primes, np.uint32)


def _check(block: Residues, residues: Residues, parameters: ParameterSet, first_column: int) -> None:
    """Refuses shapes that do not fit, since compiled code checks no bounds."""
    shape = Geometry(parameters, block.shape[1]).shape
    polynomial = len(parameters.primes), parameters.ring_degree
    if block.shape != shape or residues.shape[2:] != polynomial:
        raise ValueError(f"block {block.shape} of residues {residues.shape}, want {shape} of {polynomial}")
    if not 0 <= first_column <= block.shape[1] - residues.shape[0]:
        raise ValueError(f"{residues.shape[0]} columns at {first_column}, want at most {block.shape[1]}")


@compiled
def _sums(residues: Residues) -> tuple[np.uint64, np.uint64]:
    plain = np.uint64(0)
    weighted = np.uint64(0)
    for i in range(residues.size):
        value = np.uint64(residues[i])
        plain += value
        # Odd weights are invertible modulo 2^64, so no change of one residue is lost in the product.
        weighted += value * np.uint64(2 * i + 1)
    return plain, weighted


def checksum(block: Residues) -> bytes:
    """Returns 16 bytes that change with any damaged byte; fast as memory, but not secure against forgery.

    They are sums of the residues, plain and weighted by position, modulo 2^64: two errors that cancel in one
    sum do not cancel in the other.
    """
    plain, weighted = _sums(block.reshape(-1))
    return int(plain).to_bytes(8, "little") + int(weighted).to_bytes(8, "little")
