"""Inner products of columns: the one multiplication of a search, on both sides.

For columns g_j and q_j of the same layout, in NTT form, the product is

    sum over j of g_j * q_j    point by point, modulo each prime,

one 64-bit sum for each point: products of residues of 27 bits have 54 bits, so that 1,024 columns are added
before one reduction (`ParameterSet.max_terms`).  The work is bound by memory: a gallery is read once.

Only every b-th coefficient of a product is a score.  In bit-reversed NTT form the points with equal b-th
power stand side by side; the sum of b neighbours is the transform, of size N / b, of b times the wanted
coefficients (`ntt.inverse` takes the factor out).  Products are folded so while they are in the cache.

If rows have several fields, each sum runs over the columns of one field, and each field has its own product.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidCiphertext
from blindsight.parameters import PARAMETER_SETS, ParameterSet
from blindsight.ring.jit import compiled, reduced
from blindsight.ring.lanes import LANE_BYTES
from blindsight.ring.sums import GROUP, group_sums, single_sums
from blindsight.ring.tiles import RESIDUE_BYTES, TILE, Geometry

Words = npt.NDArray[np.uint64]
Spans = Sequence[tuple[int, int]]


@compiled
def _tile_products(
    segment: Any, factors: Any, skipped: Any, columns: Any, max_terms: Any, prime: Any, results: Words
) -> None:
    """Multiplies one tile of a segment by those of a single query, or of a group.

    Args:
        segment, factors: address of the segment, and of the queries' addresses.
        skipped: bytes before the tile [columns, TILE] in each.
        results: addresses of uint32 [TILE] for the products, one for each query.
    """
    reciprocal, places = 1.0 / numba.float64(prime), numba.uintp(results.ctypes.data)
    for start in range(0, columns, max_terms):
        count, more = min(max_terms, columns - start), start > 0
        before = skipped + numba.uintp(start * TILE * RESIDUE_BYTES)
        if results.size == 1:
            single_sums(segment, factors, before, count, more, prime, reciprocal, places, numba.uintp(0))
        else:
            for part in range(0, TILE * RESIDUE_BYTES, LANE_BYTES):
                at = numba.uintp(part)
                group_sums(segment, factors, before + at, count, more, prime, reciprocal, places, at)


@compiled
def _fold(points: Residues, fold: int, prime: Any, out: Residues, place: int, more: bool) -> None:
    """Adds up each `fold` neighbours of a tile [TILE]; a whole tile is added to what is there, if told."""
    if fold == 1:
        out[place : place + TILE] = points
        return
    width = min(fold, TILE)
    for k in range(TILE // width):
        total = numba.uint64(out[place + k]) if more else numba.uint64(0)
        for i in range(width):
            total += numba.uint64(points[k * width + i])
        out[place + k] = reduced(total, prime, 1.0 / numba.float64(prime))


@compiled
def multiply_rows(
    gallery: Words,
    queries: Words,
    columns: int,
    primes: Words,
    fields: npt.NDArray[np.int64],
    max_terms: int,
    fold: int,
    out: Residues,
    offsets: npt.NDArray[np.int64],
    first_row: int,
    last_row: int,
) -> None:
    """Multiplies some rows of tiles of every segment by those of every query.

    Native code that checks no bounds; see `products` and the evaluator's kernel.

    Args:
        gallery, queries: addresses of tiles, uint32 [primes * tiles, columns, TILE] each.
        primes: the prime of each row.
        fields: for each field, its first column and the one after its last.
        max_terms: columns that may be added before a reduction.
        fold: b; the rows begin and end at multiples of b / TILE.
        out: uint32 words, flat; receives [fields, primes, N / b] for each segment and query.
        offsets: [segments, queries], where in `out` each result begins, in words.
    """
    size = primes.size * TILE // fold
    group = GROUP if queries.size >= GROUP else 1
    points = np.empty((group, TILE), np.uint32)
    results = numba.uint64(points.ctypes.data) + np.arange(group).astype(np.uint64) * numba.uint64(
        points[0].nbytes
    )
    # A segment's tile is read from memory once, and multiplied by all queries while it is in the cache.
    for s in range(gallery.size):
        for row in range(first_row, last_row):
            for start in range(0, queries.size, group):
                # The last group is whole too: its first queries were multiplied before.
                first = min(start, queries.size - group)
                factors = numba.uintp(queries[first:].ctypes.data)
                for field in range(fields.shape[0]):
                    begin, end = fields[field]
                    skipped = numba.uintp((row * columns + begin) * TILE * RESIDUE_BYTES)
                    segment = numba.uintp(gallery[s])
                    _tile_products(segment, factors, skipped, end - begin, max_terms, primes[row], results)
                    place, more = field * size + row * TILE // fold, row * TILE % fold > 0
                    for q in range(start - first, group):
                        _fold(points[q], fold, primes[row], out, offsets[s, first + q] + place, more)


@compiled
def _below_primes(tiles: Residues, primes: Words) -> bool:
    good = True
    for row in range(tiles.shape[0]):
        prime = numba.uint32(primes[row])
        largest = numba.uint32(0)
        for column in range(tiles.shape[1]):
            for k in range(TILE):
                largest = max(largest, tiles[row, column, k])
        good &= largest < prime
    return good


@compiled
def _add(total: Residues, tiles: Residues, primes: Words) -> None:
    for row in range(total.shape[0]):
        prime = numba.uint32(primes[row])
        for column in range(total.shape[1]):
            for k in range(TILE):
                # Both are below the prime; a sum that is smaller wraps, and stays.
                value = total[row, column, k] + tiles[row, column, k]
                total[row, column, k] = min(value, numba.uint32(value - prime))


@cache
def row_primes(parameters: ParameterSet) -> Words:
    """Returns the prime of each row of tiles: uint64 [primes * tiles]."""
    return np.repeat(np.array(parameters.primes, np.uint64), parameters.ring_degree // TILE)


def require_below_primes(tiles: Residues, parameters: ParameterSet, first_row: int = 0) -> None:
    """Refuses tiles [primes * tiles, columns, TILE] with a residue that is not below its prime.

    Args:
        tiles: all rows, or some from `first_row` on.

    Raises:
        InvalidCiphertext: if there is one; with it the kernel's sums would overflow silently.
    """
    if not _below_primes(tiles, row_primes(parameters)[first_row:]):
        raise InvalidCiphertext("a residue is too large, want all below their primes")


def add(total: Residues, tiles: Residues, parameters: ParameterSet) -> None:
    """Adds tiles to others of the same shape, in place: how a batch is appended to a segment."""
    if total.shape != tiles.shape:
        raise ValueError(f"tiles {tiles.shape}, want {total.shape}")
    _add(total, tiles, row_primes(parameters))


def check_shapes(
    blocks: Sequence[Residues], parameters: ParameterSet, columns: int, fields: Spans, fold: int
) -> None:
    """Refuses arrays that `multiply_rows` would read beyond.

    Raises:
        ValueError: if one is not contiguous uint32 of the right shape, or fields or fold do not fit.
    """
    shape = Geometry(parameters, columns).shape
    for block in blocks:
        if block.shape != shape or block.dtype != np.uint32 or not block.flags.c_contiguous:
            raise ValueError(f"tiles {block.dtype} {block.shape}, want contiguous uint32 {shape}")
    if not fields or not all(0 <= first < last <= columns for first, last in fields):
        raise ValueError(f"fields {fields}, want columns below {columns}")
    if fold & (fold - 1) or not 1 <= fold <= parameters.ring_degree:
        raise ValueError(f"fold {fold}, want a power of two up to {parameters.ring_degree}")


def products(
    first: Residues,
    second: Residues,
    parameters: ParameterSet,
    fields: Spans | None = None,
    fold: int = 1,
) -> Residues:
    """Returns the products of two sets of columns, folded: uint32 [fields, primes, N / fold].

    Args:
        first, second: tiles [primes * tiles, columns, TILE], below their primes.
        fields: for each field, its first column and the one after its last; None: all columns are one.
    """
    columns = first.shape[1]
    spans = ((0, columns),) if fields is None else fields
    check_shapes([first, second], parameters, columns, spans, fold)
    primes = row_primes(parameters)
    out = np.empty((len(spans), len(parameters.primes), parameters.ring_degree // fold), np.uint32)
    multiply_rows(
        addresses([first]),
        addresses([second]),
        columns,
        primes,
        np.array(spans, np.int64),
        parameters.max_terms,
        fold,
        out.reshape(-1),
        np.zeros((1, 1), np.int64),
        0,
        primes.size,
    )
    return out


def addresses(blocks: Sequence[Residues]) -> Words:
    """Returns the addresses of arrays, which must outlive their use."""
    return np.array([block.ctypes.data for block in blocks], np.uint64)


def compile_all() -> None:
    """Compiles this module's functions, or loads them from numba's cache."""
    for parameters in PARAMETER_SETS.values():
        total, tiles = (np.zeros(Geometry(parameters, 1).shape, np.uint32) for _ in range(2))
        for writable in (True, False):  # numba compiles for each, and mapped memory is read-only
            tiles.flags.writeable = writable
            require_below_primes(tiles, parameters)
            add(total, tiles, parameters)
        products(total, tiles, parameters)
