"""Jobs that ended long ago are forgotten, unless something of theirs can still be tried again."""

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
    """Forgets jobs and their items.

    Args:
        store: the account of jobs.
        queue: a job with dead letters in it is kept.
        keep_days: after the end of a job; 0 for ever.
    """

    def __init__(self, store: JobStore, queue: Queue, keep_days: float) -> None:
        self._store = store
        self._queue = queue
        self._keep_days = keep_days
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Looks now, and once an hour."""
        if self._keep_days:
            self._task = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """Looks no more."""
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
        """Forgets what is due.  Blocking; jobs one by one, so that nobody waits long for the account."""
        old = self._store.ended_before(int(time.time() - self._keep_days * DAY_SECONDS))
        if not old:
            return
        dead = {letter.job_id for letter in self._queue.dead_letters()} if self._queue.depth().dead else set()
        for job_id in old:
            if job_id not in dead:
                self._store.forget(job_id)
                logs.get().info("job_forgotten", job=job_id.hex())
