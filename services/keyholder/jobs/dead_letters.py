"""Dead letters: items of which no worker can tell what became of them, and their way back into the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from blindsight.errors import BlindsightError, DataLoss, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.backoff import Backoff
from blindsight.runtime.status import REASONS
from blindsight.trusted.ingest.records import Job
from blindsight.trusted.queue import DeadLetter, Queue
from services.keyholder.jobs.store import JobStore

LOOK_SECONDS = 1.0
# Listing reads all dead letters, so it is done for jobs that stand still only, and ever less often.


class _Quiet:
    """A job that did not change, and when its dead letters are to be listed: ever less often."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._backoff = Backoff(first_seconds=2.0, longest_seconds=60.0, jitter=0)
        self.put_off()

    def put_off(self) -> None:
        """Puts the next listing off."""
        self.due = time.monotonic() + self._backoff.pause()


class DeadLetterWatch:
    """Fails items that were delivered too often, and puts failed ones back.

    A worker reports what it gives up by itself.  One that is killed with an item in its hands does not; when
    that was the last delivery, only the queue knows.

    Args:
        store: the account of jobs.
        queue: whose dead letters.
        changed: told of a job in which items were failed.
    """

    def __init__(self, store: JobStore, queue: Queue, changed: Callable[[Job], Awaitable[None]]) -> None:
        self._store = store
        self._queue = queue
        self._changed = changed
        self._turn = asyncio.Lock()  # a list from before a retry must not fail what is tried again
        self._quiet: dict[bytes, _Quiet] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Looks from now on."""
        self._task = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def retry(self, job_id: bytes) -> tuple[Job, int]:
        """Puts a job's dead letters into the queue again; returns the job and how many there were.

        Raises:
            NotFound: when there is no such job.
            Conflict: when it was cancelled.
            ResourceExhausted: when the queue is full.
        """
        async with self._turn:
            dead = await asyncio.to_thread(self._queue.dead_letters, job_id)
            ids = [letter.message_id for letter in dead]
            await asyncio.to_thread(self._store.retry, job_id, ids)
            try:
                retried = await asyncio.to_thread(self._queue.requeue, job_id)
            finally:
                # What did not fit has failed as before.
                job = await self._give_up(job_id)
            return job, retried

    async def _look_for_ever(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except BlindsightError as error:
                logs.get().warning("dead_letters_not_listed", reason=error.reason)

    async def _look(self) -> None:
        jobs = {job.job_id: job for job in await asyncio.to_thread(self._store.unfinished)}
        now = time.monotonic()
        self._quiet = {
            job_id: self._quiet[job_id]
            if job_id in self._quiet and self._quiet[job_id].job == job
            else _Quiet(job)
            for job_id, job in jobs.items()
            if job.pending
        }
        for quiet in [quiet for quiet in self._quiet.values() if quiet.due <= now]:
            quiet.put_off()
            async with self._turn:
                await self._give_up(quiet.job.job_id)

    async def _give_up(self, job_id: bytes) -> Job:
        """Fails the items of a job's dead letters, unless it is known what became of them.

        What could not be opened may be forged: the true message of its item may still be on its way.
        """
        depth = await asyncio.to_thread(self._queue.depth)
        dead = await asyncio.to_thread(self._queue.dead_letters, job_id) if depth.dead else []
        on_their_way = depth.ready or depth.unacknowledged
        reasons = {
            letter.message_id: _explained(letter)
            for letter in dead
            if letter.reason != DataLoss.reason or not on_their_way
        }
        job = await asyncio.to_thread(self._store.give_up, job_id, reasons)
        await self._changed(job)
        return job


def _explained(letter: DeadLetter) -> tuple[str, str]:
    """Reason and message of an item that no worker told about."""
    if letter.reason in REASONS:
        return letter.reason, "a worker refused it, and did not say more"
    return Unavailable.reason, f"{letter.reason}: each time the worker died with it or gave it back"
