"""The audit log as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blindsight.rpc.keyholder.v1 import audit_pb2 as pb
from blindsight.wire.records import Record


@dataclass(frozen=True, slots=True)
class AuditRecord(Record[pb.AuditRecord]):
    """A record of the audit log.

    Attributes:
        number: from 1, without gaps.
        time: when it was made.
        event: "begun" or "ended" (of a call that changes or reveals something), "counted" (calls of
            one kind), "opened" (the keyholder started), "retired" (older records were deleted) or "failed"
            (records could not be written).
        call: what the beginning and the end of a call have in common; may be empty.
        token: id of the token that was shown; empty: none was.
        role: the token's; "owner" without a token, "worker", "keyholder", or "none" for who was not let in.
        rpc: SERVICE/RPC; may be empty.
        collections: that the call was about, by the names they have now; those of a tenant by their ids.
        outcome: name of the status; empty for a beginning.
        items: number that was told of, or changed.
        queries: number that was asked.
        calls: number that was counted.
        first: number of the oldest record that is left, where others were retired.
        tenant: whose the token is; empty: the operator's.
    """

    number: int
    time: datetime
    event: str
    call: str
    token: str
    role: str
    rpc: str
    collections: tuple[str, ...]
    outcome: str
    items: int
    queries: int
    calls: int
    first: int
    tenant: str = ""


@dataclass(frozen=True, slots=True)
class RecordsRequest(Record[pb.ListRecordsRequest]):
    """Which records are wanted; see `ListRecordsRequest`."""

    since: datetime | None = None
    token: str = ""
    collection: str = ""
    page_size: int = 0
    page_token: str = ""


@dataclass(frozen=True, slots=True)
class AuditPage(Record[pb.ListRecordsResponse]):
    """A page of records, the newest first.

    Attributes:
        next_page_token: where the next page begins; empty: these were the last.
    """

    records: tuple[AuditRecord, ...]
    next_page_token: str = ""


@dataclass(frozen=True, slots=True)
class AuditFault(Record[pb.AuditFault]):
    """Something that is wrong with the log.

    Attributes:
        number: of the record that it is about, or of the first of several.
        kind: "altered", "inserted", "missing", "reordered", "cut off", "forked", "set back", "head" or
            "damaged".
        what: a sentence.
    """

    number: int
    kind: str
    what: str


@dataclass(frozen=True, slots=True)
class AuditVerification(Record[pb.VerifyLogResponse]):
    """How far a verification of the log is, and at its end what it found.

    Attributes:
        records: number that was looked at, of `total`.
        complete: whether this is the end.
        faults: the first hundred; none: all is right.
        first, last: numbers of the oldest and the newest record.
        chain: of the newest record, in hex; where it is noted elsewhere, a log that was set back is noticed.
    """

    records: int
    total: int
    complete: bool = False
    faults: tuple[AuditFault, ...] = ()
    first: int = 0
    last: int = 0
    chain: str = ""
