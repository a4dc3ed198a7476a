"""The rpcs of the audit log: each parses its request, delegates, and converts the result."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import grpc.aio

from blindsight.errors import InvalidArgument, NotFound, PermissionDenied
from blindsight.rpc.keyholder.v1 import audit_pb2 as pb
from blindsight.rpc.keyholder.v1 import audit_pb2_grpc
from blindsight.trusted.audit.records import Point, Record
from blindsight.trusted.audit.verifying import Verification
from blindsight.trusted.vault import scope
from blindsight.trusted.vault.vault import Vault
from blindsight.wire.audit import AuditFault, AuditPage, AuditRecord, AuditVerification, RecordsRequest
from services.keyholder.audit.log import AuditLog

SERVICE_NAME = pb.DESCRIPTOR.services_by_name["AuditService"].full_name
MOST_ON_A_PAGE, USUAL_PAGE = 1000, 100
_CHAIN = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{32}")
Context = grpc.aio.ServicerContext[Any, Any]


class AuditServicer(audit_pb2_grpc.AuditServiceServicer):
    """The service of the audit log, for owners and auditors.

    Args:
        log: is read.
        vault: returns the vault that knows the names of collections, of which the log has ids alone.
    """

    def __init__(self, log: AuditLog, vault: Callable[[], Vault]) -> None:
        self._log = log
        self._vault = vault

    async def ListRecords(self, request: pb.ListRecordsRequest, context: Context) -> pb.ListRecordsResponse:
        """Returns a page of records."""
        _require_all()
        asked = RecordsRequest.from_message(request)
        size, before = _page(asked)
        collection = await self._collection(asked.collection) if asked.collection else ""
        found = await asyncio.to_thread(self._found, asked, collection, before, size)
        following = str(found[-1].point.number) if len(found) == size else ""
        return AuditPage(tuple(map(self._told, found)), following).to_message()

    def _found(self, asked: RecordsRequest, collection: str, before: int | None, size: int) -> list[Record]:
        since = asked.since.timestamp() * 1000 if asked.since is not None else 0

        def wanted() -> Iterator[Record]:
            for record in self._log.newest_first(before):
                entry = record.entry
                if entry.milliseconds < since:
                    return
                if asked.token in ("", entry.token) and (not collection or collection in entry.collections):
                    yield record

        return list(islice(wanted(), size))

    async def _collection(self, name: str) -> str:
        """Returns the id in hex of a collection, by its name or its id: one that was deleted has no name."""
        try:
            return (await self._vault().get(name)).record.collection_id.hex()
        except NotFound:
            if not _ID.fullmatch(name):
                raise
            return name

    def _told(self, record: Record) -> AuditRecord:
        entry = record.entry
        return AuditRecord(
            record.point.number,
            datetime.fromtimestamp(entry.milliseconds / 1000, UTC),
            entry.event,
            entry.call,
            entry.token,
            entry.role,
            entry.rpc,
            entry.collections if entry.tenant else tuple(map(self._called, entry.collections)),
            entry.outcome,
            entry.items,
            entry.queries,
            entry.calls,
            entry.first,
            entry.tenant,
        )

    def _called(self, collection: str) -> str:
        return self._vault().called(bytes.fromhex(collection))

    async def VerifyLog(
        self, request: pb.VerifyLogRequest, context: Context
    ) -> AsyncIterator[pb.VerifyLogResponse]:
        """Verifies the log."""
        _require_all()
        head = self._log.head
        total = head.point.number - head.first + 1
        going = self._log.verify(_expected(request))
        state: Verification | None = None
        while (now := await asyncio.to_thread(next, going, None)) is not None:
            state = now
            yield AuditVerification(min(state.records, total), total).to_message()
        if state is None:
            return
        yield AuditVerification(
            state.records,
            total,
            complete=True,
            faults=tuple(AuditFault(one.number, one.kind, one.what) for one in state.faults),
            first=state.head.first,
            last=state.head.point.number,
            chain=state.head.point.chain.hex(),
        ).to_message()


def register(log: AuditLog, vault: Callable[[], Vault], server: grpc.aio.Server) -> None:
    """Adds the rpcs of the audit log to a server."""
    audit_pb2_grpc.add_AuditServiceServicer_to_server(AuditServicer(log, vault), server)


def _require_all() -> None:
    if scope.only() is not None:
        raise PermissionDenied("permission denied: a token for some collections may not read the audit log")


def _expected(request: pb.VerifyLogRequest) -> Point | None:
    """Returns what the log is expected to have; None: nothing in particular.

    Raises:
        InvalidArgument: if that is no place in a log.
    """
    if not request.expected_number:
        return None
    if not _CHAIN.fullmatch(request.expected_chain):
        raise InvalidArgument("expected_chain is no chain, want 64 digits in hex")
    return Point(request.expected_number, bytes.fromhex(request.expected_chain))


def _page(asked: RecordsRequest) -> tuple[int, int | None]:
    """Returns the size of a page, and the number before which it begins.

    Raises:
        InvalidArgument: if there is no such page.
    """
    if asked.page_size > MOST_ON_A_PAGE:
        raise InvalidArgument(f"page_size {asked.page_size}, want at most {MOST_ON_A_PAGE}")
    token = asked.page_token
    if token and not (token.isascii() and token.isdecimal() and len(token) < 20):
        raise InvalidArgument("page_token is none of this service, want next_page_token of the page before")
    return asked.page_size or USUAL_PAGE, int(token) if token else None
