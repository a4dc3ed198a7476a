"""The kernel of searches, on threads: products of segments and queries; see `blindsight.ring.columns`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet
from blindsight.ring.columns import Spans, addresses, check_shapes, multiply_rows, row_primes
from blindsight.ring.tiles import TILE

Item = TypeVar("Item")

# Size of the queries' tiles in one work item: they stay in the second-level cache while segments are read.
ITEM_BYTES = 1 << 20


class Kernel:
    """The kernel on threads of this process.

    Args:
        threads: number of threads.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="kernel")

    def multiply(
        self,
        segments: Sequence[Residues],
        queries: Sequence[Residues],
        parameters: ParameterSet,
        fields: Spans,
        fold: int,
        out: Residues,
        offsets: npt.NDArray[np.int64],
    ) -> None:
        """Multiplies segments by queries in one pass over the segments.

        Args:
            segments, queries: uint32 [primes * tiles, columns, TILE] each.
            fields: for each field of a row, its first column and the one after its last.
            fold: number of neighbouring points that are added up.
            out: uint32 words, flat; receives [fields, primes, N / fold] per segment and query.
            offsets: int64 [segments, queries], where in `out` each product begins, in words.

        Raises:
            ValueError: if shapes do not fit; native code checks no bounds afterwards.
        """
        columns = queries[0].shape[1]
        check_shapes([*segments, *queries], parameters, columns, fields, fold)
        primes = row_primes(parameters)
        _check_places(out, offsets, (len(segments), len(queries)), len(fields) * primes.size * TILE // fold)
        spans = np.array(fields, np.int64)
        first, second = addresses(segments), addresses(queries)
        # Whole groups of tiles that are folded into one point.
        unit = max(1, fold // TILE)
        units = primes.size // unit
        step = max(1, ITEM_BYTES // (unit * len(queries) * queries[0][0].nbytes))
        # More items than threads, so that a slow thread does not delay the rest.
        step = unit * min(step, -(-units // (4 * self.threads)))

        def work(start: int) -> None:
            stop = min(start + step, primes.size)
            multiply_rows(
                first, second, columns, primes, spans, parameters.max_terms, fold, out, offsets, start, stop
            )

        self.each(work, range(0, primes.size, step))

    def each(self, work: Callable[[Item], None], items: Iterable[Item]) -> None:
        """Runs `work` on every item, on the kernel's threads; raises the error of the first that failed."""
        for _ in self._pool.map(work, items):
            pass

    def close(self) -> None:
        """Ends the threads."""
        self._pool.shutdown()


def _check_places(out: Residues, offsets: npt.NDArray[np.int64], shape: tuple[int, int], words: int) -> None:
    if out.dtype != np.uint32 or not out.flags.c_contiguous or out.ndim != 1:
        raise ValueError("results must be contiguous uint32 words")
    if offsets.shape != shape:
        raise ValueError(f"offsets {offsets.shape}, want {shape}")
    if offsets.size and (offsets.min() < 0 or offsets.max() + words > out.size):
        raise ValueError("a result lies outside of its buffer")
