"""Search for the two nearest descriptors by encrypted scores, without a collection: nothing is stored.

Both sets are encrypted, several vectors in a ciphertext.  The evaluator multiplies each of one set with each
of the other, with the kernel of every search; the scores of unit vectors are decrypted and compared here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.packing.columns import Floats
from blindsight.parameters import ParameterSet
from blindsight.ring.tiles import Geometry
from blindsight.runtime.transfer import MAX_COMPARED_CIPHERTEXTS, MAX_COMPARED_RESULTS
from blindsight.trusted.imaging.matching import Nearest
from blindsight.trusted.similarity import crossing
from blindsight.trusted.similarity.crossing import CrossLayout
from blindsight.wire.blocks import ProductsResult
from services.keyholder import metrics
from services.keyholder.operations.products import Multiplier

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
        multiplier: computes the scores.
        parameters: parameter set of a scheme that hides both sides.
    """

    def __init__(self, multiplier: Multiplier, parameters: ParameterSet) -> None:
        self._multiplier = multiplier
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
        products = self._multiplier.products(self._parameters, layout)
        for rows in _parts(len(gallery), layout.rows, layout.columns):
            started = time.perf_counter()
            encrypted = await products.encrypt_rows(gallery[rows].astype(np.float64))
            self._sent(encrypted.block, started)
            most = MAX_COMPARED_RESULTS // -(-(rows.stop - rows.start) // layout.rows)
            for chosen in _parts(len(queries), layout.queries, layout.columns, most):
                started = time.perf_counter()
                asked = await products.encrypt_queries(encrypted, queries[chosen].astype(np.float64))
                self._sent(asked.block, started)
                started = time.perf_counter()
                take = partial(self._take, layout, scores[chosen, rows])
                seconds = await products.multiply(encrypted, asked, take)
                self._compared(started, seconds)
        return Nearest.from_scores(scores)

    @property
    def _labels(self) -> tuple[str, str]:
        return self._parameters.scheme.name.lower(), self._parameters.name

    def _sent(self, block: bytes, started: float) -> None:
        seconds = time.perf_counter() - started
        metrics.ENCRYPT_SECONDS.labels(*self._labels).observe(seconds)
        self.account.encrypt_seconds += seconds
        self.account.ciphertexts += len(block) // Geometry(self._parameters, 1).size_bytes
        self.account.sent_bytes += len(block)

    def _take(self, layout: CrossLayout, out: Vectors, result: ProductsResult, found: Floats) -> None:
        """Puts the products of one message into their places in `out` [queries, gallery]."""
        self.account.results += result.rows * result.queries
        self.account.received_bytes += len(result.answers)
        for i, j in np.ndindex(result.rows, result.queries):
            row, query = result.first_row + i, result.first_query + j
            place = np.s_[
                query * layout.queries : (query + 1) * layout.queries,
                row * layout.rows : (row + 1) * layout.rows,
            ]
            height, width = out[place].shape  # the last groups are not full
            out[place] = found[i, j, 0, :height, :width]

    def _compared(self, started: float, opening_seconds: float) -> None:
        self.account.round_trips += 1
        self.account.compare_seconds += time.perf_counter() - started
        metrics.DECRYPT_SECONDS.labels(*self._labels).observe(opening_seconds)


def _parts(
    count: int, size: int, columns: int, most_groups: int = MAX_COMPARED_CIPHERTEXTS
) -> Iterator[slice]:
    """Yields parts of vectors for one call: whole groups of `size` vectors, each of `columns` ciphertexts."""
    step = size * max(1, min(most_groups, MAX_COMPARED_CIPHERTEXTS // columns))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
