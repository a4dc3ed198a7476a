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
from llvmlite import ir
from numba.core import types

from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidCiphertext
from blindsight.parameters import PARAMETER_SETS, ParameterSet
from blindsight.ring.jit import compiled, emitted, reduced
from blindsight.ring.tiles import TILE, Geometry

# How far ahead the kernel asks for a gallery's bytes: the processor's own prefetching ends at each page of
# 4 KB.  With it a pass over a million vectors takes a fifth to a third less.
_PREFETCH_BYTES = 4096

Words = npt.NDArray[np.uint64]
Spans = Sequence[tuple[int, int]]


@emitted
def _dot(_typing: Any, _first: Any, _second: Any, _columns: Any, _out: Any) -> Any:
    """Sums the products of one tile over its columns.

    Written as LLVM instructions because numba's loops keep the accumulators in memory; as phi values of
    the loop they stay in registers, which is 1.5 times as fast.

    Args:
        first, second: addresses of uint32 [columns, TILE].
        columns: at least 1.
        out: address of uint64 [TILE], not reduced.
    """
    signature = types.void(types.uintp, types.uintp, types.intp, types.uintp)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        first, second, count, out = arguments
        word = ir.IntType(64)
        narrow, wide = ir.VectorType(ir.IntType(32), TILE), ir.VectorType(word, TILE)
        integer = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), integer, integer, integer])
        prefetch = builder.module.declare_intrinsic("llvm.prefetch", [ir.IntType(8).as_pointer()], kind)
        before = builder.block
        loop, done = builder.append_basic_block("columns"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        column = builder.phi(word)
        column.add_incoming(ir.Constant(word, 0), before)
        total = builder.phi(wide)
        total.add_incoming(ir.Constant(wide, [0] * TILE), before)
        offset = builder.mul(column, ir.Constant(word, TILE * 4))

        def load(base: Any) -> Any:
            address = builder.inttoptr(builder.add(base, offset), narrow.as_pointer())
            # Widened before the multiplication: a product of two 32-bit lanes would wrap.  Arrays of
            # residues are only guaranteed to be aligned to one residue, 4 bytes.
            return builder.zext(builder.load(address, align=4), wide)

        ahead = builder.add(builder.add(first, offset), ir.Constant(word, _PREFETCH_BYTES))
        for line in range(0, TILE * 4, 64):
            address = builder.inttoptr(
                builder.add(ahead, ir.Constant(word, line)), ir.IntType(8).as_pointer()
            )
            builder.call(prefetch, [address, *(ir.Constant(ir.IntType(32), value) for value in (0, 3, 1))])
        added = builder.add(total, builder.mul(load(first), load(second)))
        total.add_incoming(added, loop)
        # The condition is at the end: there is at least one column, and the sums leave the loop in registers.
        following = builder.add(column, ir.Constant(word, 1))
        column.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        builder.store(added, builder.inttoptr(out, wide.as_pointer()), align=8)
        return context.get_dummy_value()

    return signature, generate


@compiled
def _tile_product(
    first: Any, second: Any, columns: Any, max_terms: Any, prime: Any, reciprocal: Any, sums: Words
) -> None:
    """Computes one tile of a product: addresses of uint32 [columns, TILE] -> `sums` [TILE], reduced."""
    for start in range(0, columns, max_terms):
        skipped = numba.uintp(start * TILE * 4)
        before = sums[TILE:]
        _dot(
            first + skipped,
            second + skipped,
            min(max_terms, columns - start),
            numba.uintp(before.ctypes.data),
        )
        for k in range(TILE):
            value = reduced(before[k], prime, reciprocal)
            if start > 0:
                value = reduced(sums[k] + numba.uint64(value), prime, reciprocal)
            sums[k] = value


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
    rows = primes.size
    size = rows * TILE // fold
    row_bytes = numba.uintp(columns * TILE * 4)
    sums = np.empty(2 * TILE, np.uint64)
    # A segment's tile is read from memory once, and multiplied by all queries while it is in the cache.
    for s in range(gallery.size):
        for row in range(first_row, last_row):
            prime = primes[row]
            reciprocal = 1.0 / numba.float64(prime)
            skipped = numba.uintp(row) * row_bytes
            for q in range(queries.size):
                for field in range(fields.shape[0]):
                    begin = skipped + numba.uintp(fields[field, 0] * TILE * 4)
                    count = fields[field, 1] - fields[field, 0]
                    first, second = numba.uintp(gallery[s]) + begin, numba.uintp(queries[q]) + begin
                    _tile_product(first, second, count, max_terms, prime, reciprocal, sums)
                    place = offsets[s, q] + field * size + row * TILE // fold
                    if fold < TILE:
                        for k in range(TILE // fold):
                            total = numba.uint64(0)
                            for i in range(fold):
                                total += sums[k * fold + i]
                            out[place + k] = reduced(total, prime, reciprocal)
                    else:
                        total = numba.uint64(0)
                        if row * TILE % fold:
                            total = numba.uint64(out[place])
                        for k in range(TILE):
                            total += sums[k]
                        out[place] = reduced(total, prime, reciprocal)


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
