"""The innermost loop of a search, as LLVM instructions: products of some points, added up over columns.

Written out because numba's loops keep their accumulators in memory.  As phi values of a loop they stay in
registers, two for each query and vector of points.  A group of queries shares what is read of a segment.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types

from blindsight.ring.jit import emitted
from blindsight.ring.lanes import LANE_BYTES, LANES, Lanes
from blindsight.ring.tiles import RESIDUE_BYTES, TILE

# Queries that share one pass over a segment: 16 accumulators, of a processor's 32 vector registers.
GROUP = 8
# How far ahead a gallery's bytes are asked for: the processor's own prefetching ends at each page of 4 KB.
# With it a pass over a million vectors takes a fifth to a third less.
_PREFETCH_BYTES = 4096

_INTEGER, _WORD, _POINTER = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
_SIGNATURE = types.void(
    types.uintp,
    types.uintp,
    types.uintp,
    types.intp,
    types.boolean,
    types.uint64,
    types.float64,
    types.uintp,
    types.uintp,
)


class _Loop:
    """A loop over columns whose sums stay in registers.

    Args:
        builder: llvmlite's builder.
        columns: how often it runs, at least once.
    """

    def __init__(self, builder: Any, columns: Any) -> None:
        self._builder, self._columns, self._entry = builder, columns, builder.block
        self._body = builder.append_basic_block("columns")
        self._done = builder.append_basic_block("done")
        builder.branch(self._body)
        builder.position_at_end(self._body)
        self.column = builder.phi(_INTEGER)
        self.column.add_incoming(ir.Constant(_INTEGER, 0), self._entry)

    def sums(self, starts: list[Any]) -> list[Any]:
        """Returns values that the loop carries on, which begin as these."""
        found = []
        for start in starts:
            found.append(self._builder.phi(start.type))
            found[-1].add_incoming(start, self._entry)
        return found

    def end(self, sums: list[Any], following: list[Any]) -> None:
        """Ends the body, with the next values of its sums; what is written afterwards follows the loop."""
        builder = self._builder
        for total, value in zip(sums, following, strict=True):
            total.add_incoming(value, self._body)
        # The condition is at the end: there is at least one column, and the sums leave the loop in registers.
        column = builder.add(self.column, ir.Constant(_INTEGER, 1))
        self.column.add_incoming(column, self._body)
        builder.cbranch(builder.icmp_signed("<", column, self._columns), self._body, self._done)
        builder.position_at_end(self._done)


def _prefetch(builder: Any, address: Any) -> None:
    kind = ir.FunctionType(ir.VoidType(), [_POINTER, _WORD, _WORD, _WORD])
    prefetch = builder.module.declare_intrinsic("llvm.prefetch", [_POINTER], kind)
    to_read, into_all_caches, of_data = (ir.Constant(_WORD, value) for value in (0, 3, 1))
    builder.call(prefetch, [builder.inttoptr(address, _POINTER), to_read, into_all_caches, of_data])


def _sums(queries: int, vectors: int) -> Any:
    """Makes a function that multiplies points of a segment by those of queries, and adds up over columns.

    Arguments of the function that is made:
        segment: address of uint32 [columns, TILE].
        factors: address of the addresses of the queries, of the same form.
        skipped: bytes of both before the first point.
        columns: at least 1, at most `ParameterSet.max_terms`.
        more: whether to add to what the results hold already.
        prime, reciprocal: the modulus.
        results: address of the addresses of the results, one for each query: uint32, below the prime.
        placed: bytes of each before the first point's result.

    Args:
        queries: number of queries.
        vectors: number of vectors of `LANES` neighbouring points.
    """

    @emitted(_SIGNATURE)
    def written(
        builder: Any,
        segment: Any,
        factors: Any,
        skipped: Any,
        columns: Any,
        more: Any,
        prime: Any,
        reciprocal: Any,
        results: Any,
        placed: Any,
    ) -> None:
        lanes = Lanes(builder)

        def moved(start: Any, count: int) -> Any:
            return builder.add(start, ir.Constant(_INTEGER, count))

        def listed(array: Any, offset: Any) -> list[Any]:
            pointers = [builder.inttoptr(moved(array, 8 * k), _INTEGER.as_pointer()) for k in range(queries)]
            return [builder.add(builder.load(pointer), offset) for pointer in pointers]

        def read(start: Any) -> list[Any]:
            vectors_ = (lanes.load(moved(start, LANE_BYTES * vector)) for vector in range(vectors))
            return [half for vector in vectors_ for half in lanes.halves(vector)]

        places = listed(results, placed)
        starts = [half for place in places for half in read(place)]
        nothing = ir.Constant(starts[0].type, [0] * (LANES // 2))
        starts = [builder.select(more, held, nothing) for held in starts]
        first, others = builder.add(segment, skipped), listed(factors, skipped)
        loop = _Loop(builder, columns)
        sums = loop.sums(starts)
        step = builder.mul(loop.column, ir.Constant(_INTEGER, TILE * RESIDUE_BYTES))
        here = builder.add(first, step)
        for vector in range(vectors):
            _prefetch(builder, moved(here, _PREFETCH_BYTES + LANE_BYTES * vector))
        terms = read(here) * queries
        factors_ = [half for other in others for half in read(builder.add(other, step))]
        totals = [
            builder.add(total, builder.mul(term, factor))
            for total, term, factor in zip(sums, terms, factors_, strict=True)
        ]
        loop.end(sums, totals)
        reduced = [lanes.reduced(total, prime, reciprocal) for total in totals]
        pairs = zip(reduced[::2], reduced[1::2], strict=True)
        for place in places:
            for vector in range(vectors):
                lanes.store(lanes.joined(*next(pairs)), moved(place, LANE_BYTES * vector))

    return written


# One query has a whole tile at once; a group takes a tile in parts.
group_sums, single_sums = _sums(GROUP, 1), _sums(1, TILE // LANES)
