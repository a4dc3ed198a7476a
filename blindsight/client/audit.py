"""The audit log of the SDK: read and verified."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from blindsight.client import calls
from blindsight.client.calls import Connection
from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import audit_pb2 as pb
from blindsight.wire.audit import AuditPage, AuditVerification, RecordsRequest

AuditCallback = Callable[[AuditVerification], None]


def page(
    connection: Connection,
    since: datetime | None,
    token_id: str,
    collection: str,
    page_size: int,
    page_token: str | None,
) -> AuditPage:
    """Returns a page of records, the newest first."""
    begins = since.astimezone(UTC) if since is not None else None
    asked = RecordsRequest(begins, token_id, collection, page_size, page_token or "")
    request = asked.to_message()
    return AuditPage.from_message(connection.repeat(lambda: connection.audit.ListRecords(request)))


def place(text: str) -> tuple[int, str]:
    """Returns the number and the chain of a place in the log, NUMBER:CHAIN.

    Raises:
        InvalidArgument: if it is none.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,18}):([0-9a-f]{64})", text)
    if found is None:
        raise InvalidArgument(f"expected {text[:100]!r}, want NUMBER:CHAIN as a verification tells it")
    return int(found[1]), found[2]


def verify(connection: Connection, expected: str | None, progress: AuditCallback | None) -> AuditVerification:
    """Verifies the log."""
    request = pb.VerifyLogRequest()
    if expected is not None:
        request.expected_number, request.expected_chain = place(expected)

    def attempt() -> AuditVerification:
        last: AuditVerification | None = None
        answers = connection.audit.VerifyLog(request)
        for response in calls.answers(answers, expects=pb.VerifyLogResponse):
            last = AuditVerification.from_message(response)
            if progress is not None:
                progress(last)
        if last is None or not last.complete:
            raise calls.incomplete("verification of the audit log")
        return last

    return connection.repeat(attempt)
