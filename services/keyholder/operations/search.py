"""Search of a collection: encrypts the query, has the evaluator score it, decrypts and ranks the scores."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument, InvalidImage, InvalidVector, ResourceExhausted
from blindsight.packing.columns import Floats
from blindsight.packing.segments import SegmentId
from blindsight.runtime.processpool import in_order
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.embedders import EXTERNAL
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.similarity import linear
from blindsight.trusted.similarity.ranking import Leaders, Ranking
from blindsight.trusted.slots import EMPTY_SEGMENT, Segment, SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.wire.metadata import Filter
from blindsight.wire.scores import Progress, ScoreResult
from blindsight.wire.search import Hit, MatchDrawing, SearchProgress
from services.keyholder.catalog.catalog import Catalog
from services.keyholder.catalog.columns import passing_of
from services.keyholder.catalog.rows import Selection
from services.keyholder.catalog.vector_names import VectorNames
from services.keyholder.operations.naming import naming
from services.keyholder.operations.query_groups import Take
from services.keyholder.operations.scoring import Scorer, Timings
from services.keyholder.operations.turns import Part, Turns
from services.keyholder.operations.vectors import StoredVectors

MAX_K = 10_000
MAX_QUERIES = 4096
# Photos or items of one search, each of which takes some milliseconds before it is scored.
MAX_PHOTOS = 256
# Limit of the hits of one search, and of those that are looked up at once.
MAX_HITS = 1_000_000
GROUP_HITS = 40_000
# Limit of the ciphertexts in a group of queries, which are encrypted and sent at once.
GROUP_CIPHERTEXTS = 1024
MAX_GROUP_QUERIES = 16
# Groups of one search in progress: one is encrypted and sent while the evaluator scores the other.
GROUPS_AT_ONCE = 2
# Queries of a turn while other calls want theirs, and while some of these have a single query.
CROWDED_QUERIES, HURRIED_QUERIES = 4, 1
# Of scores of unit scale; those of short vectors have as many digits.
SCORE_DECIMALS = 6
# Attempts at a search beside which items go, or are given other metadata, again and again.
CHANGED_ATTEMPTS = 3
# Items that are ranked beyond those asked for, and take the places of such items.
SPARES = 16
# Matches whose records are damaged are told one by one, but no more of them.
MOST_DAMAGED = 100

# A match, and the handle of its item.
Ranked = tuple[bytes, Hit]


@dataclass(frozen=True, slots=True)
class _Query:
    """A query, and the handle of an item that is none of its matches; empty for none."""

    form: linear.LinearForm
    without: bytes


class Search:
    """A search of one collection.

    Args:
        scorer: what all searches use.
        catalog: has the ids, names and metadata of matches.
        vectors: reads those of items.
        crypto: worker processes that embed.
        collection: the collection.
        k: number of matches, at most 10,000.
        threshold: the worst score that is still a match, within its error bound; None: no limit.
        query_visible_to_server: whether the owner agreed to show the query to the evaluator.
        where: passes the items that are ranked; None: all are.
        vector_name: only vectors of this name are ranked; empty: all are.
        offset: number of the best matches that are left out.

    Attributes:
        progress: is given how far the gallery is ready, while the matches wait for that.
        quarantined: the number of items that were not ranked because they are quarantined.

    Raises:
        InvalidArgument: if k or the threshold is invalid, or if the agreement does not fit the scheme.
    """

    def __init__(
        self,
        scorer: Scorer,
        catalog: Catalog,
        vectors: StoredVectors,
        crypto: Crypto,
        collection: OpenCollection,
        *,
        k: int,
        threshold: float | None,
        query_visible_to_server: bool = False,
        where: Filter | None = None,
        vector_name: str = "",
        offset: int = 0,
    ) -> None:
        if not 1 <= k <= MAX_K:
            raise InvalidArgument(f"k {k}, want 1 to {MAX_K}")
        if k + offset > MAX_K:
            raise InvalidArgument(f"k {k} after {offset} others, want at most {MAX_K} in all")
        if threshold is not None and math.isnan(threshold):
            raise InvalidArgument("threshold NaN, want a score")
        _require_agreement(collection, agreed=query_visible_to_server)
        self.query_visible_to_server = query_visible_to_server
        self._catalog = catalog
        self._vectors = vectors
        self._crypto = crypto
        self._collection = collection
        self._k = k + offset
        self._offset = offset
        if vector_name and collection.config.embedder != EXTERNAL:
            raise InvalidArgument(
                f"vectors named {vector_name[:40]!r} in collection {collection.config.name!r} (embedder "
                f"{collection.config.embedder}), want embedder external for names"
            )
        self._where = where
        self._vector_name = vector_name
        self._names: VectorNames | None = None
        self._selection: Selection | None = None
        self._threshold = threshold
        self._slack = _slack(collection)
        self._linear = collection.linear()
        self.timings = Timings()
        self.quarantined = 0
        self.progress: asyncio.Queue[SearchProgress] = asyncio.Queue(1)
        self._scorer = scorer

    @property
    def metric(self) -> linear.Metric:
        """The metric of the scores."""
        return self._collection.config.metric

    async def photos(self, photos: AsyncIterator[bytes]) -> AsyncIterator[list[Hit] | MatchDrawing]:
        """Yields the matches of each photo, best first.

        Raises:
            InvalidImage: if the data is not a decodable image; `metadata` says of which photo.
            InvalidArgument: if the collection takes vectors only.
            Unavailable: if the evaluator or storage does not answer.
        """
        vectors = [embedded.vector async for _, embedded in self.embedded(photos)]
        async for hits in self.run(np.stack(vectors).astype(np.float64)):
            yield hits

    async def embedded(self, photos: AsyncIterator[bytes]) -> AsyncIterator[tuple[bytes, tasks.Embedded]]:
        """Yields photos as they come and what was made of them, each in a turn; see `embed_query`."""
        number = 0
        async for data in photos:
            started = time.perf_counter()
            try:
                made = await embed_query(self._crypto, self._scorer.turns, self._collection, data)
            except InvalidImage as error:
                error.metadata["query"] = str(number)
                raise
            self.timings.embed += time.perf_counter() - started
            yield data, made
            number += 1

    async def items(self, item_ids: Sequence[str]) -> AsyncIterator[list[Hit] | MatchDrawing]:
        """Yields the matches of each of these items, best first, and the item itself not among them.

        Raises:
            NotFound: if there is no such item, or it has no vector.
            DataLoss: if storage has damaged or lost what it is read from.
            Unavailable: if the evaluator or storage does not answer.
        """
        with naming(*((self._collection.config.name, one) for one in item_ids)):
            handles, vectors = await self.stored(item_ids)
            async for found in self.ranked(vectors, handles):
                yield [hit for _, hit in found]

    async def stored(self, item_ids: Sequence[str]) -> tuple[list[bytes], Floats]:
        """Returns handles and vectors of items; see `StoredVectors.read`.

        Raises:
            InvalidArgument: if the scheme shows queries: these would be vectors of the collection.
        """
        if self.query_visible_to_server:
            raise InvalidArgument(
                f"collection {self._collection.config.name!r} is searched with the query in the clear: the "
                "item's vector would be shown to the server; want a collection of scheme ckks or bfv"
            )
        return await self._vectors.read(self._collection, item_ids)

    async def run(self, queries: Floats) -> AsyncIterator[list[Hit]]:
        """Yields the matches of each query, best first; see `ranked`."""
        async for found in self.ranked(queries):
            yield [hit for _, hit in found]

    async def ranked(self, queries: Floats, without: Sequence[bytes] = ()) -> AsyncIterator[list[Ranked]]:
        """Yields the matches of each query, best first.

        One whose record in storage is damaged is a match, too, which says so instead of its id and name.

        Args:
            queries: [count, dimension].
            without: the handle of an item for each query, which is none of its matches; empty: nothing.

        Raises:
            InvalidArgument: if there are no queries, or too many.
            InvalidVector: if the metric cannot take a query.
            ResourceExhausted: if there may be too many hits.
            Busy: if too many searches wait.
            DataLoss: if the records of more than `MOST_DAMAGED` matches are damaged.
            Unavailable: if the evaluator or storage does not answer.
        """
        if not 1 <= len(queries) <= MAX_QUERIES:
            raise InvalidArgument(f"{len(queries)} queries, want 1 to {MAX_QUERIES}")
        if len(queries) * self._k > MAX_HITS:
            raise ResourceExhausted(
                f"{len(queries)} queries with k {self._k}, want at most {MAX_HITS:,} hits in one search"
            )
        linear.check_vectors(queries, self._collection.config.dimension)
        await self._select()
        left_out = without or [b""] * len(queries)
        forms = [_Query(self._form(row, query), left_out[row]) for row, query in enumerate(queries)]
        async with aclosing(in_order(self._groups(forms), GROUPS_AT_ONCE)) as found:
            async for group in found:
                for hits in group:
                    yield hits

    async def _select(self) -> None:
        """Computes which items are ranked."""
        with self._scorer.alarms.watching(self._collection.config.name):
            if self._where is not None:
                self._selection = await self._catalog.select(
                    self._collection, self._where, self._report_loading
                )
            if self._vector_name:
                self._names = await self._catalog.vector_names(self._collection)

    def _groups(self, queries: list[_Query]) -> Iterator[Coroutine[Any, Any, list[list[Ranked]]]]:
        """Yields the work of each group, whose size depends on who else searches when it begins."""
        start, call = 0, object()
        while start < len(queries):
            stop = start + self._group_size(call)
            last = stop >= len(queries)
            part = Part(first=not start, last=last, call=call, queries=min(stop, len(queries)) - start)
            yield self._group(queries[start:stop], part)
            start = stop

    def _group_size(self, call: object) -> int:
        """Returns the number of queries that are sent at once."""
        turns = self._scorer.turns
        most = MAX_GROUP_QUERIES
        if turns.crowded(call):
            most = HURRIED_QUERIES if turns.hurried else CROWDED_QUERIES
        most = min(most, GROUP_HITS // self._k)
        if self.query_visible_to_server:
            return most  # they are small
        return max(1, min(most, GROUP_CIPHERTEXTS // self._collection.layout.query_ciphertexts))

    def _form(self, row: int, query: Floats) -> linear.LinearForm:
        try:
            return self._linear.form(query)
        except InvalidVector as error:
            # A metric is given one query, which its message calls row 0.
            raise InvalidVector(f"query row {row} {error.message.removeprefix('row 0 ')}") from None

    async def _group(self, queries: list[_Query], part: Part) -> list[list[Ranked]]:
        for _ in range(CHANGED_ATTEMPTS):
            hits, complete = await self._attempt(queries, part)
            if complete:
                break
            await self._select()  # too many went, or were given other metadata, since they were chosen
        return hits

    async def _attempt(self, queries: list[_Query], part: Part) -> tuple[list[list[Ranked]], bool]:
        """Returns the matches of each query, and whether they are as many as should be."""
        rankings: list[Ranking] = []
        timings = Timings()
        scored = SlotMap()

        def begin(slots: SlotMap) -> Take:
            nonlocal scored
            scored = slots
            rankings[:] = [Ranking(one.form.reading, self._wanted(one) + SPARES) for one in queries]
            self.quarantined = slots.quarantined_items()
            return partial(_take, slots, rankings, self._passing_slots)

        weights = np.stack([one.form.weights for one in queries])
        with self._scorer.alarms.watching(self._collection.config.name):
            await self._scorer.run(self._collection, weights, begin, timings, part, self._report_ready)
            started = time.perf_counter()
            hits, complete = await self._hits(rankings, queries, scored)
        timings.rank += time.perf_counter() - started
        self.timings.add(timings)
        return hits, complete

    def _wanted(self, query: _Query) -> int:
        """Returns how many of the best items of a ranking are looked up."""
        return self._k + bool(query.without)  # which is the best most of the time

    def _fitting(self, ranked: list[Ranked]) -> list[Ranked]:
        """Returns the matches that pass the filter, and are of the name, that they were chosen by."""
        if self._where is None and not self._vector_name:
            return ranked
        passing = self._passes([hit for _, hit in ranked])
        return [one for one, passes in zip(ranked, passing, strict=True) if passes]

    def _passes(self, hits: Sequence[Hit]) -> list[bool]:
        passing = [True] * len(hits)
        if self._where is not None and hits:
            passing = passing_of(self._where, [hit.metadata for hit in hits])
        return [
            bool(hit.damage)
            or (passes and self._vector_name in ("", hit.vector.name if hit.vector is not None else ""))
            for hit, passes in zip(hits, passing, strict=True)
        ]

    def _report_ready(self, made: Progress) -> None:
        self._report(SearchProgress(made.batches_done, made.batches_total))

    def _report_loading(self, done: int, total: int) -> None:
        self._report(SearchProgress(items_done=done, items_total=total))

    def _report(self, progress: SearchProgress) -> None:
        """Replaces a report that nobody has taken yet: the evaluator must not be able to pile them up."""
        if self.progress.full():
            self.progress.get_nowait()
        self.progress.put_nowait(progress)

    async def _hits(
        self, rankings: Sequence[Ranking], queries: Sequence[_Query], scored: SlotMap
    ) -> tuple[list[list[Ranked]], bool]:
        """Returns the matches of each query, and whether they are as many as were ranked."""
        ranked = [self._passing(ranking) for ranking in rankings]
        wanted = [self._wanted(query) for query in queries]
        first = [leaders.first(count) for leaders, count in zip(ranked, wanted, strict=True)]
        complete = False
        for leaders in (first, ranked):
            if not complete:
                hits = await self._told(leaders, rankings, scored)
                complete = all(len(told) >= len(best) for told, best in zip(hits, first, strict=True))
        kept = [
            [one for one in told if one[0] != query.without][self._offset : self._k]
            for told, query in zip(hits, queries, strict=True)
        ]
        return kept, complete

    async def _told(
        self, found: Sequence[Leaders], rankings: Sequence[Ranking], scored: SlotMap
    ) -> list[list[Ranked]]:
        """Looks up items that were ranked; those that went or changed since are left out."""
        items = scored.items_of(_names(found))
        owners = {item for item, _ in items.values()}
        opened = await self._catalog.find_at(self._collection, owners, scored)
        for message in [item for item in opened.values() if isinstance(item, str)][:1]:
            self._scorer.alarms.note(self._collection.config.name, message)
        return [
            self._fitting(_ranked(leaders, items, opened, decimals(ranking.scale)))
            for leaders, ranking in zip(found, rankings, strict=True)
        ]

    def _passing_slots(self, key: SegmentId, segment: Segment) -> npt.NDArray[np.bool_] | None:
        """Returns which slots of a segment are ranked, bool [fill]; None: all of them."""
        passing = segment.ranked
        if self._selection is not None:
            selected = self._selection.of(key, segment)
            passing = selected if passing is None else passing & selected
        if self._names is not None:
            named = self._names.among(self._vector_name, segment)
            passing = named if passing is None else passing & named
        return passing

    def _passing(self, ranking: Ranking) -> Leaders:
        """Returns those of the best items that pass the threshold."""
        best = ranking.best()
        if self._threshold is None:
            return best
        if ranking.higher_is_better:
            return best.first(int((best.scores >= self._threshold - self._slack).sum()))
        return best.first(int((best.scores <= self._threshold + self._slack).sum()))


def _names(found: Sequence[Leaders]) -> list[bytes]:
    """Returns the handles of items, each once."""
    return list({name.tobytes() for leaders in found for name in leaders.names})


def _slack(collection: OpenCollection) -> float:
    """Returns how far a score may lie beyond a threshold.

    Exact copies pass a cosine of 1 and a distance of 0, though noise makes their scores a little worse.
    """
    if collection.config.metric in (linear.Metric.COSINE, linear.Metric.SQUARED_COSINE):
        return collection.score_error_bound
    # The bound is that of rows of norm 1; a distance is twice a product, and what is known exactly.
    return 2 * max(1.0, collection.config.max_norm**2) * collection.score_error_bound


def _take(
    slots: SlotMap,
    rankings: Sequence[Ranking],
    passing: Callable[[SegmentId, Segment], npt.NDArray[np.bool_] | None],
    result: ScoreResult,
    products: Floats,
) -> None:
    """Adds the products of some segments to the rankings of their queries."""
    segments = []
    for key in (SegmentId(result.region, index) for index in result.segments):
        # An unknown segment was appended after this search began, and counts as empty.
        segment = slots.segments.get(key, EMPTY_SEGMENT)
        groups = segment.item_words if len(segment.further) else None
        segments.append((passing(key, segment), segment.handles, groups))
    for number, ranking in enumerate(rankings[result.first_query :][: result.queries]):
        ranking.add(products[:, number], segments)


async def embed_query(
    crypto: Crypto, turns: Turns, collection: OpenCollection, data: bytes
) -> tasks.Embedded:
    """Embeds a photo with the embedder of a collection, in a turn.

    Raises:
        Busy: if too many calls wait.
        InvalidImage: if the data is not a decodable image.
        InvalidArgument: if the collection takes vectors only.
    """
    config = collection.config
    if not config.takes_photos:
        raise InvalidArgument("the collection takes vectors only, got a photo (embedder none)")
    if not config.describes:
        raise InvalidArgument("the collection is searched by vectors, got a photo (embedder external)")
    async with turns.turn(Part(), cost=1):
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


def decimals(scale: float) -> int:
    """Returns how many decimals a score of this scale is rounded to."""
    return SCORE_DECIMALS + (max(0, -math.floor(math.log10(scale))) if scale else 0)


def _ranked(
    leaders: Leaders,
    items: Mapping[bytes, tuple[bytes, int]],
    opened: Mapping[bytes, ItemMetadata | str],
    places: int,
) -> list[Ranked]:
    """Returns the best items of a ranking; those that were deleted since they were scored are left out.

    Args:
        items: of each row, with the number of its vector.
        opened: the metadata of items, or why there are none.
        places: decimals of scores.
    """
    made: list[Ranked] = []
    for score, parts, name in zip(leaders.scores, leaders.parts, leaders.names, strict=True):
        item, index = items.get(name.tobytes(), (b"", 0))
        if item in opened:
            made.append((item, _hit(opened[item], index, score, parts, places)))
    return made


def _hit(item: ItemMetadata | str, index: int, score: float, parts: Floats, places: int) -> Hit:
    rounded = round(float(score), places)
    channels = tuple(round(float(part), places) for part in parts)
    if isinstance(item, str):
        return Hit("", rounded, "", channels, damage=item)
    vector = item.vectors[index] if index < len(item.vectors) else None
    return Hit(item.id, rounded, item.name, channels, metadata=item.values, vector=vector)
