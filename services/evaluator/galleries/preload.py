"""Loads galleries at the start: those in the cache, then others that storage has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from blindsight.errors import BlindsightError, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.retry import retry
from services.evaluator.batch_log import Storage
from services.evaluator.galleries.cache import GalleryCache
from services.evaluator.galleries.galleries import Galleries
from services.evaluator.geometry import CollectionRecord

# Short pauses between attempts, since a search may wait for its gallery meanwhile.
_ask_storage = partial(retry, "storage", on=(Unavailable,), longest_seconds=0.5)


class Loading:
    """The loading of galleries at the start; searches are answered meanwhile, and wait for their own gallery.

    Args:
        cache: has the galleries that an earlier process left.
        galleries: brings galleries up to date and opens them.
        storage: asked until it answers, without a time limit.
    """

    def __init__(self, cache: GalleryCache, galleries: Galleries, storage: Storage) -> None:
        self._cache = cache
        self._galleries = galleries
        self._storage = storage

    async def run(self) -> None:
        """Maps galleries, up to date with storage's log, until the cache is full or all are mapped.

        A gallery that cannot be loaded is logged, and left to the first search of it.
        """
        for snapshot in list(self._cache.snapshots):
            await self._each(snapshot.record.collection_id, snapshot.sequence)
        count = 0
        async for collection_id in self._wanted():
            count += await self._each(collection_id)
        logs.get().info("galleries_loaded", collections=count)

    async def _wanted(self) -> AsyncIterator[bytes]:
        """Yields cached collections; then others, the newest first, until the cache is full."""
        cached = [snapshot.record.collection_id for snapshot in self._cache.snapshots]
        records = await _ask_storage(self._storage.list_collections)
        for collection_id in cached:
            yield collection_id
        for record in reversed(records):
            if self._cache.full:
                return
            if isinstance(record, CollectionRecord) and record.collection_id not in cached:
                yield record.collection_id

    async def _each(self, collection_id: bytes, sequence: int | None = None) -> bool:
        """Maps a gallery that covers `sequence`; for None it is brought up to date first.

        Returns:
            Whether it was mapped; a failure is logged.
        """
        try:
            if sequence is None:
                snapshot = await _ask_storage(lambda: self._galleries.refresh(collection_id))
                sequence = snapshot.sequence
            async with self._galleries.acquire(collection_id, sequence):
                return True
        except BlindsightError as error:
            logs.get().warning("gallery_not_loaded", reason=error.reason)
            return False
