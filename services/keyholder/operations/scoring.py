"""Encrypted scores of a collection: requested, decrypted as they come, requested again after a repack."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial

from blindsight.errors import BlindsightError, Conflict, DataLoss, Unavailable
from blindsight.packing.columns import CollectionLayout, Floats
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import AdditiveSet
from blindsight.runtime import logs
from blindsight.runtime.threads import Threads
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.clients import EvaluatorClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.scores import Progress, ScorePlan, ScoreResult, ScoreSummary
from services.keyholder import metrics
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.galleries.answer_keys import AnswerKeys
from services.keyholder.operations.query_groups import (
    EncryptedQueryGroup,
    PlainQueryGroup,
    QueryGroup,
    Take,
)
from services.keyholder.operations.turns import Part, Turn, Turns

EPOCH_ATTEMPTS = 4
OnProgress = Callable[[Progress], None]
# Reports of progress beyond two for each batch that the keyholder knows: others may append meanwhile.
MORE_REPORTS = 10_000
# Messages of answers that may wait for each thread; more stay with the evaluator.
PENDING_RESULTS = 8


def _ignore(_: Progress) -> None:
    """Ignores progress."""


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

    def add(self, other: Timings) -> None:
        """Adds the times of a part, which may have overlapped with others."""
        for part in fields(Timings):
            setattr(self, part.name, getattr(self, part.name) + getattr(other, part.name))


class Scorer:
    """The scoring of queries against collections.

    Args:
        vault: refreshes a collection after a repack.
        evaluator: computes the scores.
        crypto: worker processes, for additive schemes.
        answer_keys: open and check the answers of ring schemes.
        threads: run the arithmetic.
        alarms: are told of answers that are refused.
        turns: are shared by all that is scored.
    """

    def __init__(
        self,
        vault: Vault,
        evaluator: EvaluatorClient,
        crypto: Crypto,
        answer_keys: AnswerKeys,
        threads: Threads,
        alarms: Alarms,
        turns: Turns,
    ) -> None:
        self._vault = vault
        self._evaluator = evaluator
        self._crypto = crypto
        self._answer_keys = answer_keys
        self._threads = threads
        self.alarms = alarms
        self.turns = turns

    async def run(
        self,
        collection: OpenCollection,
        forms: Floats,
        begin: Callable[[SlotMap], Take],
        timings: Timings,
        part: Part,
        on_progress: OnProgress = _ignore,
    ) -> None:
        """Scores linear forms and passes all products on; when it returns, all of them are right.

        Args:
            collection: the collection.
            forms: [queries, row dimension].
            begin: begins a pass over a slot map; called again if the evaluator's segments are newer, or if
                the connection to the evaluator is lost during the pass.
            timings: times to which this adds.
            part: the part of a call that this is.
            on_progress: called while the gallery is made ready; others have the turn then.

        Raises:
            Busy: if too many calls wait.
            Conflict: if the collection was repacked during each of `EPOCH_ATTEMPTS` attempts.
            DataLoss: if the answer is incomplete, or not that of the stored vectors.
            Unavailable: if the evaluator or storage does not answer.
        """
        cost = len(forms) * max(1, len(collection.slots.segments))
        with self.alarms.watching(collection.config.name):
            async with self.turns.turn(part, cost) as turn:
                await self._run(collection, forms, begin, timings, turn, on_progress)

    async def _run(
        self,
        collection: OpenCollection,
        forms: Floats,
        begin: Callable[[SlotMap], Take],
        timings: Timings,
        turn: Turn,
        on_progress: OnProgress,
    ) -> None:
        made_anew = False
        for _ in range(EPOCH_ATTEMPTS):
            scoring = _Scoring(self._evaluator, collection, self._threads, timings, turn, on_progress)
            slots = collection.slots
            layout = collection.layout.within(_regions(slots))
            started = time.perf_counter()
            group = await self._encrypted(collection, layout, forms, slots)
            timings.encrypt += time.perf_counter() - started
            attempt = partial(scoring.run, len(forms), layout, group, slots, begin)
            if await self._evaluator.call(attempt):
                return
            await self._vault.refresh(collection)
            if scoring.of_another_history:
                if made_anew:
                    raise DataLoss("storage and the evaluator have different histories of the collection")
                # Storage was set back with its owner's consent, perhaps, and the evaluator's cache was not.
                logs.get().warning("gallery_of_another_history")
                await self._evaluator.drop_collection(collection.record.collection_id)
                made_anew = True
        raise Conflict("the collection was repacked again and again during the search")

    async def _encrypted(
        self, collection: OpenCollection, layout: CollectionLayout, forms: Floats, slots: SlotMap
    ) -> QueryGroup:
        parameters = collection.parameters
        if isinstance(parameters, AdditiveSet):
            block = await self._crypto.plain_queries(parameters, layout.main, forms)
            return PlainQueryGroup(self._crypto, self._threads, parameters, layout, block, slots.sequence)
        key = await self._answer_keys.current(collection)
        labels = parameters.scheme.name.lower(), parameters.name
        with metrics.ENCRYPT_SECONDS.labels(*labels).time():
            return await EncryptedQueryGroup.encrypt(
                collection, layout, self._answer_keys, key, self._threads, forms
            )


class _Scoring:
    """The passes of one group of queries over one collection.

    Args:
        evaluator: computes the scores.
        collection: the collection.
        threads: run the arithmetic.
        timings: times to which this adds.
        turn: is given back while the gallery is made ready.
        on_progress: called meanwhile.
    """

    def __init__(
        self,
        evaluator: EvaluatorClient,
        collection: OpenCollection,
        threads: Threads,
        timings: Timings,
        turn: Turn,
        on_progress: OnProgress,
    ) -> None:
        self._evaluator = evaluator
        self._turn = turn
        self._threads = threads
        self._collection = collection
        self._timings = timings
        self._on_progress = on_progress
        self._plan = ScorePlan(0, 0, 0, 0, b"")

    @property
    def of_another_history(self) -> bool:
        """Whether the evaluator answered from a state that the collection, refreshed since, never had."""
        plan, slots = self._plan, self._collection.slots
        same = (plan.epoch, plan.chain) == (slots.epoch, slots.chain)
        return plan.sequence > slots.sequence or (plan.sequence == slots.sequence and not same)

    async def run(
        self,
        queries: int,
        layout: CollectionLayout,
        group: QueryGroup,
        slots: SlotMap,
        begin: Callable[[SlotMap], Take],
    ) -> bool:
        """Makes one pass; returns False if the evaluator's segments are not those of the slot map."""
        taking = _Taking(begin(slots))
        started, busy_before = time.perf_counter(), self._timings.decrypt_busy
        opening: set[asyncio.Task[None]] = set()
        minimum = max(slots.sequence, group.minimum_sequence)
        identity = self._collection.record.collection_id
        # So that an evaluator cannot keep a search waiting for ever by saying that it is nearly there.
        reports = 2 * sum(len(segment.batches) for segment in slots.segments.values()) + MORE_REPORTS
        parts = self._evaluator.score(identity, minimum, queries, group.parts, layout.regions)
        try:
            async for part in parts:
                if isinstance(part, Progress):
                    reports -= 1
                    if reports < 0:
                        raise Unavailable(
                            "the evaluator makes the gallery ready again and again", retry="later"
                        )
                    self._turn.give_back()
                    self._on_progress(part)
                elif isinstance(part, ScorePlan):
                    await self._turn.take()
                    self._plan = part
                    other = part.sequence == slots.sequence and part.chain != slots.chain
                    if other or part.epoch != slots.epoch or not await group.begin(part):
                        return False
                    covered = _Covered(part, queries)
                elif isinstance(part, ScoreResult):
                    covered.add(part)
                    await _room(opening, PENDING_RESULTS * self._threads.count)
                    opening.add(asyncio.create_task(self._open(group, part, taking)))
                else:
                    self._note(part)
            covered.check(slots, {key for key in slots.segments if key.region in layout.regions})
            scored = time.perf_counter()
            self._timings.score += scored - started
            await asyncio.gather(*opening)
            # Before anything is ranked or looked up: what is looked up tells the evaluator how it did.
            if not (await group.right() and self._possible(taking.largest)):
                await self._distrust()
            self._timings.decrypt += time.perf_counter() - scored
        finally:
            for task in opening:
                task.cancel()
            await parts.aclose()  # type: ignore[attr-defined]
        labels = self._collection.parameters
        metrics.DECRYPT_SECONDS.labels(labels.scheme.name.lower(), labels.name).observe(
            self._timings.decrypt_busy - busy_before
        )
        return True

    async def _open(self, group: QueryGroup, result: ScoreResult, taking: _Taking) -> None:
        started = time.perf_counter()
        with answer_of("the evaluator"):
            await group.open(result, taking.take)
        self._timings.decrypt_busy += time.perf_counter() - started

    def _possible(self, largest: float) -> bool:
        """Returns whether no cosine came that no vectors have."""
        most = 1 + self._collection.score_error_bound + self._collection.parameters.score_grid
        return self._collection.config.metric is not Metric.COSINE or largest <= most

    async def _distrust(self) -> None:
        """Has the evaluator forget its copy, which may be all that is wrong, and refuses the answer."""
        with suppress(BlindsightError):
            await self._evaluator.drop_collection(self._collection.record.collection_id)
        raise DataLoss(
            "the evaluator's answer is not that of the vectors that were stored: "
            "it computed something else, or its copy or storage's was changed"
        )

    def _note(self, summary: ScoreSummary) -> None:
        self._timings.kernel += summary.kernel_seconds
        self._timings.refresh += summary.refresh_seconds
        self._timings.scanned_bytes += summary.scanned_bytes


class _Taking:
    """Passes products on, and keeps the largest."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._lock = threading.Lock()
        self.largest = 0.0

    def take(self, result: ScoreResult, products: Floats) -> None:
        largest = max(float(products.max(initial=0.0)), -float(products.min(initial=0.0)))
        with self._lock:
            self.largest = max(self.largest, largest)
        self._take(result, products)


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


def _regions(slots: SlotMap) -> set[Region]:
    """Returns the regions that have segments to score; no query is encrypted for the others."""
    return {segment.region for segment in slots.segments} or {Region.TAIL}


async def _room(started: set[asyncio.Task[None]], limit: int) -> None:
    """Waits until fewer than `limit` tasks run; raises the error of a task that failed meanwhile."""
    running = {task for task in started if not task.done()}
    if len(running) >= limit:
        done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
