"""Search for the two nearest descriptors by encrypted scores, without a collection: nothing is stored.

Both sets are encrypted, several vectors in a ciphertext.  The evaluator multiplies each of one set with each
of the other, with the kernel of every search; the scores of unit vectors are decrypted and compared here.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import DataLoss, InvalidArgument
from blindsight.parameters import ParameterSet
from blindsight.runtime.processpool import in_order
from blindsight.runtime.transfer import MAX_COMPARED_CIPHERTEXTS, MAX_COMPARED_RESULTS, answer_of
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.matching import Nearest
from blindsight.trusted.similarity import crossing
from blindsight.trusted.similarity.crossing import CrossLayout
from blindsight.wire.blocks import ProductsResult
from services.keyholder import metrics

# Limit for each image: the scores of all pairs are then 64 MB.
MAX_DESCRIPTORS = 4096

Vectors = npt.NDArray[np.float32]


@dataclass(slots=True)
class Account:
    """Costs of an encrypted matching.

    Attributes:
        ciphertexts: number of ciphertexts sent.
        results: number of ciphertexts that came back.
        round_trips: number of calls to the evaluator.
        sent_bytes, received_bytes: sizes of the ciphertexts.
        encrypt_seconds, compare_seconds: times that do not overlap; comparing includes decryption.
    """

    ciphertexts: int = 0
    results: int = 0
    round_trips: int = 0
    sent_bytes: int = 0
    received_bytes: int = 0
    encrypt_seconds: float = 0.0
    compare_seconds: float = 0.0


class EncryptedMatching:
    """A search for nearest vectors by encrypted scores.

    Args:
        evaluator: computes the scores.
        crypto: worker processes that encrypt and decrypt.
        parameters: parameter set of a scheme that hides both sides.
    """

    def __init__(self, evaluator: EvaluatorClient, crypto: Crypto, parameters: ParameterSet) -> None:
        self._evaluator = evaluator
        self._crypto = crypto
        self._parameters = parameters
        self.account = Account()

    async def nearest(self, queries: Vectors, gallery: Vectors) -> Nearest:
        """Returns the two nearest vectors of the gallery for each query.

        Args:
            queries, gallery: unit vectors [count, dimension], at most 4,096 each.

        Raises:
            InvalidArgument: if there are too many vectors.
            DataLoss: if the evaluator's answer is not what was asked for.
            Unavailable: if the evaluator does not answer.
        """
        for what, vectors in (("first", queries), ("second", gallery)):
            if len(vectors) > MAX_DESCRIPTORS:
                raise InvalidArgument(
                    f"{len(vectors)} descriptors of the {what} image, want at most {MAX_DESCRIPTORS}"
                )
        scores = np.empty((len(queries), len(gallery)), np.float32)
        if not scores.size:
            return Nearest.from_scores(scores)
        dimension, degree = gallery.shape[1], self._parameters.ring_degree
        layout = crossing.plan(len(gallery), len(queries), dimension, degree)
        for rows in _parts(len(gallery), layout.rows, layout.columns):
            block = await self._encrypt(layout, gallery[rows], queries=False)
            most = MAX_COMPARED_RESULTS // -(-(rows.stop - rows.start) // layout.rows)
            for chosen in _parts(len(queries), layout.queries, layout.columns, most):
                encrypted = await self._encrypt(layout, queries[chosen], queries=True)
                await self._compare(layout, block, encrypted, scores[chosen, rows])
        return Nearest.from_scores(scores)

    async def _encrypt(self, layout: CrossLayout, vectors: Vectors, *, queries: bool) -> bytes:
        started = time.perf_counter()
        wide = vectors.astype(np.float64)
        block = await self._crypto.encrypt_crossed(self._parameters, layout, wide, queries=queries)
        self.account.encrypt_seconds += time.perf_counter() - started
        groups = -(-len(vectors) // (layout.queries if queries else layout.rows))
        self.account.ciphertexts += groups * layout.columns
        self.account.sent_bytes += len(block)
        return block

    async def _compare(self, layout: CrossLayout, gallery: bytes, queries: bytes, out: Vectors) -> None:
        """Fills `out` with the scores [queries, gallery]."""
        started, filled = time.perf_counter(), 0

        async def works() -> AsyncIterator[Coroutine[Any, Any, int]]:
            async with aclosing(self._evaluator.compare_all(gallery, queries, layout.columns)) as results:
                async for result in results:
                    yield self._take(layout, result, out)

        async with aclosing(in_order(works(), self._crypto.pool.at_once)) as taken:
            async for count in taken:
                filled += count
        if filled != out.size:
            raise DataLoss(f"{filled} scores came from the evaluator, want {out.size}")
        self.account.round_trips += 1
        self.account.compare_seconds += time.perf_counter() - started
        labels = self._parameters.scheme.name.lower(), self._parameters.name
        metrics.DECRYPT_SECONDS.labels(*labels).observe(time.perf_counter() - started)

    async def _take(self, layout: CrossLayout, result: ProductsResult, out: Vectors) -> int:
        """Decrypts one message of results into its place in `out`; returns the number of scores."""
        with answer_of("the evaluator"):
            products = await self._crypto.decrypt_crossed(self._parameters, layout, result.block)
        self.account.results += len(products)
        self.account.received_bytes += len(result.block)
        filled = 0
        for row, scores in enumerate(products, result.first_row):
            place = np.s_[
                result.query * layout.queries : (result.query + 1) * layout.queries,
                row * layout.rows : (row + 1) * layout.rows,
            ]
            height, width = out[place].shape  # the last groups are not full
            out[place] = scores[:height, :width]
            filled += height * width
        return filled


def _parts(
    count: int, size: int, columns: int, most_groups: int = MAX_COMPARED_CIPHERTEXTS
) -> Iterator[slice]:
    """Yields parts of vectors for one call: whole groups of `size` vectors, each of `columns` ciphertexts."""
    step = size * max(1, min(most_groups, MAX_COMPARED_CIPHERTEXTS // columns))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
