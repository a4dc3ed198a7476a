"""The keyholder's part of bulk ingest: seals files, publishes them, and records the outcome of each."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from blindsight.errors import (
    BlindsightError,
    Draining,
    Fenced,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from blindsight.runtime import logs, request_ids
from blindsight.runtime.backoff import Backoff
from blindsight.runtime.transfer import until
from blindsight.trusted.ingest import photos
from blindsight.trusted.ingest.envelope import Envelopes, QueuedPhoto
from blindsight.trusted.ingest.photos import Photo
from blindsight.trusted.ingest.read_ahead import groups
from blindsight.trusted.ingest.records import ItemOutcome, Job, JobState, SealedOutcome
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.queue import Message, Queue
from blindsight.trusted.vault import scope
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.imports import FailedItem, RemarkedItem
from blindsight.wire.workers import ItemReport, ItemState, Trial
from services.keyholder.jobs.dead_letters import DeadLetterWatch
from services.keyholder.jobs.retention import Retention
from services.keyholder.jobs.store import JobStore, unknown_job

MAX_REQUEST_ID_CHARACTERS = 128
WATCH_SECONDS = 0.2
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.05, 1.0


@dataclass(frozen=True, slots=True)
class _Taken:
    """An item to be recorded in the store, and the message that must be in the queue before that."""

    outcome: ItemOutcome
    sealed_name: bytes
    message: Message | None


class Imports:
    """The bulk ingest jobs of one owner.

    Args:
        keys: the owner's key set.
        vault: the collections.
        store: the jobs.
        queue: the queue of sealed items.
        after_import: called with the collection when a job has finished.
        keep_days: see `Retention`.
    """

    def __init__(
        self,
        keys: KeySet,
        vault: Vault,
        store: JobStore,
        queue: Queue,
        after_import: Callable[[OpenCollection], None],
        keep_days: float,
    ) -> None:
        self._envelopes = Envelopes(keys)
        self._vault = vault
        self._store = store
        self._queue = queue
        self._after_import = after_import
        self._dead_letters = DeadLetterWatch(store, queue, self._note_end)
        self._retention = Retention(store, queue, keep_days)
        self._stopping = asyncio.Event()
        self._waiting: dict[bytes, str] = {}

    def start(self) -> None:
        """Starts to look for dead letters, and for old jobs to delete."""
        self._dead_letters.start()
        self._retention.start()

    def drain(self) -> None:
        """Ends the streams of clients that send or watch, because the keyholder is about to stop."""
        self._stopping.set()

    async def close(self) -> None:
        """Stops the background tasks and closes the queue."""
        await self._retention.stop()
        await self._dead_letters.stop()
        await asyncio.to_thread(self._queue.close)

    async def take(
        self, name: str, request_id: str, files: AsyncIterator[Sequence[Photo]]
    ) -> AsyncIterator[Job]:
        """Receives files; yields the job first, and again whenever files are durable in the queue.

        Args:
            name: the collection's name.
            request_id: the caller's id for the job: the same id continues the same job.
            files: the files of one message at a time, numbered by `index`; those received before are skipped.

        Raises:
            NotFound: if there is no such collection.
            InvalidArgument: if the collection takes vectors only, or the request id is malformed or used for
                another collection.
            Conflict: if the job was cancelled meanwhile.
            Unavailable, Draining: if the queue is unavailable or the keyholder stops; sending again continues
                where this ended.
        """
        _check_request_id(request_id)
        collection = await self._vault.get(name)
        if not collection.config.takes_photos:
            raise InvalidArgument("the collection takes vectors only, got photos (embedder none)")
        if not collection.config.max_norm:
            raise InvalidArgument(
                "bulk ingest into an empty collection without a largest norm, want one: create it with "
                "--max-norm, or ingest the first photos without --bulk"
            )
        collection_id = collection.record.collection_id
        job = await asyncio.to_thread(self._store.open, collection_id, request_id)
        logs.get().info("import_opened", job=job.job_id.hex())
        yield job
        if job.state is not JobState.RECEIVING:
            return
        async with aclosing(until(self._stopping, files)) as coming, aclosing(groups(coming)) as arriving:
            async for group in arriving:
                async for noted in self._take(job, group):
                    yield noted
        if self._stopping.is_set():
            raise Draining("the keyholder is stopping; send the rest when it is back")
        job = await asyncio.to_thread(self._store.complete, job.job_id)
        await self._note_end(job)
        yield job

    async def _take(self, job: Job, group: Sequence[Photo]) -> AsyncIterator[Job]:
        """Publishes items before it records them, so that recorded items are in the queue after any crash.

        While the queue is full the caller's stream is not read on, and is told why.
        """
        left = await asyncio.to_thread(self._sealed, job, group)
        backoff = Backoff(first_seconds=_FIRST_PAUSE_SECONDS, longest_seconds=_LONGEST_PAUSE_SECONDS)
        try:
            while left and not self._stopping.is_set():
                count = await self._publish(job, left)
                if not count:
                    yield await self._job(job.job_id)
                    await asyncio.sleep(backoff.pause())
                    continue
                noted = [(one.outcome, one.sealed_name) for one in left[:count]]
                yield await asyncio.to_thread(self._store.add_items, job.job_id, noted)
                left = left[count:]
                backoff.reset()
        finally:
            self._waiting.pop(job.job_id, None)

    def _sealed(self, job: Job, group: Sequence[Photo]) -> list[_Taken]:
        """Seals the photos of a group that were not recorded before."""
        known = self._store.known(job.job_id, [photo.index for photo in group])
        return [self._seal(job, photo) for photo in group if photo.index not in known]

    def _seal(self, job: Job, photo: Photo) -> _Taken:
        name = photo.name.encode()[: photos.MAX_NAME_BYTES].decode("utf-8", "ignore")
        sealed_name = self._envelopes.seal_name(job.job_id, photo.index, name)
        message_id = self._envelopes.message_id(job.job_id, photo.index)
        try:
            photos.check(photo)
        except BlindsightError as error:
            failed = ItemOutcome(photo.index, message_id, ItemState.FAILED, error.reason, error.message)
            return _Taken(failed, sealed_name, None)
        queued = QueuedPhoto(
            job.job_id,
            photo.index,
            job.collection_id,
            photo.id,
            photo.name,
            photo.data,
            request_ids.current.get(),
            photo.values,
            photo.vectors,
            photo.exif,
            photo.arrived,
        )
        outcome = ItemOutcome(photo.index, message_id, ItemState.QUEUED)
        return _Taken(outcome, sealed_name, self._envelopes.seal(queued))

    async def _publish(self, job: Job, items: Sequence[_Taken]) -> int:
        """Publishes the first of the items.

        Returns:
            The number of items, from the first, that may be recorded now; 0 while the queue is full.
        """
        messages = [one.message for one in items if one.message is not None]
        try:
            published = await asyncio.to_thread(self._queue.publish, *messages)
        except ResourceExhausted as error:
            if (await self._job(job.job_id)).state is not JobState.RECEIVING:
                return len(items)  # the store will refuse the items, and say why
            if job.job_id not in self._waiting:
                logs.get().warning("import_waits", job=job.job_id.hex(), why=error.message)
            self._waiting[job.job_id] = error.message
            return 0
        self._waiting.pop(job.job_id, None)
        return _reached(items, published)

    async def _job(self, job_id: bytes) -> Job:
        return self._told(await asyncio.to_thread(self._store.get, job_id))

    def _told(self, job: Job) -> Job:
        return replace(job, waiting=self._waiting.get(job.job_id, ""))

    async def require_in_scope(self, job_id: bytes) -> None:
        """Checks that the current call may name a job's collection.

        Raises:
            NotFound: if not, or there is no such job.
        """
        if not scope.contains((await self._job(job_id)).collection_id):
            raise unknown_job(job_id)

    async def get(
        self, job_id: bytes, count: int, after: int = -1
    ) -> tuple[Job, list[FailedItem | RemarkedItem]]:
        """Returns a job, and at most `count` items above `after` that failed or have a remark."""
        job = await self._job(job_id)
        told = await asyncio.to_thread(self._store.told_items, job_id, count, after)
        return job, [self._opened(job_id, item) for item in told]

    def _opened(self, job_id: bytes, item: SealedOutcome) -> FailedItem | RemarkedItem:
        name = self._envelopes.open_name(job_id, item.number, item.sealed_name)
        if item.state is ItemState.FAILED:
            return FailedItem(item.number, name, item.reason, item.message)
        return RemarkedItem(item.number, name, item.message)

    async def page(self, count: int, before: int | None) -> tuple[list[Job], int | None]:
        """Returns a page of the jobs that the current call may name; see `JobStore.page`."""
        jobs, following = await asyncio.to_thread(self._store.page, count, before, scope.only())
        return list(map(self._told, jobs)), following

    async def watch(self, job_id: bytes) -> AsyncIterator[Job]:
        """Yields a job now and whenever it changed, until it has ended.

        Raises:
            NotFound: if there is no such job.
            Draining: if the keyholder is about to stop.
        """
        last: Job | None = None
        while True:
            job = await self._job(job_id)
            if job != last:
                yield job
            if job.state.ended:
                return
            if self._stopping.is_set():
                raise Draining("the keyholder is stopping; watch again when it is back")
            last = job
            await asyncio.sleep(WATCH_SECONDS)

    async def cancel(self, job_id: bytes) -> Job:
        """Cancels a job and purges its messages; workers drop those that the queue cannot remove."""
        job = await asyncio.to_thread(self._store.cancel, job_id)
        if job.state is JobState.CANCELLED:
            await asyncio.to_thread(self._queue.purge, job_id)
        return job

    async def retry(self, job_id: bytes) -> tuple[Job, int]:
        """Puts a job's dead letters back into the queue; see `DeadLetterWatch.retry`."""
        return await self._dead_letters.retry(job_id)

    async def drop_failed(self, job_id: bytes) -> int:
        """Drops the sealed originals of failed items; returns how many."""
        await self._job(job_id)
        return await asyncio.to_thread(self._queue.drop, job_id)

    async def under_way(self) -> bool:
        """Returns whether an import has not ended, or the queue has messages of any, dead letters too."""
        if await asyncio.to_thread(self._store.unfinished):
            return True
        depth = await asyncio.to_thread(self._queue.depth)
        return bool(depth.ready or depth.unacknowledged or depth.dead)

    async def report(self, reports: Iterable[ItemReport], asked: Iterable[bytes]) -> set[bytes]:
        """Records a worker's reports; returns which of their jobs and of `asked` are cancelled or unknown."""
        outcomes: dict[bytes, list[ItemOutcome]] = {}
        for one in reports:
            message_id = self._envelopes.message_id(one.job_id, one.number)
            outcome = ItemOutcome(one.number, message_id, one.state, one.reason, one.message)
            outcomes.setdefault(one.job_id, []).append(outcome)
        for job_id, reported in outcomes.items():
            try:
                collection_id = (await asyncio.to_thread(self._store.get, job_id)).collection_id
                # Before the job can be seen to have ended: a search then finds what it stored.
                self._vault.suspect(collection_id)
                job = await asyncio.to_thread(self._store.report, job_id, reported)
            except NotFound:
                continue
            await self._note_end(job)
        named = {*outcomes, *asked}
        states = await asyncio.to_thread(self._store.states, named)
        return {job_id for job_id in named if states.get(job_id, JobState.CANCELLED) is JobState.CANCELLED}

    async def done(self, job_ids: Iterable[bytes], message_ids: Collection[bytes]) -> set[bytes]:
        """Returns those messages of some jobs whose items are known to have been stored."""
        return await asyncio.to_thread(self._store.done, job_ids, message_ids)

    async def note_trial(self, trial: Trial) -> int:
        """Records a trial, see `JobStore.note_trial`; returns 0 for an unknown job."""
        try:
            return await asyncio.to_thread(self._store.note_trial, trial)
        except NotFound:
            return 0

    async def collection_name(self, job: Job) -> str:
        """Returns the name of a job's collection; empty if it cannot be read now."""
        name = self._vault.name_of(job.collection_id)
        if not name:  # this keyholder has not seen it yet
            with suppress(NotFound, Unavailable, Fenced):
                name = (await self._vault.get_by_id(job.collection_id)).config.name
        return name

    async def _note_end(self, job: Job) -> None:
        if job.state is JobState.FINISHED:
            try:
                self._after_import(await self._vault.get_by_id(job.collection_id))
            except (NotFound, Unavailable, Fenced) as error:
                logs.get().warning("after_import_skipped", reason=error.reason)


def _reached(items: Sequence[_Taken], published: int) -> int:
    """Returns how many items, from the first, need no more publishing after `published` of their messages."""
    for index, one in enumerate(items):
        if one.message is not None:
            if not published:
                return index
            published -= 1
    return len(items)


def _check_request_id(request_id: str) -> None:
    if not 1 <= len(request_id) <= MAX_REQUEST_ID_CHARACTERS or not request_id.isprintable():
        raise InvalidArgument(
            f"request id of {len(request_id)} characters, want 1 to {MAX_REQUEST_ID_CHARACTERS} that print"
        )
