"""A worker: takes messages, gathers prepared items, stores and reports them, and only then acknowledges."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from blindsight.errors import Fenced, PermissionDenied, Unavailable
from blindsight.runtime import logs, request_ids
from blindsight.runtime.retry import retry
from blindsight.runtime.shutdown import Shutdown
from blindsight.trusted.ingest.pipeline import Pipeline
from blindsight.trusted.queue import Consumer, Delivery
from blindsight.wire.workers import ItemState
from services.worker import metrics
from services.worker.acknowledging import settle
from services.worker.batching import Batches
from services.worker.committing import commit
from services.worker.in_flight import InFlight
from services.worker.keyholder_client import KeyholderClient, Needless
from services.worker.preparing import PreparedMessage, Preparer
from services.worker.settings import WorkerSettings

TAKE_SECONDS = 0.1
TAKE_AT_ONCE = 16
_AWAY_SECONDS = 1.0


class Worker:
    """A worker, which processes messages until it is told to stop.

    A message is acknowledged when its item is in storage and the keyholder knows.  If anything dies before
    that, the message is delivered again; then the item is found in storage, with the message's id as origin.

    Args:
        consumer: gives at most `settings.prefetch` messages at a time.
        preparer: opens messages, and embeds and seals their photos.
        pipeline: stores items.
        keyholder: gets the reports of items.
    """

    def __init__(
        self,
        consumer: Consumer,
        preparer: Preparer,
        pipeline: Pipeline,
        keyholder: KeyholderClient,
        settings: WorkerSettings,
    ) -> None:
        self._consumer = consumer
        self._preparer = preparer
        self._pipeline = pipeline
        self._keyholder = keyholder
        self._settings = settings
        self._batches = Batches(settings.linger_seconds, settings.batch)
        self._in_flight = InFlight(settings.prefetch)
        self._last_taken = 0.0
        self._stopped_jobs: set[bytes] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._preparing_now = self._committing_now = 0
        self._refused: Fenced | PermissionDenied | None = None

    async def run(self, shutdown: Shutdown) -> None:
        """Works until a shutdown begins, and then finishes what it can before the deadline.

        Raises:
            Fenced: at once, if another keyholder has taken over from this worker's; others get what it holds.
            PermissionDenied: as well, if the keyholder has other keys by now.
        """
        gathering = asyncio.create_task(self._gather_for_ever())
        try:
            while not shutdown.begun.is_set():
                self._unless_refused()
                for delivery in await self._take():
                    self._in_flight.add(delivery)
                    self._last_taken = time.monotonic()
                    self._begin(self._prepare(delivery))
            await self._drain(shutdown)
        finally:
            for task in (gathering, *self._tasks):
                task.cancel()
            await asyncio.gather(gathering, *self._tasks, return_exceptions=True)

    async def _take(self) -> Sequence[Delivery]:
        if self._in_flight.full:
            await asyncio.sleep(TAKE_SECONDS)
            return ()
        try:
            return await asyncio.to_thread(self._consumer.take_some, TAKE_SECONDS, TAKE_AT_ONCE)
        except Unavailable as error:
            logs.get().warning("waiting", what="queue", reason=error.reason)
            await asyncio.sleep(_AWAY_SECONDS)
            return ()

    async def _drain(self, shutdown: Shutdown) -> None:
        logs.get().info("draining", held=self._in_flight.count)
        while self._in_flight.count and not shutdown.overdue:
            self._unless_refused()
            self._commit_due(nothing_comes=not self._preparing_now)
            await asyncio.sleep(TAKE_SECONDS)
        logs.get().info("drained", given_back=self._in_flight.count)

    def _unless_refused(self) -> None:
        if self._refused is not None:
            raise self._refused

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, delivery: Delivery) -> None:
        self._preparing_now += 1
        try:
            if delivery.message.job_id in self._stopped_jobs:
                await self._acknowledge([delivery])
                return
            message = await self._preparer.prepare(delivery)
            if message is None:
                self._in_flight.remove([delivery])
            else:
                self._batches.add(message)
        except PermissionDenied as error:
            self._refused = error
            await self._settle(delivery, delivery.nack)
        except Exception as error:  # noqa: BLE001 - a bug must not end the worker
            logs.get().error("message_not_opened", exc_info=error)
            await self._settle(delivery, delivery.nack)
        finally:
            self._preparing_now -= 1

    async def _gather_for_ever(self) -> None:
        while True:
            # If as many are in flight as may be, and all of them are prepared, no message can join a batch.
            self._commit_due(nothing_comes=self._in_flight.full and not self._busy)
            await asyncio.sleep(TAKE_SECONDS)

    @property
    def _busy(self) -> bool:
        """Whether messages are being prepared for a batch, or stored, after which others can be taken."""
        return self._preparing_now > 0 or self._committing_now > 0

    def _commit_due(self, *, nothing_comes: bool) -> None:
        quiet_seconds = 0.0 if self._busy else time.monotonic() - self._last_taken
        for batch in self._batches.due(nothing_comes=nothing_comes, quiet_seconds=quiet_seconds):
            self._begin(self._finish(batch))

    async def _finish(self, batch: Sequence[PreparedMessage]) -> None:
        """Stores a batch, rejects what failed, reports all, and acknowledges the rest, in this order.

        So failed photos are among the dead letters before their failure is reported.
        """
        left = list(batch)
        # Calls carry the request id of the batch's first message; the log line at the end has all of them.
        request_ids.current.set(left[0].photo.request_id)
        self._committing_now += 1
        try:
            left = await self._without_needless(batch)
            stored = await self._commit(left)
            left = await self._reject_failed(stored)
            reports = [one.report for one in stored if one.report is not None]
            await retry("keyholder", lambda: self._keyholder.report(reports))
        except (Fenced, PermissionDenied) as error:
            self._refused = error
        except Exception as error:  # noqa: BLE001 - as above; the delivery limit ends what never works
            logs.get().error("batch_not_stored", exc_info=error, items=len(left))
            await asyncio.sleep(_AWAY_SECONDS)
            for one in left:
                await self._settle(one.delivery, one.delivery.nack)
        else:
            self._note(stored)
            for report in reports:
                metrics.ITEMS.labels(report.state.name.lower()).inc()
            await self._acknowledge([one.delivery for one in left])
        finally:
            self._committing_now -= 1

    async def _reject_failed(self, stored: Sequence[PreparedMessage]) -> list[PreparedMessage]:
        """Moves the messages of failed items to the dead letters; returns the others."""
        rest = []
        for one in stored:
            if one.report is not None and one.report.state is ItemState.FAILED:
                await self._settle(one.delivery, partial(one.delivery.reject, one.report.reason))
            else:
                rest.append(one)
        return rest

    def _note(self, stored: Sequence[PreparedMessage]) -> None:
        jobs = sorted({one.photo.job_id.hex() for one in stored})
        requests = sorted({one.photo.request_id for one in stored})
        logs.get().info("batch_done", items=len(stored), jobs=jobs, request_ids=requests)

    async def _commit(self, batch: Sequence[PreparedMessage]) -> list[PreparedMessage]:
        collection = next((one.collection for one in batch if one.collection is not None), None)
        if collection is None:
            return list(batch)
        try:
            return await commit(self._pipeline, collection, batch)
        except Fenced:
            # A keyholder that has restarted has a newer token; one that was replaced has not.
            await self._needless(batch)
            return await commit(self._pipeline, collection, batch)

    async def _without_needless(self, batch: Sequence[PreparedMessage]) -> list[PreparedMessage]:
        """Acknowledges the messages for which there is nothing to do; returns the others."""
        needless = await self._needless(batch)
        self._stopped_jobs |= needless.jobs

        def left(one: PreparedMessage) -> bool:
            return (
                one.photo.job_id not in needless.jobs
                and one.delivery.message.message_id not in needless.messages
            )

        await self._acknowledge([one.delivery for one in batch if not left(one)])
        return [one for one in batch if left(one)]

    async def _needless(self, batch: Sequence[PreparedMessage]) -> Needless:
        """Asks what of a batch is needless, and for the keyholder's fencing token."""
        jobs = {one.photo.job_id for one in batch}
        messages = {one.delivery.message.message_id for one in batch}
        return await retry("keyholder", lambda: self._keyholder.needless(jobs, messages))

    async def _acknowledge(self, deliveries: Sequence[Delivery]) -> None:
        settled = await settle(lambda: self._consumer.ack_all(deliveries))
        for _ in range(settled.count(False)):
            logs.get().info("message_lost")  # it is delivered again, here or to another worker
        self._in_flight.remove(deliveries)

    async def _settle(self, delivery: Delivery, how: Callable[[], bool]) -> None:
        if not await settle(how):
            logs.get().info("message_lost")
        self._in_flight.remove([delivery])
