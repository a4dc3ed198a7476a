"""What a start makes ready: the galleries of the cache, then what storage has beside them."""

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

# A search waits for its gallery meanwhile.
_ask_storage = partial(retry, "storage", on=(Unavailable,), longest_seconds=0.5)


class Loading:
    """Loads galleries while searches are answered already: one that is not loaded yet waits for its own.

    Args:
        cache: what an earlier process left.
        galleries: opened and brought up to date.
        storage: asked until it answers, for as long as it takes.
    """

    def __init__(self, cache: GalleryCache, galleries: Galleries, storage: Storage) -> None:
        self._cache = cache
        self._galleries = galleries
        self._storage = storage

    async def run(self) -> None:
        """Returns when all galleries that the cache has room for are mapped and as new as storage's log.

        One that cannot be loaded is left to whoever searches it, and logged.
        """
        for snapshot in list(self._cache.snapshots):
            await self._each(snapshot.record.collection_id, snapshot.sequence)
        count = 0
        async for collection_id in self._wanted():
            count += await self._each(collection_id)
        logs.get().info("galleries_loaded", collections=count)

    async def _wanted(self) -> AsyncIterator[bytes]:
        """What is cached; then, the newest first, what is not, as long as there is room."""
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
        """Maps a gallery: as it is, when it covers `sequence`; None to bring it up to date first."""
        try:
            if sequence is None:
                snapshot = await _ask_storage(lambda: self._galleries.refresh(collection_id))
                sequence = snapshot.sequence
            async with self._galleries.acquire(collection_id, sequence):
                return True
        except BlindsightError as error:
            logs.get().warning("gallery_not_loaded", reason=error.reason)
            return False
