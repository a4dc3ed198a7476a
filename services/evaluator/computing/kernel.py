"""The fused kernel: products of encrypted columns, summed without a reduction in between.

For a segment's columns G_j = (g0, g1) and a query's columns Q_j = (q0, q1), in NTT form, the score is

    sum over j of (g0*q0, g0*q1 + g1*q0, g1*q1)    coefficient by coefficient, modulo each prime,

the tensor product of RLWE ciphertexts: a ciphertext of three polynomials.  Products of residues of 27 bits
have 54 bits, and the cross term adds two for each column, so 512 columns fit in 64 bits
(`ParameterSet.max_terms`); wider rows are reduced once per 512 columns.  The work is memory-bound, as it
reads a gallery once per pass.

If rows have several fields, each sum runs over the columns of one field, and each field has its own score.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet
from blindsight.ring.jit import compiled, emitted, reduced
from services.evaluator.computing.tiles import row_primes
from services.evaluator.geometry import SCORE_POLYNOMIALS as POLYNOMIALS
from services.evaluator.geometry import TILE, Geometry

Item = TypeVar("Item")

# Size of the queries' tiles in one work item: they stay in the second-level cache while segments are read.
ITEM_BYTES = 1 << 20


@emitted
def _dot(_typing: Any, _gallery: Any, _query: Any, _columns: Any, _out: Any) -> Any:
    """Sums the products of one tile over its columns.

    Written as LLVM instructions because numba's loops keep the accumulators in memory; as phi values of
    the loop they stay in registers, which is 1.5 times as fast.

    Args:
        gallery, query: addresses of uint32 [columns, 2, TILE].
        columns: at least 1.
        out: address of uint64 [3, TILE], not reduced.
    """
    signature = types.void(types.uintp, types.uintp, types.intp, types.uintp)

    def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
        gallery_address, query_address, count, out_address = arguments
        word = ir.IntType(64)
        narrow, wide = ir.VectorType(ir.IntType(32), TILE), ir.VectorType(word, TILE)
        before = builder.block
        loop, done = builder.append_basic_block("columns"), builder.append_basic_block("done")
        builder.branch(loop)
        builder.position_at_end(loop)
        column = builder.phi(word)
        column.add_incoming(ir.Constant(word, 0), before)
        sums = [builder.phi(wide) for _ in range(POLYNOMIALS)]
        offset = builder.mul(column, ir.Constant(word, 2 * TILE * 4))

        def load(base: Any, polynomial: int) -> Any:
            address = builder.add(builder.add(base, offset), ir.Constant(word, polynomial * TILE * 4))
            # Widened before the multiplication: a product of two 32-bit lanes would wrap.  Arrays of
            # residues are only guaranteed to be aligned to one residue, 4 bytes.
            return builder.zext(builder.load(builder.inttoptr(address, narrow.as_pointer()), align=4), wide)

        g0, g1 = load(gallery_address, 0), load(gallery_address, 1)
        q0, q1 = load(query_address, 0), load(query_address, 1)
        cross = builder.add(builder.mul(g0, q1), builder.mul(g1, q0))
        products = (builder.mul(g0, q0), cross, builder.mul(g1, q1))
        added = [builder.add(total, product) for total, product in zip(sums, products, strict=True)]
        for total, value in zip(sums, added, strict=True):
            total.add_incoming(ir.Constant(wide, [0] * TILE), before)
            total.add_incoming(value, loop)
        # The condition is at the end: there is at least one column, and the sums leave the loop in registers.
        following = builder.add(column, ir.Constant(word, 1))
        column.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, done)
        builder.position_at_end(done)
        for index, value in enumerate(added):
            address = builder.add(out_address, ir.Constant(word, index * TILE * 8))
            builder.store(value, builder.inttoptr(address, wide.as_pointer()), align=8)
        return context.get_dummy_value()

    return signature, generate


@compiled
def _score_rows(
    segments: npt.NDArray[np.uint64],
    query: Residues,
    primes: npt.NDArray[np.uint64],
    fields: npt.NDArray[np.int64],
    max_terms: int,
    out: Residues,
    offsets: npt.NDArray[np.int64],
    first_row: int,
    last_row: int,
) -> None:
    """Scores some rows of tiles of every segment against every query; see `Kernel.score`."""
    queries, rows, columns = query.shape[:3]
    sums = np.empty((POLYNOMIALS, TILE), np.uint64)
    row_bytes = columns * 2 * TILE * 4
    # A segment's tile is read from memory once, and multiplied by all queries while it is in the cache.  The
    # queries' tiles of a few rows stay in the cache from one segment to the next, see `ITEM_BYTES`.
    for s in range(segments.size):
        for row in range(first_row, last_row):
            prime = primes[row]
            reciprocal = 1.0 / numba.float64(prime)
            for q in range(queries):
                for field in range(fields.shape[0]):
                    first, last = fields[field, 0], fields[field, 1]
                    for start in range(first, last, max_terms):
                        skipped = start * 2 * TILE * 4
                        _dot(
                            numba.uintp(segments[s] + numba.uint64(row * row_bytes + skipped)),
                            numba.uintp(query[q, row].ctypes.data + skipped),
                            min(max_terms, last - start),
                            numba.uintp(sums.ctypes.data),
                        )
                        # One reduction per coefficient after up to `max_terms` columns of four products each.
                        for i in range(POLYNOMIALS):
                            # Rows of tiles are grouped by prime, so the result is [3, primes, N].
                            base = offsets[s, q] + ((field * POLYNOMIALS + i) * rows + row) * TILE
                            for k in range(TILE):
                                value = reduced(sums[i, k], prime, reciprocal)
                                if start > first:  # both are below the prime, so the sum cannot wrap
                                    value = reduced(numba.uint64(value) + out[base + k], prime, reciprocal)
                                out[base + k] = value


class Kernel:
    """The fused kernel on threads of this process.

    Args:
        threads: number of threads.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kernel")

    def score(
        self,
        segments: Sequence[Residues],
        query: Residues,
        parameters: ParameterSet,
        fields: Sequence[tuple[int, int]],
        out: Residues,
        offsets: npt.NDArray[np.int64],
    ) -> None:
        """Scores segments against queries in one pass over the segments.

        Args:
            segments: uint32 [primes * tiles, columns, 2, TILE] each.
            query: uint32 [queries, primes * tiles, columns, 2, TILE].
            fields: for each field of a row, its first column and the one after its last.
            out: uint32 words, flat; receives [fields, 3, primes, N] per segment and query.
            offsets: int64 [segments, queries], where in `out` each result starts, in words.

        Raises:
            ValueError: if shapes do not fit; native code checks no bounds afterwards.
        """
        self._check(segments, query, parameters, fields, out, offsets)
        columns = np.array(fields, np.int64)
        addresses = np.array([segment.ctypes.data for segment in segments], np.uint64)
        primes = row_primes(parameters)
        rows = primes.size
        step = max(1, ITEM_BYTES * rows // query.nbytes)
        # More items than threads, so that a slow thread does not delay the rest.
        step = min(step, -(-rows // (4 * self.threads)))

        def work(first: int) -> None:
            last = min(first + step, rows)
            _score_rows(addresses, query, primes, columns, parameters.max_terms, out, offsets, first, last)

        self.each(work, range(0, rows, step))

    @staticmethod
    def _check(
        segments: Sequence[Residues],
        query: Residues,
        parameters: ParameterSet,
        fields: Sequence[tuple[int, int]],
        out: Residues,
        offsets: npt.NDArray[np.int64],
    ) -> None:
        arrays = [*segments, query, out]
        if not all(array.flags.c_contiguous and array.dtype == np.uint32 for array in arrays):
            raise ValueError("arrays must be contiguous uint32")
        geometry = Geometry(parameters, query.shape[2])
        shape = geometry.shape
        if query.shape[1:] != shape or any(segment.shape != shape for segment in segments):
            raise ValueError(f"query {query.shape}, want blocks of {shape} like the segments")
        if not all(0 <= first < last <= geometry.columns for first, last in fields):
            raise ValueError(f"fields {fields}, want columns below {geometry.columns}")
        if offsets.shape != (len(segments), query.shape[0]):
            raise ValueError(f"offsets {offsets.shape}, want {(len(segments), query.shape[0])}")
        if offsets.size and (
            offsets.min() < 0 or offsets.max() + len(fields) * geometry.score_words > out.size
        ):
            raise ValueError("a result lies outside of its buffer")

    def each(self, work: Callable[[Item], None], items: Iterable[Item]) -> None:
        """Runs `work` on every item, on the kernel's threads; raises the error of the first that failed."""
        for _ in self._pool.map(work, items):
            pass

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()
