"""The store of bulk ingest: jobs and items in one SQLite file in the keyholder's folder.

Write-ahead log, synchronous FULL: when a method returns, its changes are durable.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from blindsight.errors import Conflict, InvalidArgument, NotFound
from blindsight.runtime.sqlite import Schema, connect, transaction
from blindsight.trusted.ingest.records import ItemOutcome, Job, JobState, SealedOutcome
from blindsight.wire.workers import ItemState, Trial, TrialState

SCHEMA = Schema(__package__, "a job database", version=3, application_id=0x42534A42)  # "BSJB"
JOB_ID_BYTES = 16
_COUNTERS = {ItemState.DONE: "done", ItemState.DUPLICATE: "duplicates", ItemState.FAILED: "failed"}
_COLUMNS = (
    "job_id, collection_id, request_id, state, created_unix_seconds, received, next_number, "
    "done, duplicates, failed"
)


class JobStore:
    """A store of jobs and items.  Blocking; safe to use from several threads of one process.

    Args:
        path: of the file; created if it does not exist.

    Raises:
        InvalidArgument: if the file has an unsupported schema version, or is not a store of jobs.
        DataLoss: if it is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        pragmas = ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON")
        self._db = connect(path, lambda db: SCHEMA.apply(db, path, *pragmas))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Holds the connection in one transaction while the block runs; all of it is stored, or nothing."""
        with self._lock, transaction(self._db, "the keyholder's disk") as db:
            yield db

    def open(self, collection_id: bytes, request_id: str) -> Job:
        """Returns the job of a request id; creates it if there is none.

        Raises:
            InvalidArgument: if the request id is that of a job of another collection.
        """
        with self._transaction() as db:
            db.execute(
                "INSERT INTO jobs (job_id, collection_id, request_id, state, created_unix_seconds) "
                "VALUES (?, ?, ?, ?, ?) ON CONFLICT (request_id) DO NOTHING",
                (os.urandom(JOB_ID_BYTES), collection_id, request_id, JobState.RECEIVING, int(time.time())),
            )
            query = f"SELECT {_COLUMNS} FROM jobs WHERE request_id = ?"  # noqa: S608
            job = _job(db.execute(query, (request_id,)).fetchone())
        if job.collection_id != collection_id:
            raise InvalidArgument(
                "the request id is that of an import into another collection; want a new one"
            )
        return job

    def get(self, job_id: bytes) -> Job:
        """Returns a job as it is now.

        Raises:
            NotFound: if there is no such job.
        """
        with self._transaction() as db:
            return _read(db, _number(db, job_id))

    def states(self, job_ids: Iterable[bytes]) -> dict[bytes, JobState]:
        """Returns the states of those jobs that exist."""
        query = "SELECT state FROM jobs WHERE job_id = ?"
        with self._transaction() as db:
            found = {job_id: db.execute(query, (job_id,)).fetchone() for job_id in job_ids}
        return {job_id: JobState(row[0]) for job_id, row in found.items() if row is not None}

    def page(
        self, count: int, before: int | None = None, only: Collection[bytes] | None = None
    ) -> tuple[list[Job], int | None]:
        """Returns jobs, the newest first, and where the next page begins, None at the end.

        Args:
            count: of the page, at most.
            before: where it begins; None: with the newest.
            only: collections whose jobs are listed; None: all are.
        """
        query = (
            f"SELECT {_COLUMNS}, number FROM jobs WHERE (:before IS NULL OR number < :before) "  # noqa: S608
            "AND (:only IS NULL OR lower(hex(collection_id)) IN (SELECT value FROM json_each(:only))) "
            "ORDER BY number DESC LIMIT :count"
        )
        named = json.dumps([one.hex() for one in only]) if only is not None else None
        with self._transaction() as db:
            rows = db.execute(query, {"before": before, "count": count + 1, "only": named}).fetchall()
        return [_job(row) for row in rows[:count]], (rows[count - 1][-1] if len(rows) > count else None)

    def unfinished(self) -> list[Job]:
        """Returns the jobs that are receiving or running."""
        query = f"SELECT {_COLUMNS} FROM jobs WHERE state IN (?, ?) ORDER BY number"  # noqa: S608
        with self._transaction() as db:
            return [_job(row) for row in db.execute(query, (JobState.RECEIVING, JobState.RUNNING))]

    def known(self, job_id: bytes, numbers: Iterable[int]) -> set[int]:
        """Returns those of the numbers whose items were recorded by `add_items` before."""
        query = "SELECT 1 FROM items WHERE job = ? AND number = ? AND sealed_name != x''"
        with self._transaction() as db:
            job = _number(db, job_id)
            return {number for number in numbers if db.execute(query, (job, number)).fetchone() is not None}

    def add_items(self, job_id: bytes, items: Sequence[tuple[ItemOutcome, bytes]]) -> Job:
        """Records items that are in the queue, or were refused before, with their sealed names.

        If a worker has already reported an item, its outcome stays.

        Raises:
            Conflict: if the job takes no more items.
        """
        with self._transaction() as db:
            job = _number(db, job_id)
            state = _read(db, job).state
            if state is not JobState.RECEIVING:
                raise Conflict(f"the import is {state.name.lower()}, it takes no more items")
            for item, sealed_name in items:
                _put(db, job, item)
                named = "UPDATE items SET sealed_name = ? WHERE job = ? AND number = ?"
                db.execute(named, (sealed_name, job, item.number))
            reached = "UPDATE jobs SET next_number = max(next_number, ?) WHERE number = ?"
            db.execute(reached, (max((item.number + 1 for item, _ in items), default=0), job))
            return _read(db, job)

    def complete(self, job_id: bytes) -> Job:
        """Records that all items of a job were received."""
        with self._transaction() as db:
            job = _number(db, job_id)
            db.execute(
                "UPDATE jobs SET state = ? WHERE number = ? AND state = ?",
                (JobState.RUNNING, job, JobState.RECEIVING),
            )
            return _settled(db, job)

    def done(self, job_ids: Iterable[bytes], message_ids: Collection[bytes]) -> set[bytes]:
        """Returns those messages of some jobs whose items are known to have been stored."""
        query = (
            "SELECT 1 FROM items JOIN jobs ON jobs.number = items.job "
            "WHERE job_id = ? AND message_id = ? AND items.state IN (?, ?)"
        )
        stored = ItemState.DONE, ItemState.DUPLICATE
        with self._transaction() as db:
            return {
                message_id
                for job_id in job_ids
                for message_id in message_ids
                if db.execute(query, (job_id, message_id, *stored)).fetchone() is not None
            }

    def report(self, job_id: bytes, outcomes: Sequence[ItemOutcome]) -> Job:
        """Records outcomes; it may be repeated, and an item that is in storage keeps that outcome."""
        with self._transaction() as db:
            job = _number(db, job_id)
            for outcome in outcomes:
                _put(db, job, outcome)
            return _settled(db, job)

    def give_up(self, job_id: bytes, dead: Mapping[bytes, tuple[str, str]]) -> Job:
        """Records dead letters: their items have failed, unless an outcome was reported.

        Args:
            dead: reason and message by message id.
        """
        with self._transaction() as db:
            job = _number(db, job_id)
            for message_id, why in dead.items():
                _move(db, job, message_id, ItemState.QUEUED, ItemState.FAILED, why)
            return _settled(db, job)

    def retry(self, job_id: bytes, message_ids: Iterable[bytes]) -> Job:
        """Records that dead letters are about to be put back into the queue.

        Raises:
            Conflict: if the job was cancelled.
        """
        with self._transaction() as db:
            job = _number(db, job_id)
            if _read(db, job).state is JobState.CANCELLED:
                raise Conflict("the import is cancelled, nothing of it is tried again")
            for message_id in message_ids:
                _move(db, job, message_id, ItemState.FAILED, ItemState.QUEUED)
            reopened = "UPDATE jobs SET state = ?, ended_unix_seconds = 0 WHERE number = ? AND state = ?"
            db.execute(reopened, (JobState.RUNNING, job, JobState.FINISHED))
            return _settled(db, job)

    def cancel(self, job_id: bytes) -> Job:
        """Cancels a job; one that has ended stays as it is."""
        with self._transaction() as db:
            job = _number(db, job_id)
            db.execute(
                "UPDATE jobs SET state = ?, ended_unix_seconds = ? WHERE number = ? AND state IN (?, ?)",
                (JobState.CANCELLED, int(time.time()), job, JobState.RECEIVING, JobState.RUNNING),
            )
            return _read(db, job)

    def told_items(self, job_id: bytes, count: int, after: int = -1) -> list[SealedOutcome]:
        """Returns at most `count` items above `after` that failed or have a remark, in order."""
        query = (
            "SELECT number, state, reason, message, sealed_name FROM items "
            "WHERE job = ? AND (state = 4 OR message != '') AND number > ? ORDER BY number LIMIT ?"
        )
        with self._transaction() as db:
            rows = db.execute(query, (_number(db, job_id), after, count)).fetchall()
        return [SealedOutcome(number, ItemState(state), *rest) for number, state, *rest in rows]

    def note_trial(self, trial: Trial) -> int:
        """Records how far a photo's trial in quarantine is; returns how many other trials of it had no end.

        A trial that is over deletes all trials of the photo: earlier deaths were not its fault.

        Raises:
            NotFound: if there is no such job.
        """
        with self._transaction() as db:
            item = (_number(db, trial.job_id), trial.number)
            if trial.state is TrialState.BEGUN:
                db.execute("INSERT OR IGNORE INTO trials VALUES (?, ?, ?)", (*item, trial.trial_id))
            elif trial.state is TrialState.OVER:
                db.execute("DELETE FROM trials WHERE job = ? AND number = ?", item)
            query = "SELECT COUNT(*) FROM trials WHERE job = ? AND number = ? AND trial_id != ?"
            return int(db.execute(query, (*item, trial.trial_id)).fetchone()[0])

    def ended_before(self, unix_seconds: int) -> list[bytes]:
        """Returns the ids of jobs that ended before this time."""
        query = "SELECT job_id FROM jobs WHERE state IN (?, ?) AND ended_unix_seconds < ? ORDER BY number"
        with self._transaction() as db:
            rows = db.execute(query, (JobState.FINISHED, JobState.CANCELLED, unix_seconds)).fetchall()
        return [job_id for (job_id,) in rows]

    def forget(self, job_id: bytes) -> None:
        """Deletes a job and its items, unless it was retried meanwhile.

        Raises:
            NotFound: if there is no such job.
        """
        with self._transaction() as db:
            job = _number(db, job_id)
            if _read(db, job).state.ended:
                for statement in (
                    "DELETE FROM trials WHERE job = ?",
                    "DELETE FROM items WHERE job = ?",
                    "DELETE FROM jobs WHERE number = ?",
                ):
                    db.execute(statement, (job,))

    def close(self) -> None:
        """Closes the file; SQLite then moves the write-ahead log into it."""
        with self._lock:
            self._db.close()


def _number(db: sqlite3.Connection, job_id: bytes) -> int:
    row = db.execute("SELECT number FROM jobs WHERE job_id = ?", (job_id,)).fetchone()
    if row is None:
        raise unknown_job(job_id)
    return int(row[0])


def _read(db: sqlite3.Connection, job: int) -> Job:
    return _job(db.execute(f"SELECT {_COLUMNS} FROM jobs WHERE number = ?", (job,)).fetchone())  # noqa: S608


def _job(row: Sequence[object]) -> Job:
    job_id, collection_id, request_id, state, *counts = row[:10]
    return Job(job_id, collection_id, request_id, JobState(state), *counts)  # type: ignore[arg-type]


def _put(db: sqlite3.Connection, job: int, outcome: ItemOutcome) -> None:
    """Records a new item, or the outcome of a known one, unless the item is in storage already."""
    query = "SELECT state FROM items WHERE job = ? AND number = ?"
    row = db.execute(query, (job, outcome.number)).fetchone()
    if row is None:
        db.execute(
            "INSERT INTO items VALUES (?, ?, ?, ?, ?, ?, x'')",
            (job, outcome.number, outcome.message_id, outcome.state, outcome.reason, outcome.message),
        )
        db.execute("UPDATE jobs SET received = received + 1 WHERE number = ?", (job,))
        _count(db, job, outcome.state, 1)
    elif outcome.state is not ItemState.QUEUED and row[0] in (ItemState.QUEUED, ItemState.FAILED):
        why = (outcome.reason, outcome.message)
        _change(db, job, outcome.number, ItemState(row[0]), outcome.state, why)


def _move(
    db: sqlite3.Connection,
    job: int,
    message_id: bytes,
    before: ItemState,
    now: ItemState,
    why: tuple[str, str] = ("", ""),
) -> None:
    """Changes the state of a message's item to `now`, if it is `before`."""
    query = "SELECT number FROM items WHERE job = ? AND message_id = ? AND state = ?"
    row = db.execute(query, (job, message_id, before)).fetchone()
    if row is not None:
        _change(db, job, row[0], before, now, why)


def _change(
    db: sqlite3.Connection, job: int, number: int, before: ItemState, now: ItemState, why: tuple[str, str]
) -> None:
    db.execute(
        "UPDATE items SET state = ?, reason = ?, message = ? WHERE job = ? AND number = ?",
        (now, *why, job, number),
    )
    db.execute("DELETE FROM trials WHERE job = ? AND number = ?", (job, number))
    _count(db, job, before, -1)
    _count(db, job, now, 1)


def _count(db: sqlite3.Connection, job: int, state: ItemState, step: int) -> None:
    if state in _COUNTERS:
        column = _COUNTERS[state]
        db.execute(f"UPDATE jobs SET {column} = {column} + ? WHERE number = ?", (step, job))  # noqa: S608


def _settled(db: sqlite3.Connection, job: int) -> Job:
    """Finishes a running job if all of its items have outcomes; returns the job."""
    db.execute(
        "UPDATE jobs SET state = ?, ended_unix_seconds = ? "
        "WHERE number = ? AND state = ? AND received = done + duplicates + failed",
        (JobState.FINISHED, int(time.time()), job, JobState.RUNNING),
    )
    return _read(db, job)


def unknown_job(job_id: bytes) -> NotFound:
    """Returns the error for a job that does not exist, or not for the caller."""
    return NotFound(f"no import {job_id.hex() or 'of an empty id'}; `blindsight jobs list` has them")
