"""A queue in one SQLite file, for the processes of one machine: there is no broker to install or run.

The SQL is our own.  persist-queue's `SQLiteAckQueue` 1.1 was tried: it selects a message and marks it
in two transactions, so two processes get the same one (5 of 419 deliveries); opening it takes messages
away from live processes, since there are no leases; it has no delivery counts, no dead letters and no size
limit; a publisher does not wake another process's consumer for ten seconds; and it unpickles what it finds
in its file.

Write-ahead log, synchronous FULL: every call that changes something is one transaction and one flush; only
taking messages and renewing leases are not flushed.  A consumer is a row with a lease that a thread renews.
Taking or counting messages first gives back those of consumers whose lease expired, so a killed process
needs no cleanup.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import and_
from pathlib import Path
from typing import Self, cast

from blindsight.errors import BlindsightError, InvalidArgument, ResourceExhausted
from blindsight.runtime import clock, logs
from blindsight.trusted.queue import Delivery
from blindsight.trusted.queue.database import Database
from blindsight.trusted.queue.messages import (
    DeadLetter,
    Depth,
    Message,
    QueueOptions,
    require_id,
    require_reason,
)

POLL_SECONDS = 0.02
_RENEWALS_PER_LEASE = 4
# Of consumers.  Whoever had a lease when the machine was last started is gone.
_EXPIRED = "machine_start != :start OR expires_seconds < :now"


class EmbeddedQueue:
    """An implementation of `Queue` in a SQLite file.

    Args:
        url: `embedded:PATH`; the file is created if it does not exist.
        settings: the name is not used.
    """

    def __init__(self, url: str, settings: QueueOptions) -> None:
        self._settings = settings
        self._database = Database(_path(url))
        self._consumers: list[EmbeddedConsumer] = []

    def publish(self, *messages: Message) -> int:
        sizes = [len(message.body) for message in messages]
        self._database.require_disk(sum(sizes))
        with self._database.transaction() as db:
            count = self._room(db, sizes)
            for message in messages[:count]:
                number = db.execute(
                    "INSERT INTO messages (message_id, job_id, size_bytes) VALUES (?, ?, ?)",
                    (message.message_id, message.job_id, len(message.body)),
                ).lastrowid
                db.execute("INSERT INTO bodies VALUES (?, ?)", (number, message.body))
        return count

    def _room(self, db: sqlite3.Connection, sizes_bytes: Sequence[int]) -> int:
        """Returns how many fit; as in RabbitMQ, limits count waiting messages, not those with workers.

        Raises:
            ResourceExhausted: if not even the first fits.
        """
        messages, total = db.execute("SELECT COUNT(*), TOTAL(size_bytes) FROM waiting").fetchone()
        count = 0
        for size_bytes in sizes_bytes:
            total += size_bytes
            if messages + count >= self._settings.max_messages or total > self._settings.max_bytes:
                break
            count += 1
        if sizes_bytes and not count:
            raise ResourceExhausted(self._settings.full)
        return count

    def consumer(self, prefetch: int) -> EmbeddedConsumer:
        made = EmbeddedConsumer(self._database, self._settings, prefetch)
        self._consumers.append(made)
        return made

    def dead_letters(self, job_id: bytes | None = None) -> list[DeadLetter]:
        self._give_back_expired()
        query = (
            "SELECT message_id, job_id, dead_reason, MAX(deliveries), MAX(dead_unix_seconds) FROM dead "
            "WHERE :job IS NULL OR job_id = :job "
            "GROUP BY job_id, message_id ORDER BY number"
        )
        with self._database.reading() as db:
            return [DeadLetter(*row) for row in db.execute(query, {"job": job_id})]

    def requeue(self, job_id: bytes, message_id: bytes | None = None) -> int:
        with self._database.transaction() as db:
            dead = _dead_of(db, job_id, message_id)
            moved = self._room(db, [size_bytes for _, size_bytes in dead])
            for number, _ in dead[:moved]:
                db.execute(
                    "UPDATE messages SET dead_reason = NULL, dead_unix_seconds = NULL, deliveries = 0 "
                    "WHERE number = ?",
                    (number,),
                )
        return moved

    def drop(self, job_id: bytes, message_id: bytes | None = None) -> int:
        with self._database.transaction() as db:
            return _remove(db, [number for number, _ in _dead_of(db, job_id, message_id)])

    def purge(self, job_id: bytes) -> int:
        require_id("job_id", job_id)
        with self._database.transaction() as db:
            rows = db.execute("SELECT number FROM waiting WHERE job_id = ?", (job_id,)).fetchall()
            return _remove(db, [number for (number,) in rows])

    def depth(self) -> Depth:
        self._give_back_expired()
        with self._database.reading() as db:
            row = db.execute(
                "SELECT (SELECT COUNT(*) FROM waiting), (SELECT COUNT(holder) FROM messages), "
                "(SELECT COUNT(*) FROM dead)"
            ).fetchone()
        return Depth(*row)

    def _give_back_expired(self) -> None:
        with self._database.transaction() as db:
            _give_back_expired(db, self._settings)

    def close(self) -> None:
        for consumer in self._consumers:
            consumer.close()
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class EmbeddedConsumer:
    """The `Consumer` of an `EmbeddedQueue`: a row with a lease, and a thread that renews it."""

    def __init__(self, database: Database, settings: QueueOptions, prefetch: int) -> None:
        self._database = database
        self._settings = settings
        self._prefetch = prefetch
        self._unsettled = 0
        self._turn = threading.Lock()
        self._closing = threading.Event()
        self._lease = b""
        self._begin_lease()
        self._renewer = threading.Thread(target=self._renew_until_closed, name="queue-lease", daemon=True)
        self._renewer.start()

    def take(self, seconds: float) -> EmbeddedDelivery | None:
        taken = self.take_some(seconds, 1)
        return taken[0] if taken else None

    def take_some(self, seconds: float, most: int) -> list[EmbeddedDelivery]:
        deadline = time.monotonic() + seconds
        while True:
            with self._turn:
                taken = self._claim(most) if self._may_claim() else []
            if taken:
                return taken
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._closing.wait(min(POLL_SECONDS, remaining)):
                break
        if not self._closing.is_set():
            self._database.cut_when_empty()  # done by consumers that are idle
        return []

    def _may_claim(self) -> bool:
        """Checks for messages without a lock on the file, so that idle consumers do not block publishers."""
        if self._closing.is_set() or self._unsettled >= self._prefetch:
            return False
        with self._database.reading() as db:
            ready, expired = "SELECT 1 FROM waiting", f"SELECT 1 FROM consumers WHERE {_EXPIRED}"  # noqa: S608
            query = f"SELECT EXISTS ({ready}) OR EXISTS ({expired})"
            return bool(db.execute(query, _now()).fetchone()[0])

    def _claim(self, most: int) -> list[EmbeddedDelivery]:
        with self._database.transaction(flush=False) as db:
            _give_back_expired(db, self._settings)
            held = db.execute("SELECT 1 FROM consumers WHERE consumer = ?", (self._lease,)).fetchone()
            rows = self._hold_next(db, min(most, self._prefetch - self._unsettled)) if held else []
        if not held:
            self._begin_lease()
        taken = []
        for number, message_id, job_id, count in sorted(rows):
            body = self._database.body(number)
            if body is None:
                continue  # the lease expired meanwhile, and another consumer settled the message
            message = Message(message_id, job_id, body)
            taken.append(EmbeddedDelivery(message, count, self, self._lease, number))
        self._unsettled += len(taken)
        return taken

    def _hold_next(self, db: sqlite3.Connection, count: int) -> list[tuple[int, bytes, bytes, int]]:
        return db.execute(
            "UPDATE messages SET holder = ?, deliveries = deliveries + 1 WHERE number IN "
            "(SELECT number FROM waiting ORDER BY number LIMIT ?) "
            "RETURNING number, message_id, job_id, deliveries",
            (self._lease, count),
        ).fetchall()

    def _begin_lease(self) -> None:
        """Begins a lease under a new name: messages taken under an older one belong to other consumers."""
        if self._lease:
            logs.get().warning("queue_lease_lost")
        lease = os.urandom(16)
        with self._database.transaction() as db:
            db.execute("INSERT INTO consumers VALUES (?, ?, ?)", (lease, clock.start(), self._expiry()))
        self._lease, self._unsettled = lease, 0

    def _expiry(self) -> float:
        return clock.seconds() + self._settings.silence_seconds

    def _renew_until_closed(self) -> None:
        while not self._closing.wait(self._settings.silence_seconds / _RENEWALS_PER_LEASE):
            try:
                self._renew()
            except BlindsightError as error:
                logs.get().warning("queue_lease_not_renewed", error=error.message)

    def _renew(self) -> None:
        with self._turn:
            with self._database.transaction(flush=False) as db:
                update = "UPDATE consumers SET expires_seconds = ? WHERE consumer = ?"
                renewed = db.execute(update, (self._expiry(), self._lease)).rowcount
            if not renewed:
                self._begin_lease()

    def ack_all(self, deliveries: Sequence[Delivery]) -> list[bool]:
        if not deliveries:
            return []
        own = cast("Sequence[EmbeddedDelivery]", deliveries)
        return self._settle(own, lambda db, number: _remove(db, [number]))

    def give_back(self, delivery: EmbeddedDelivery, reason: str | None) -> bool:
        """Gives a message back, as a dead letter if there is a reason; returns False if it was lost."""

        def let_go(db: sqlite3.Connection, number: int) -> None:
            _give_back(db, self._settings, number=number, reason=reason)

        return self._settle([delivery], let_go)[0]

    def _settle(
        self, deliveries: Sequence[EmbeddedDelivery], how: Callable[[sqlite3.Connection, int], object]
    ) -> list[bool]:
        """Settles the messages that this consumer still holds, in one transaction; False for the others."""
        with self._turn:
            if self._closing.is_set():
                return [False] * len(deliveries)
            with self._database.transaction() as db:
                query = "SELECT 1 FROM messages WHERE number = ? AND holder = ?"
                held = []
                for one in deliveries:
                    held.append(db.execute(query, (one.number, one.lease)).fetchone() is not None)
                    if held[-1]:
                        how(db, one.number)
            current = (one.lease == self._lease for one in deliveries)
            self._unsettled -= sum(map(and_, held, current))
        return held

    def close(self) -> None:
        with self._turn:
            if self._closing.is_set():
                return
            self._closing.set()
        self._renewer.join()
        with self._database.transaction() as db:
            _give_back(db, self._settings, holder=self._lease)
            db.execute("DELETE FROM consumers WHERE consumer = ?", (self._lease,))


@dataclass(slots=True)
class EmbeddedDelivery:
    """The `Delivery` of an `EmbeddedConsumer`."""

    message: Message
    count: int
    _consumer: EmbeddedConsumer
    lease: bytes
    number: int

    def ack(self) -> bool:
        return self._consumer.ack_all([self])[0]

    def nack(self) -> bool:
        return self._consumer.give_back(self, None)

    def reject(self, reason: str) -> bool:
        return self._consumer.give_back(self, require_reason(reason))


def _path(url: str) -> Path:
    path = url.partition(":")[2]
    if not path or path.startswith("//") or Path(path).is_dir():
        raise InvalidArgument(f"the queue's URL is {url}, want embedded:PATH of a file")
    return Path(path)


def _dead_of(db: sqlite3.Connection, job_id: bytes, message_id: bytes | None) -> list[tuple[int, int]]:
    """Returns numbers and sizes of a job's dead letters."""
    require_id("job_id", job_id)
    query = (
        "SELECT number, size_bytes FROM dead "
        "WHERE job_id = :job AND (:message IS NULL OR message_id = :message) ORDER BY number"
    )
    return db.execute(query, {"job": job_id, "message": message_id}).fetchall()


def _remove(db: sqlite3.Connection, numbers: list[int]) -> int:
    for number in numbers:
        db.execute("DELETE FROM messages WHERE number = ?", (number,))
        db.execute("DELETE FROM bodies WHERE number = ?", (number,))
    return len(numbers)


def _now() -> dict[str, str | float]:
    """Returns the values of `_EXPIRED`."""
    return {"start": clock.start(), "now": clock.seconds()}


def _give_back_expired(db: sqlite3.Connection, settings: QueueOptions) -> None:
    """Makes messages of expired consumers ready again, or dead letters after the last delivery."""
    query = f"DELETE FROM consumers WHERE {_EXPIRED} RETURNING consumer"  # noqa: S608 - a constant
    for (consumer,) in db.execute(query, _now()).fetchall():
        _give_back(db, settings, holder=consumer)


def _give_back(
    db: sqlite3.Connection,
    settings: QueueOptions,
    *,
    number: int | None = None,
    holder: bytes | None = None,
    reason: str | None = None,
) -> None:
    """Releases one message or all of a holder: dead for a reason or after the last delivery, else ready."""
    db.execute(
        "UPDATE messages SET holder = NULL, "
        "dead_reason = iif(:reason IS NULL AND deliveries >= :most, :exhausted, :reason), "
        "dead_unix_seconds = iif(:reason IS NULL AND deliveries < :most, NULL, :now) "
        "WHERE number = :number OR holder = :holder",
        {
            "number": number,
            "holder": holder,
            "reason": reason,
            "most": settings.max_deliveries,
            "exhausted": settings.exhausted,
            "now": int(time.time()),
        },
    )
