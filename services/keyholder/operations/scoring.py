"""Encrypted scores of a collection: requested, decrypted as they come, requested again after a repack."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any

from blindsight.errors import Conflict, DataLoss
from blindsight.packing.columns import CollectionLayout
from blindsight.packing.segments import Region, SegmentId
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.vault import OpenCollection, Vault
from blindsight.wire.scores import ScorePlan, ScoreResult, ScoreSummary
from services.keyholder import metrics

EPOCH_ATTEMPTS = 4


@dataclass(slots=True)
class Timings:
    """Times of the parts of a search, in seconds; see SearchTimings in the proto."""

    embed: float = 0.0
    encrypt: float = 0.0
    score: float = 0.0
    decrypt: float = 0.0
    rank: float = 0.0
    total: float = 0.0
    kernel: float = 0.0
    refresh: float = 0.0
    decrypt_busy: float = 0.0
    match: float = 0.0
    scanned_bytes: int = 0


# Makes a block of encrypted queries for a layout.
Encrypt = Callable[[CollectionLayout], Coroutine[Any, Any, bytes]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One pass over a collection under one slot map.

    Attributes:
        take: decrypts one message of results and keeps what it needs of it.
        only: the segments to score; empty for all.
    """

    take: Callable[[ScoreResult], Coroutine[Any, Any, None]]
    only: Collection[SegmentId] = ()


class Scoring:
    """The scoring of encrypted queries against one collection.

    Args:
        vault: refreshes the collection after a repack.
        evaluator: computes the scores.
        collection: the collection.
        pending: messages of results that may wait to be decrypted; more stay with the evaluator.
        timings: times to which this adds.
    """

    def __init__(
        self,
        vault: Vault,
        evaluator: EvaluatorClient,
        collection: OpenCollection,
        pending: int,
        timings: Timings,
    ) -> None:
        self._vault = vault
        self._evaluator = evaluator
        self._collection = collection
        self._pending = pending
        self._timings = timings

    async def run(self, queries: int, encrypt: Encrypt, begin: Callable[[SlotMap], Attempt]) -> None:
        """Scores queries and passes all results to an attempt.

        Args:
            queries: number of queries.
            encrypt: makes the block of queries for a layout, which has only the regions with segments.
            begin: makes an attempt for a slot map; called again if the evaluator's segments are newer, or if
                the connection to the evaluator is lost during the pass.

        Raises:
            Conflict: if the collection was repacked during each of `EPOCH_ATTEMPTS` attempts.
            DataLoss: if the evaluator's answer is incomplete or not what was asked for.
            Unavailable: if the evaluator or storage does not answer.
        """
        for _ in range(EPOCH_ATTEMPTS):
            slots = self._collection.slots
            layout = self._collection.layout.within(_regions(begin(slots), slots))
            started = time.perf_counter()
            block = await encrypt(layout)
            self._timings.encrypt += time.perf_counter() - started
            if await self._evaluator.call(partial(self._pass, queries, layout, block, slots, begin)):
                return
            await self._vault.refresh(self._collection)
        raise Conflict("the collection was repacked again and again during the search")

    async def _pass(
        self,
        queries: int,
        layout: CollectionLayout,
        block: bytes,
        slots: SlotMap,
        begin: Callable[[SlotMap], Attempt],
    ) -> bool:
        """Makes one pass; returns False if the evaluator's segments have another epoch than the slot map."""
        attempt = begin(slots)
        started, busy_before = time.perf_counter(), self._timings.decrypt_busy
        decrypting: set[asyncio.Task[None]] = set()
        parts = self._evaluator.score(
            self._collection.record.collection_id,
            slots.sequence,
            queries,
            block,
            attempt.only,
            layout.regions,
        )
        try:
            async for part in parts:
                if isinstance(part, ScorePlan):
                    if part.epoch != slots.epoch:
                        return False
                    covered = _Covered(part, queries)
                elif isinstance(part, ScoreResult):
                    covered.add(part)
                    await _room(decrypting, self._pending)
                    decrypting.add(asyncio.create_task(self._timed(attempt.take(part))))
                else:
                    self._note(part)
            covered.check(
                slots, {key for key in attempt.only or slots.segments if key.region in layout.regions}
            )
            scored = time.perf_counter()
            self._timings.score += scored - started
            await asyncio.gather(*decrypting)
            self._timings.decrypt += time.perf_counter() - scored
        finally:
            for task in decrypting:
                task.cancel()
            await parts.aclose()  # type: ignore[attr-defined]
        labels = self._collection.parameters
        metrics.DECRYPT_SECONDS.labels(labels.scheme.name.lower(), labels.name).observe(
            self._timings.decrypt_busy - busy_before
        )
        return True

    async def _timed(self, taking: Coroutine[Any, Any, None]) -> None:
        started = time.perf_counter()
        with answer_of("the evaluator"):
            await taking
        self._timings.decrypt_busy += time.perf_counter() - started

    def _note(self, summary: ScoreSummary) -> None:
        self._timings.kernel += summary.kernel_seconds
        self._timings.refresh += summary.refresh_seconds
        self._timings.scanned_bytes += summary.scanned_bytes


class _Covered:
    """A record of which segments were scored for which queries.

    Args:
        plan: the evaluator's announcement of how many segments it scores.
        queries: number of queries, each of which must be scored in each segment.
    """

    def __init__(self, plan: ScorePlan, queries: int) -> None:
        self._plan, self._queries = plan, queries
        self._came: set[tuple[SegmentId, int]] = set()

    def add(self, result: ScoreResult) -> None:
        """Records a result.

        Raises:
            DataLoss: if it is for unknown queries, or was received before.
        """
        if not 0 < result.queries <= self._queries - result.first_query:
            raise DataLoss(f"the evaluator scored {result.queries} queries at once, want {self._queries}")
        queries = range(result.first_query, result.first_query + result.queries)
        came = {(SegmentId(result.region, index), query) for index in result.segments for query in queries}
        if len(came) != len(result.segments) * len(queries) or came & self._came:
            raise DataLoss("the evaluator scored a segment twice")
        self._came |= came

    def check(self, slots: SlotMap, wanted: Collection[SegmentId]) -> None:
        """Refuses an answer that lacks segments that it announced, or that are wanted.

        Raises:
            DataLoss: if anything is missing, since a match may be in it.
        """
        planned = self._plan.segments * self._queries
        if len(self._came) != planned:
            raise DataLoss(f"the evaluator scored {len(self._came)} segments and queries, want {planned}")
        lacking = set(wanted) - {key for key, _ in self._came}
        if lacking or self._plan.sequence < slots.sequence:
            raise DataLoss(f"the evaluator left {len(lacking)} segments out of a search")


def _regions(attempt: Attempt, slots: SlotMap) -> set[Region]:
    """Returns the regions that have segments to score; no query is encrypted for the others."""
    wanted = {segment.region for segment in attempt.only or slots.segments}
    return wanted or {Region.TAIL}


async def _room(started: set[asyncio.Task[None]], limit: int) -> None:
    """Waits until fewer than `limit` tasks run; raises the error of a task that failed meanwhile."""
    running = {task for task in started if not task.done()}
    if len(running) >= limit:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
