"""Search for photos that show the same thing: candidates by an encrypted search, then a choice by keypoints.

The evaluator scores one vector of every photo under encryption, as in any search.  The sealed keypoints of
the best are fetched from storage, opened here and compared with the query's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice

import numpy as np

from blindsight.errors import DataLoss, InvalidArgument, NotFound
from blindsight.packing.columns import Floats
from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.similarity import linear
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.items import Items, keys_of
from blindsight.wire.search import Hit, KeypointAgreement, MatchDrawing, SearchProgress
from services.keyholder import metrics
from services.keyholder.operations.check import handles_at
from services.keyholder.operations.naming import naming
from services.keyholder.operations.scoring import Timings
from services.keyholder.operations.search import CHANGED_ATTEMPTS, MOST_DAMAGED, Ranked, Search

# All photos of a collection with no more than these.  Their keypoints are 13 MB, and comparing them takes one
# second of one core.
CANDIDATES = 200
MOST_RESULTS = 50
_CHANGED = "not compared: it was replaced again and again meanwhile"


class Recognition:
    """A search of one collection of embedder sift, with the interface of `Search`.

    Args:
        candidates: a search for `CANDIDATES` matches.
        items: say which items there are.
        storage: client of storage.
        crypto: worker processes that embed, compare and draw.
        collection: the collection.
        k: number of matches, at most 50.
        threshold: must be None.
        draw: whether pictures of the matches are wanted.

    Raises:
        InvalidArgument: if k is out of range, or a threshold is given.
    """

    def __init__(
        self,
        candidates: Search,
        items: Items,
        storage: StorageClient,
        crypto: Crypto,
        collection: OpenCollection,
        *,
        k: int,
        threshold: float | None,
        draw: bool,
        offset: int = 0,
    ) -> None:
        name = collection.config.name
        if not 1 <= k <= MOST_RESULTS:
            raise InvalidArgument(f"k {k}, want 1 to {MOST_RESULTS} in collection {name!r} (embedder sift)")
        if threshold is not None:
            raise InvalidArgument(
                f"threshold {threshold:g} in collection {name!r} (embedder sift), want none: "
                "a match says itself whether it is verified"
            )
        self._candidates = candidates
        self._items = items
        self._storage = storage
        self._crypto = crypto
        self._collection = collection
        self._best_hits = slice(offset, offset + k)
        self._draw = draw

    @property
    def query_visible_to_server(self) -> bool:
        """Whether the query is visible to the evaluator, as in the search for candidates."""
        return self._candidates.query_visible_to_server

    @property
    def metric(self) -> linear.Metric:
        """The metric of the scores, by which candidates are chosen."""
        return self._candidates.metric

    @property
    def progress(self) -> asyncio.Queue[SearchProgress]:
        """How far the gallery is ready, as in the search for candidates."""
        return self._candidates.progress

    @property
    def quarantined(self) -> int:
        """The number of items that are quarantined, as in the search for candidates."""
        return self._candidates.quarantined

    @property
    def timings(self) -> Timings:
        """Timings of the whole search, candidates included."""
        return self._candidates.timings

    def run(self, queries: Floats) -> AsyncIterator[list[Hit]]:
        """Refuses query vectors, since they have no keypoints.

        Raises:
            InvalidArgument: always.
        """
        raise InvalidArgument(
            f"{len(queries)} query vectors in collection {self._collection.config.name!r} (embedder sift), "
            "want a photo"
        )

    async def photos(self, photos: AsyncIterator[bytes]) -> AsyncIterator[list[Hit] | MatchDrawing]:
        """Yields the matches of each photo, most inliers first; then their pictures in any order, if wanted.

        Raises:
            InvalidArgument: if pictures are wanted of the matches of several photos.
            InvalidImage: if the data is not a decodable image, or has too few keypoints.
            DataLoss: if storage lost or changed the keypoints of many photos, or an original to be drawn.
            Unavailable: if the evaluator or storage does not answer.
        """
        drawn = False
        async for data, embedded in self._candidates.embedded(photos):
            if drawn:
                raise InvalidArgument("pictures of the matches of several photos, want one photo for them")
            drawn = self._draw
            vector = embedded.vector[None].astype(np.float64)
            async for found in self._recognised(vector, data, embedded.keypoints):
                yield found

    async def items(self, item_ids: Sequence[str]) -> AsyncIterator[list[Hit] | MatchDrawing]:
        """Yields the matches of each of these items, most inliers first; the item itself is not among them.

        Raises:
            InvalidArgument: if pictures are wanted, for which storage would be asked for the item's original.
            NotFound: if there is no such item, or it has no keypoints.
            DataLoss, Unavailable: as of photos.
        """
        if self._draw:
            raise InvalidArgument("pictures of the matches of an item, want a photo for them")
        name = self._collection.config.name
        with naming(*((name, one) for one in item_ids)):
            handles, vectors = await self._candidates.stored(item_ids)
        for item_id, handle, vector in zip(item_ids, handles, vectors, strict=True):
            with naming((name, item_id)):
                async for found in self._recognised(vector[None], handle):
                    yield found

    async def _recognised(
        self, vector: Floats, query: bytes, packed: bytes | None = None
    ) -> AsyncIterator[list[Hit] | MatchDrawing]:
        """Yields the matches of a photo, and pictures of them.

        Args:
            vector: [1, dimension].
            query: the photo's file; or an item's handle, if its keypoints are stored.
            packed: its keypoints; None: those that are stored.
        """
        for _ in range(CHANGED_ATTEMPTS):
            before = self._collection.slots
            compared, damaged, keypoints, stored = await self._attempt(vector, query, packed)
            there = self._collection.slots.versions([handle for handle, _ in compared])
            best = [one for one in compared if one[0] in there][self._best_hits]
            steady = _unchanged(best, before, there)
            if steady == best:
                break
        changed = [replace(one[1], keypoints=None, damage=_CHANGED) for one in best if one not in steady]
        yield [hit for _, hit in steady] + changed + damaged
        if self._draw:
            async for drawing in self._drawings(query, keypoints, steady, stored):
                yield drawing

    async def _attempt(
        self, vector: Floats, query: bytes, packed: bytes | None
    ) -> tuple[list[Ranked], list[Hit], bytes, dict[bytes, bytes]]:
        """Returns what was compared, best first, what was not, and the keypoints of query and candidates."""
        scheme = self._collection.parameters.scheme.name.lower()
        (ranked,) = [found async for found in self._candidates.ranked(vector)]
        compared = time.perf_counter()
        own = [query] if packed is None else []
        # As many in all as for a photo: storage is not told which of the two it is.
        candidates = [one for one in ranked if one[0] not in own][: CANDIDATES - len(own)]
        handles = own + [handle for handle, _ in candidates]
        # And others: storage would see which items of a small collection no search ranks.
        among = _with_others(self._collection, handles)
        read = partial(self._keypoints, frozenset(handles))
        with metrics.IMAGING_SECONDS.labels("recognise", scheme).time():
            stored, damaged = await self._items.apart(self._collection, among, read, MOST_DAMAGED)
            keypoints = _of_item(query, stored, damaged) if packed is None else packed
            found = await self._compared(keypoints, candidates, stored)
        self.timings.match += time.perf_counter() - compared
        # Nobody knows whether they are matches, so all of them are told.
        unknown = [
            replace(hit, damage=hit.damage or f"not compared: {damaged[handle]}")
            for handle, hit in candidates
            if handle in damaged
        ]
        return found, unknown, keypoints, stored

    async def _keypoints(self, candidates: Collection[bytes], asked: Sequence[bytes]) -> dict[bytes, bytes]:
        """Returns packed keypoints by handle, for the candidates among those asked for that still exist."""
        collection = self._collection
        sealed = await self._storage.read_keypoints(collection.record.collection_id, asked)
        keys = keys_of(collection, [handle for handle in asked if handle in candidates])
        if lost := keys.keys() - sealed.keys():
            raise DataLoss(f"storage has {len(lost)} photos of the collection without their keypoints")
        # Items that were deleted since they were scored are not lost.
        there = [(key, sealed[handle]) for handle, key in keys.items()]
        return await asyncio.to_thread(
            lambda: {key.handle: collection.open_keypoints(key, data) for key, data in there}
        )

    async def _compared(
        self, query: bytes, candidates: Sequence[Ranked], stored: dict[bytes, bytes]
    ) -> list[Ranked]:
        there = [(handle, hit) for handle, hit in candidates if handle in stored]
        agreements = await self._crypto.compare_keypoints(query, [stored[handle] for handle, _ in there])
        found = [
            (handle, replace(hit, keypoints=KeypointAgreement(made.inliers, made.matches, made.verified)))
            for (handle, hit), made in zip(there, agreements, strict=True)
        ]
        return sorted(found, key=_worst_last)

    async def _drawings(
        self, data: bytes, packed: bytes, best: Sequence[Ranked], stored: dict[bytes, bytes]
    ) -> AsyncIterator[MatchDrawing]:
        decoders, collection = self._crypto.decoders, self._collection
        yield MatchDrawing(0, *await decoders.run(tasks.DrawKeypoints(data)))
        ranked = [(handle, rank) for rank, (handle, _) in enumerate(best, 1)]
        # In the order of handles: that of the ranking would tell storage which photos are most alike.
        for handle, rank in sorted(ranked):
            original = await self._items.steady(collection, partial(self._original, handle))
            task = tasks.DrawAgreement((data, packed), (original, stored[handle]))
            yield MatchDrawing(rank, *await decoders.run(task))

    async def _original(self, handle: bytes) -> bytes:
        collection = self._collection
        sealed = await self._storage.read_original(collection.record.collection_id, handle)
        keys = keys_of(collection, [handle])
        if handle not in keys:
            raise DataLoss("storage sent the original of a photo that is not there")
        return await asyncio.to_thread(collection.open_original, keys[handle], sealed)


def _unchanged(hits: list[Ranked], before: SlotMap, now: Mapping[bytes, bytes]) -> list[Ranked]:
    """Returns those matches whose items are as before.

    Of others score, keypoints and metadata may be of two versions.
    """
    was = before.versions([handle for handle, _ in hits])
    return [one for one in hits if was.get(one[0]) == now[one[0]]]


def _of_item(handle: bytes, stored: dict[bytes, bytes], damaged: dict[bytes, str]) -> bytes:
    """Returns the packed keypoints of an item that is searched by."""
    if handle in stored:
        return stored[handle]
    if handle in damaged:
        raise DataLoss(damaged[handle])
    raise NotFound("it was deleted meanwhile")


def _with_others(collection: OpenCollection, candidates: list[bytes]) -> list[bytes]:
    """Returns candidates and others beside them: as many as there may be candidates, or all items."""
    known, segments = set(candidates), collection.slots.segments.values()
    live = (handle for segment in segments for handle in handles_at(segment, segment.live))
    others = (handle for handle in live if handle not in known)
    return [*candidates, *islice(others, CANDIDATES - len(candidates))]


def _worst_last(ranked: Ranked) -> tuple[int, int, float]:
    """Returns a sort key of matches: most inliers first, then most matches, then the highest score."""
    _, hit = ranked
    made = hit.keypoints or KeypointAgreement(0, 0, verified=False)
    return -made.inliers, -made.matches, -(hit.score or 0.0)
