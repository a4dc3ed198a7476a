"""Deletes jobs that ended long ago, unless they have items that can still be retried."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from blindsight.errors import BlindsightError
from blindsight.runtime import logs
from blindsight.trusted.queue import Queue
from services.keyholder.jobs.store import JobStore

LOOK_SECONDS = 3600.0
DAY_SECONDS = 86400.0


class Retention:
    """The task that deletes old jobs and their items.

    Args:
        store: the jobs.
        queue: jobs with dead letters in this queue are kept.
        keep_days: days for which a job is kept after its end; 0 for ever.
    """

    def __init__(self, store: JobStore, queue: Queue, keep_days: float) -> None:
        self._store = store
        self._queue = queue
        self._keep_days = keep_days
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to look for old jobs in the background, now and once an hour."""
        if self._keep_days:
            self._task = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """Stops looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look_for_ever(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.look)
            except BlindsightError as error:
                logs.get().warning("jobs_not_forgotten", reason=error.reason)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Deletes the jobs that are due; blocking.

        Each job is one transaction, so that others do not wait long for the store.
        """
        old = self._store.ended_before(int(time.time() - self._keep_days * DAY_SECONDS))
        if not old:
            return
        dead = {letter.job_id for letter in self._queue.dead_letters()} if self._queue.depth().dead else set()
        for job_id in old:
            if job_id not in dead:
                self._store.forget(job_id)
                logs.get().info("job_forgotten", job=job_id.hex())
