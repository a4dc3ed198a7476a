"""The audit of running calls: what must be on record before an answer goes out, and what may wait."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from blindsight.errors import ResourceExhausted
from blindsight.runtime import logs
from blindsight.trusted.audit.records import Entry
from blindsight.trusted.vault import scope
from services.keyholder import metrics
from services.keyholder.audit.kinds import KINDS, Kind
from services.keyholder.audit.log import KEYHOLDER, AuditLog
from services.keyholder.audit.wire import items_of

# What nothing waits for is written so much later, with what came meanwhile.
_LINGER_SECONDS = 0.5
_COUNT_SECONDS = 60.0
_RETRY_SECONDS = 1.0
# Calls that are counted apart at once, and records that wait for a disk that is full: beyond them callers, or
# records, are no longer told apart, or kept.
_MOST_COUNTED = 2000
_MOST_WAITING = 10_000
_OK = "OK"
NOBODY = "none"

# Token, tenant, role, rpc, collections, outcome.
_Same = tuple[str, str, str, str, tuple[str, ...], str]
_Waiting = tuple[Entry, "asyncio.Future[None] | None"]


class Audit:
    """Records calls in a log.

    Args:
        log: on the disk.
        clock: returns the seconds since 1970.
    """

    def __init__(self, log: AuditLog, clock: Callable[[], float] = time.time) -> None:
        self.log = log
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._counted: dict[_Same, list[int]] = {}
        self._wanted = asyncio.Event()
        self._failing: ResourceExhausted | None = None
        self._writing: asyncio.Task[None] | None = None
        self._counting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Notes that the keyholder starts, and in which state it found the log.

        Raises:
            ResourceExhausted: if the log cannot be written.
        """
        outcome = "DATA_LOSS" if self.log.damage else _OK
        if self.log.damage:
            logs.get().error("audit_damaged", reason="DATA_LOSS")
        metrics.AUDIT_DAMAGED.set(bool(self.log.damage))
        await asyncio.to_thread(self.log.write, [self.entry("opened", role=KEYHOLDER, outcome=outcome)])
        self._writing = asyncio.create_task(self._write())
        self._counting = asyncio.create_task(self._count())

    async def close(self) -> None:
        """Writes what waits, and closes the log."""
        for task in filter(None, (self._counting, self._writing)):
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        self._end_counts()
        if self._waiting:
            try:
                await asyncio.to_thread(self.log.write, [entry for entry, _ in self._waiting])
            except ResourceExhausted:
                logs.get().error("audit_lost", records=len(self._waiting))
        await asyncio.to_thread(self.log.close)

    @property
    def alarm(self) -> str:
        """A sentence for people on what is wrong with the log; empty if nothing is."""
        if self._failing is not None:
            return self._failing.message
        if self.log.on_reserve:
            return "the keyholder's disk is full: soon nothing can be put on record, and nothing done"
        return (
            f"the audit log is damaged: {self.log.damage}; see `blindsight audit verify`"
            if self.log.damage
            else ""
        )

    def entry(self, event: str, **said: Any) -> Entry:
        """Returns a record of now."""
        return Entry(event, int(self._clock() * 1000), **said)

    def call(self, method: str, token: str, role: str, tenant: str = "") -> AuditedCall:
        """Begins the audit of a call that may be made.

        Args:
            method: of gRPC: /PACKAGE.SERVICE/RPC.
            token: id of the token that was shown; empty: none was.
            role: of the caller.
            tenant: whose the token is; empty: the operator's.

        Raises:
            ResourceExhausted: if it must be on record, and nothing can be.
        """
        made = AuditedCall(self, method, token, role, tenant)
        if self._failing is not None and made.kind is not Kind.COUNTED:
            raise ResourceExhausted(self._failing.message)
        return made

    def refused(self, method: str, token: str, role: str, outcome: str, tenant: str = "") -> None:
        """Notes a call that was not let in; see `count`."""
        self.count((token, tenant, role, _rpc(method), (), outcome), 0, 0)

    def count(self, same: _Same, items: int, queries: int) -> None:
        """Notes a call that is counted: the first of its kind at once, others once a minute as a number."""
        if same not in self._counted and len(self._counted) >= _MOST_COUNTED:
            same = ("", "", NOBODY, "", (), same[-1])
        sums = self._counted.get(same)
        if sums is not None:
            for at, more in enumerate((1, items, queries)):
                sums[at] += more
            return
        self._counted[same] = [0, 0, 0]
        self.note(self._of_counted(same, 1, items, queries))

    def _of_counted(self, same: _Same, calls: int, items: int, queries: int) -> Entry:
        token, tenant, role, rpc, collections, outcome = same
        return self.entry(
            "counted",
            token=token,
            tenant=tenant,
            role=role,
            rpc=rpc,
            collections=collections,
            outcome=outcome,
            items=items,
            queries=queries,
            calls=calls,
        )

    async def _count(self) -> None:
        while True:
            await asyncio.sleep(_COUNT_SECONDS)
            self._end_counts()

    def _end_counts(self) -> None:
        ended, self._counted = self._counted, {}
        for same, (calls, items, queries) in ended.items():
            if calls:
                self.note(self._of_counted(same, calls, items, queries))

    def note(self, entry: Entry) -> None:
        """Has a record written soon."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting.append((entry, None))
            asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._wanted.set)

    def submit(self, entry: Entry) -> asyncio.Future[None]:
        """Has a record written now; what is returned is done when it is on the disk, or cannot be."""
        written = asyncio.get_running_loop().create_future()
        written.add_done_callback(asyncio.Future.exception)  # the call may have ended before it is asked
        self._waiting.append((entry, written))
        self._wanted.set()
        return written

    async def _write(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            batch, self._waiting = self._waiting, []
            if not batch:
                continue
            try:
                await asyncio.shield(asyncio.to_thread(self.log.write, [entry for entry, _ in batch]))
            except ResourceExhausted as error:
                self._failed(batch, error)
                await asyncio.sleep(_RETRY_SECONDS)
                self._wanted.set()
                continue
            self._failing = None
            for _, written in batch:
                if written is not None and not written.done():
                    written.set_result(None)

    def _failed(self, batch: list[_Waiting], error: ResourceExhausted) -> None:
        if self._failing is None:
            logs.get().error("audit_not_written", reason=error.reason)
        metrics.AUDIT_FAILURES.inc()
        self._failing = error
        for _, written in batch:
            if written is not None and not written.done():
                written.set_exception(ResourceExhausted(error.message))
        kept = [one for one in batch if one[1] is None]
        # One at least, so that the next try tells whether the disk has room again.
        said = self.entry("failed", role=KEYHOLDER, outcome=error.reason)
        self._waiting = [*(kept or [(said, None)]), *self._waiting]


class AuditedCall:
    """The audit of one call.

    Args:
        audit: writes records.
        method, token, role, tenant: see `Audit.call`.
    """

    def __init__(self, audit: Audit, method: str, token: str, role: str, tenant: str) -> None:
        self._audit = audit
        self._rpc = _rpc(method)
        self.kind = KINDS.get(method.rpartition("/")[2], Kind.CHANGE)
        self._token, self._role, self._tenant = token, role, tenant
        self._call = os.urandom(6).hex()
        self._collections: list[str] = []
        self._items = self._queries = 0
        self._begun: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] | None = None
        self._over = False
        scope.watch(self._names)

    def _names(self, collection_id: bytes) -> None:
        """Takes note of a collection that the call names: it begins to be about it."""
        named = collection_id.hex()
        if self._over or named in self._collections:
            return
        self._collections.append(named)
        self._begin()

    def _begin(self) -> None:
        if self._begun is None and self.kind is not Kind.COUNTED:
            self._begun = self._audit.submit(self._entry("begun"))

    def _entry(self, event: str, outcome: str = "") -> Entry:
        return self._audit.entry(
            event,
            call=self._call,
            token=self._token,
            tenant=self._tenant,
            role=self._role,
            rpc=self._rpc,
            collections=tuple(self._collections),
            outcome=outcome,
            items=self._items,
            queries=self._queries,
        )

    def asked(self, queries: int) -> None:
        """Takes note of queries."""
        self._queries += queries

    async def sending(self, message: Any) -> None:
        """Waits until the beginning of what changes or reveals something is on record.

        Raises:
            ResourceExhausted: if it cannot be written.
        """
        self._items = items_of(message, self._items)
        self._begin()
        if self._begun is not None and not (self._begun.done() and self._begun.exception() is None):
            await asyncio.shield(self._begun)

    def ended(self, code: str) -> None:
        """Has the end recorded, of the call or of what kept it from beginning."""
        if self._over:
            return
        self._over = True
        metrics.CALLS.labels(self._role, code).inc()
        if self._queries:
            metrics.QUERIES.labels(self._role).inc(self._queries)
        if self._begun is None:
            same = self._token, self._tenant, self._role, self._rpc, tuple(self._collections), code
            self._audit.count(same, self._items, self._queries)
        elif self.kind is Kind.CHANGE:
            self._ended = self._audit.submit(self._entry("ended", code))
        else:
            self._audit.note(self._entry("ended", code))

    async def settled(self) -> None:
        """Waits until the end of what changes something is on record.

        Raises:
            ResourceExhausted: if it cannot be written.
        """
        if self._ended is not None:
            await asyncio.shield(self._ended)


def _rpc(method: str) -> str:
    service, _, rpc = method.rpartition("/")
    return f"{service.rpartition('.')[2]}/{rpc}"
