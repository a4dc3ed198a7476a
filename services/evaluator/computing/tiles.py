"""Ciphertexts into blocks: expanded from their seeds, put in the kernel's order, added up."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import PARAMETER_SETS, ParameterSet
from services.evaluator.computing.jit import compiled
from services.evaluator.computing.prng import SEED_PREFIX, expand
from services.evaluator.computing.schemes import Side, prepare
from services.evaluator.geometry import TILE, Geometry

# Columns that are expanded before they are put in place: their residues fit in the second-level cache.
_GROUP = 8


@cache
def row_primes(parameters: ParameterSet) -> npt.NDArray[np.uint64]:
    """The prime of each row of a block: uint64 [primes * tiles]."""
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
    """Compiles what is here, or loads what an earlier process compiled."""
    for parameters in PARAMETER_SETS.values():
        block = np.zeros(Geometry(parameters, 1).shape, np.uint32)
        residues = np.zeros((1, 2, len(parameters.primes), parameters.ring_degree), np.uint32)
        seeds = np.frombuffer(SEED_PREFIX + bytes(64), np.uint8).reshape(1, -1)
        add_seeded(block, residues[:, :1], seeds, parameters)
        add_full(block, residues, parameters)
        for writable in (True, False):  # numba compiles for each, and files are mapped read-only
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
    """Expands seeded ciphertexts and adds them to a block, column by column; zeros plus them is them.

    Args:
        block: uint32 [primes * tiles, columns, 2, TILE], changed.
        residues: uint32 [count, 1, primes, N], below their primes.
        seeds: uint8 [count, 81].
        first_column: where the first one goes.
        side: which factor of the product they are.

    Raises:
        InvalidCiphertext: for a seed of another generator.
        ValueError: if they do not fit.
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
    """Adds full ciphertexts, uint32 [count, 2, primes, N], to a block.

    Raises:
        ValueError: if they do not fit.
    """
    _check(block, residues, parameters, first_column)
    for start in range(0, residues.shape[0], _GROUP):
        stop = start + _GROUP
        second = np.array(residues[start:stop, 1])
        _put(block, first_column + start, residues[start:stop, 0], second, parameters, side)


def _put(
    block: Residues, column: int, first: Residues, second: Residues, parameters: ParameterSet, side: Side
) -> None:
    # A copy is contiguous and writable, whatever it was made from: one compiled version serves all.
    first = np.array(first)
    prepare(first, parameters, side)
    prepare(second, parameters, side)
    _add(block, column, first, second, _primes(parameters))


@cache
def _primes(parameters: ParameterSet) -> npt.NDArray[np.uint32]:
    return np.array(parameters.primes, np.uint32)


def _check(block: Residues, residues: Residues, parameters: ParameterSet, first_column: int) -> None:
    """Compiled code does not look at bounds."""
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
        # Odd weights have inverses modulo 2^64: no change of one residue is multiplied away.
        weighted += value * np.uint64(2 * i + 1)
    return plain, weighted


def checksum(block: Residues) -> bytes:
    """16 bytes that change with any damaged byte: found at memory's speed, not against a forger.

    Sums of the residues, plain and weighted by their place, modulo 2^64: two damages that cancel out
    in one do not in the other.
    """
    plain, weighted = _sums(block.reshape(-1))
    return int(plain).to_bytes(8, "little") + int(weighted).to_bytes(8, "little")
