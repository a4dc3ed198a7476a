"""The evaluator, assembled from its cache, its worker processes and its client of storage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import blindsight
from blindsight.runtime import host, logs
from blindsight.runtime.folder_lock import locked_folder
from blindsight.runtime.processpool import Task, WorkerPool
from blindsight.wire.scores import EvaluatorStatus, Progress
from services.evaluator import metrics, tasks
from services.evaluator.batch_log import Storage
from services.evaluator.galleries.cache import GalleryCache
from services.evaluator.galleries.galleries import Galleries
from services.evaluator.galleries.preload import Loading
from services.evaluator.galleries.scorer import Scorer
from services.evaluator.geometry import CollectionRecord
from services.evaluator.operations.combine import Combinations
from services.evaluator.operations.cross_products import Comparisons
from services.evaluator.operations.imaging import PlaneOperations
from services.evaluator.operations.intake import Limits
from services.evaluator.operations.plain_query_search import PlainQuerySearches
from services.evaluator.operations.search import Searches
from services.evaluator.settings import EvaluatorSettings


@dataclass(frozen=True, slots=True)
class Evaluator:
    """The evaluator's operations, to which the rpcs delegate.

    Attributes:
        galleries: the galleries that can be scored.
        searches: searches of galleries.
        comparisons: products of rows and queries that are in no gallery.
        combinations: weighted sums of arrays that are in no gallery.
        planes: linear filters and differences of encrypted pixel planes.
    """

    galleries: Galleries
    searches: Searches
    comparisons: Comparisons
    combinations: Combinations
    planes: PlaneOperations
    _cache: GalleryCache
    _loading: Loading

    async def load(self) -> None:
        """Loads galleries of the cache and of storage; see `Loading.run`."""
        await self._loading.run()

    async def prepare(self, collection_id: bytes) -> AsyncIterator[Progress]:
        """Brings a gallery up to date and opens it, and yields progress; does nothing for an additive scheme.

        Raises:
            NotFound, Unavailable, DataLoss: see `Galleries.refresh`.
        """
        if not isinstance(await self.galleries.record(collection_id), CollectionRecord):
            return
        async for progress in self.galleries.reach(collection_id, None):
            yield progress
        async with self.galleries.acquire(collection_id, 0):
            pass

    async def status(self) -> EvaluatorStatus:
        """Returns version, counts and sizes."""
        snapshots = list(self._cache.snapshots)
        return EvaluatorStatus(
            version=blindsight.__version__,
            collections=len(snapshots),
            segments=sum(len(snapshot.segments) for snapshot in snapshots),
            disk_bytes=self._cache.size_bytes,
            memory_bytes=await asyncio.to_thread(host.memory_bytes),
        )


def _pool(processes: int, start: Task[None] | None = None, beside: WorkerPool | None = None) -> WorkerPool:
    def restarted() -> None:
        logs.get().warning("workers_restarted")
        metrics.PROCESS_RESTARTS.inc()

    return WorkerPool(processes, tasks.COMPUTE, start, restarted, tasks.Compile(), beside)


@asynccontextmanager
async def running(settings: EvaluatorSettings, storage: Storage) -> AsyncIterator[Evaluator]:
    """Runs an evaluator, with its worker processes started and its cache read, while the block runs.

    Raises:
        Unavailable: if another evaluator uses the folder, or worker processes do not start.
    """
    with locked_folder(settings.data, "the data folder is in use by another evaluator"):
        scoring = _pool(1, tasks.StartScorer(settings.threads))
        builders = _pool(settings.workers, beside=scoring)
        scorer = Scorer(scoring)
        cache = GalleryCache(settings.data / "cache", settings.cache_bytes, scorer.forget)
        galleries = Galleries(cache, storage, builders, scorer)
        try:
            await scoring.warm()
            await builders.warm()
            cache.load()
            visible = PlainQuerySearches(storage, builders)
            searches = Searches(galleries, scorer, visible, settings.stall_seconds)
            limits = Limits(settings.stall_seconds, settings.combine_seconds)
            comparisons, combinations = Comparisons(scorer, limits), Combinations(builders, limits)
            planes = PlaneOperations(
                storage, builders, Limits(settings.stall_seconds, settings.transform_seconds)
            )
            loading = Loading(cache, galleries, storage)
            yield Evaluator(galleries, searches, comparisons, combinations, planes, cache, loading)
        finally:
            await galleries.close()
            await asyncio.to_thread(builders.close)
            await asyncio.to_thread(scoring.close)
