"""Search of a collection: encrypts the query, has the evaluator score it, decrypts and ranks the scores."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.packing.columns import CollectionLayout, Floats
from blindsight.packing.segments import SegmentId
from blindsight.parameters import AdditiveSet
from blindsight.trusted import embedders
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.similarity import linear
from blindsight.trusted.similarity.ranking import best_of
from blindsight.trusted.slots import EMPTY_SEGMENT, Handles, SlotMap
from blindsight.trusted.vault.vault import OpenCollection, Vault
from blindsight.wire.scores import ScoreResult
from blindsight.wire.search import Hit, MatchDrawing
from services.keyholder.operations.scoring import Attempt, Scoring, Timings

MAX_K = 10_000
MAX_QUERIES = 4096
# Limit of the ciphertexts in a group of queries, which are encrypted and sent at once.
GROUP_CIPHERTEXTS = 1024
MAX_GROUP_QUERIES = 16
# Messages of results that may wait for each worker process; more stay with the evaluator.
PENDING_RESULTS = 8
SCORE_DECIMALS = 6


@dataclass(slots=True)
class _Ranking:
    """The best slots of each segment for one query."""

    found: list[tasks.Best] = field(default_factory=list)
    handles: list[Handles] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Match:
    """One of the best items of all segments."""

    handle: bytes
    score: float
    parts: Floats


class Search:
    """A search of one collection.

    Args:
        vault: the collections.
        storage: client of storage.
        evaluator: computes the scores.
        crypto: worker processes that embed, encrypt and decrypt.
        collection: the collection.
        k: number of matches, at most 10,000.
        threshold: the worst score that is still a match, of a cosine within its error bound; None: no limit.
        query_visible_to_server: whether the owner agreed to show the query to the evaluator.

    Raises:
        InvalidArgument: if k or the threshold is invalid, or if the agreement does not fit the scheme.
    """

    def __init__(
        self,
        vault: Vault,
        storage: StorageClient,
        evaluator: EvaluatorClient,
        crypto: Crypto,
        collection: OpenCollection,
        *,
        k: int,
        threshold: float | None,
        query_visible_to_server: bool = False,
    ) -> None:
        if not 1 <= k <= MAX_K:
            raise InvalidArgument(f"k {k}, want 1 to {MAX_K}")
        if threshold is not None and math.isnan(threshold):
            raise InvalidArgument("threshold NaN, want a score")
        _require_agreement(collection, agreed=query_visible_to_server)
        self.query_visible_to_server = query_visible_to_server
        self._storage = storage
        self._crypto = crypto
        self._collection = collection
        self._k = k
        self._threshold = threshold
        # So that a threshold of 1 finds exact copies, whose cosines noise makes a little smaller than 1.
        self._slack = (
            collection.score_error_bound if collection.config.metric is linear.Metric.COSINE else 0.0
        )
        self._linear = collection.linear()
        self.timings = Timings()
        pending = PENDING_RESULTS * crypto.processes
        self._scoring = Scoring(vault, evaluator, collection, pending, self.timings)

    async def photo(self, data: bytes) -> AsyncIterator[list[Hit] | MatchDrawing]:
        """Yields the matches of a photo, best first.

        Raises:
            InvalidImage: if the data is not a decodable image.
            InvalidArgument: if the collection takes vectors only.
            Unavailable: if the evaluator or storage does not answer.
        """
        started = time.perf_counter()
        embedded = await embed_query(self._crypto, self._collection, data)
        self.timings.embed = time.perf_counter() - started
        async for hits in self.run(embedded.vector[None].astype(np.float64)):
            yield hits

    async def run(self, queries: Floats) -> AsyncIterator[list[Hit]]:
        """Yields the matches of each query, best first.

        Args:
            queries: [count, dimension].

        Raises:
            InvalidArgument: if there are no queries, or too many.
            InvalidVector: if the metric cannot take a query.
            Unavailable: if the evaluator or storage does not answer.
        """
        if not 1 <= len(queries) <= MAX_QUERIES:
            raise InvalidArgument(f"{len(queries)} queries, want 1 to {MAX_QUERIES}")
        linear.check_vectors(queries, self._collection.config.dimension)
        forms = [self._form(row, query) for row, query in enumerate(queries)]
        size = self._group_size()
        for start in range(0, len(forms), size):
            for hits in await self._group(forms[start : start + size]):
                yield hits

    def _group_size(self) -> int:
        """Returns the number of queries that are sent at once."""
        if self.query_visible_to_server:
            return MAX_GROUP_QUERIES  # they are small
        return max(1, min(MAX_GROUP_QUERIES, GROUP_CIPHERTEXTS // self._collection.layout.query_ciphertexts))

    def _form(self, row: int, query: Floats) -> linear.LinearForm:
        try:
            return self._linear.form(query)
        except InvalidVector as error:
            # A metric is given one query, which its message calls row 0.
            raise InvalidVector(f"query row {row} {error.message.removeprefix('row 0 ')}") from None

    async def _group(self, forms: list[linear.LinearForm]) -> list[list[Hit]]:
        weights = np.stack([form.weights for form in forms])
        rankings: list[_Ranking] = []
        readings = tuple(form.reading for form in forms)

        def begin(slots: SlotMap) -> Attempt:
            rankings[:] = [_Ranking() for _ in forms]
            return Attempt(lambda result: self._take(result, slots, readings, rankings))

        await self._scoring.run(len(forms), partial(self._block, weights), begin)
        started = time.perf_counter()
        hits = await self._hits(readings, rankings)
        self.timings.rank += time.perf_counter() - started
        return hits

    async def _block(self, weights: Floats, layout: CollectionLayout) -> bytes:
        """Returns the block of queries [queries, row dimension] for the evaluator.

        It is encrypted, except under additive schemes.
        """
        parameters = self._collection.parameters
        if isinstance(parameters, AdditiveSet):
            return await self._crypto.plain_queries(parameters, layout.main, weights)
        return await self._crypto.encrypt_queries(parameters, layout, weights)

    async def _take(
        self,
        result: ScoreResult,
        slots: SlotMap,
        readings: tuple[linear.Reading, ...],
        rankings: list[_Ranking],
    ) -> None:
        """Decrypts one message of results and keeps the best of each segment and query."""
        layout = self._collection.layout.of(result.region)
        # An unknown segment was appended after this search began, and counts as empty.
        segments = [
            slots.segments.get(SegmentId(result.region, index), EMPTY_SEGMENT) for index in result.segments
        ]
        live = [segment.live for segment in segments]
        asked = readings[result.first_query : result.first_query + result.queries]
        pick = tasks.Pick(asked, self._k)
        found = await self._crypto.best_scores(self._collection.parameters, layout, result.block, live, pick)
        for segment, by_query in zip(segments, found, strict=True):
            for query, best in enumerate(by_query, result.first_query):
                rankings[query].found.append(best)
                rankings[query].handles.append(segment.handles[best.slots])

    def _best(self, scores: Floats, *, higher: bool) -> npt.NDArray[np.intp]:
        """Returns the indices of the k best scores that pass the threshold, best first."""
        chosen = best_of(scores, self._k, largest=higher)
        if self._threshold is None:
            return chosen
        best = scores[chosen]
        passing = best >= self._threshold - self._slack if higher else best <= self._threshold
        return chosen[passing]

    async def _hits(
        self, readings: Sequence[linear.Reading], rankings: Sequence[_Ranking]
    ) -> list[list[Hit]]:
        matches = [
            self._matches(ranking, higher=reading.higher_is_better)
            for reading, ranking in zip(readings, rankings, strict=True)
        ]
        wanted = list({match.handle for of_query in matches for match in of_query})
        items = await self._storage.get_items(self._collection.record.collection_id, wanted)
        opened = {handle: self._collection.open_metadata(item) for handle, item in items.items()}
        # Items that were deleted since their slots were scored are left out.
        return [
            [_hit(opened[match.handle], match) for match in of_query if match.handle in opened]
            for of_query in matches
        ]

    def _matches(self, ranking: _Ranking, *, higher: bool) -> list[_Match]:
        if not ranking.found:
            return []
        scores = np.concatenate([best.scores for best in ranking.found])
        parts = np.concatenate([best.parts for best in ranking.found])
        handles = np.concatenate(ranking.handles)
        return [
            _Match(handles[index].tobytes(), float(scores[index]), parts[index])
            for index in self._best(scores, higher=higher)
        ]


async def embed_query(crypto: Crypto, collection: OpenCollection, data: bytes) -> tasks.Embedded:
    """Embeds a photo with the embedder of a collection.

    Raises:
        InvalidImage: if the data is not a decodable image.
        InvalidArgument: if the collection takes vectors only.
    """
    config = collection.config
    if config.embedder == embedders.NONE:
        raise InvalidArgument("the collection takes vectors only, got a photo (embedder none)")
    return await crypto.embed(config.embedder, config.dimension, config.channels, data)


def _require_agreement(collection: OpenCollection, *, agreed: bool) -> None:
    """Refuses a scheme that shows the query without the owner's agreement, and an agreement without need."""
    name, scheme = collection.config.name, collection.parameters.scheme.name.lower()
    if collection.parameters.query_visible and not agreed:
        raise InvalidArgument(
            f"collection {name!r} ({scheme}) is searched with the query in the clear: the server would see "
            "the query's numbers, though no vector of the collection and no score; "
            "give --query-visible-to-server (query_visible_to_server=True) to agree"
        )
    if agreed and not collection.parameters.query_visible:
        raise InvalidArgument(
            f"collection {name!r} ({scheme}) hides the query from the server; "
            "leave --query-visible-to-server (query_visible_to_server) out"
        )


def _hit(item: ItemMetadata, match: _Match) -> Hit:
    channels = tuple(round(float(part), SCORE_DECIMALS) for part in match.parts)
    return Hit(item.id, round(match.score, SCORE_DECIMALS), item.name, channels)
