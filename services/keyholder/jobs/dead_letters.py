"""Dead letters: fails items whose outcome no worker reported, and requeues them on request."""

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
# Listing reads all dead letters, so it is done only for jobs that do not progress, and less and less often.


class _Quiet:
    """A job that did not change, and the time at which its dead letters are listed next."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._backoff = Backoff(first_seconds=2.0, longest_seconds=60.0, jitter=0)
        self.put_off()

    def put_off(self) -> None:
        """Postpones the next listing, each time by more."""
        self.due = time.monotonic() + self._backoff.pause()


class DeadLetterWatch:
    """A watch of the dead letters, which fails items that were delivered too often and requeues failed ones.

    A worker reports the items that it gives up.  A worker that is killed while it has an item does not; if
    that was the item's last delivery, only the queue knows.

    Args:
        store: the jobs.
        queue: the queue with the dead letters.
        changed: called with a job after its dead letters were recorded.
    """

    def __init__(self, store: JobStore, queue: Queue, changed: Callable[[Job], Awaitable[None]]) -> None:
        self._store = store
        self._queue = queue
        self._changed = changed
        self._turn = asyncio.Lock()  # so that a list from before a retry does not fail items that are retried
        self._quiet: dict[bytes, _Quiet] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Starts to look for dead letters in the background."""
        self._task = asyncio.create_task(self._look_for_ever())

    async def stop(self) -> None:
        """Stops looking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def retry(self, job_id: bytes) -> tuple[Job, int]:
        """Puts a job's dead letters back into the queue; returns the job and how many there were.

        Raises:
            NotFound: if there is no such job.
            Conflict: if it was cancelled.
            ResourceExhausted: if the queue is full.
        """
        async with self._turn:
            dead = await asyncio.to_thread(self._queue.dead_letters, job_id)
            ids = [letter.message_id for letter in dead]
            await asyncio.to_thread(self._store.retry, job_id, ids)
            try:
                retried = await asyncio.to_thread(self._queue.requeue, job_id)
            finally:
                # Items that did not fit into the queue have failed as before.
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
        """Fails the items of a job's dead letters, unless their outcome is known.

        A dead letter that could not be opened may be forged, while the item's true message is still in the
        queue: it counts only once no message is waiting or with a worker.
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
    """Returns the reason and message of an item that no worker reported."""
    if letter.reason in REASONS:
        return letter.reason, "a worker refused it, and did not say more"
    return Unavailable.reason, f"{letter.reason}: each time the worker died with it or gave it back"
