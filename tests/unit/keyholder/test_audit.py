"""The audit of calls: what is on the disk before an answer goes out, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest
from support.keysets import shared_key_set

from blindsight.errors import ResourceExhausted
from blindsight.rpc.keyholder import v1
from blindsight.rpc.keyholder.v1 import keyholder_pb2
from blindsight.trusted.audit.records import Entry
from blindsight.trusted.vault import scope
from services.keyholder.audit import audit as module
from services.keyholder.audit.audit import NOBODY, Audit
from services.keyholder.audit.kinds import KINDS
from services.keyholder.audit.log import AuditLog
from services.keyholder.audit.wire import queries_of

CONTRACTS = [
    import_module(f"{v1.__name__}.{one.name}")
    for one in iter_modules(v1.__path__)
    if one.name.endswith("_pb2")
]
SERVICE = "/blindsight.keyholder.v1.KeyholderService"
ALBUM = b"a" * 16
TOKEN = "0123456789ab"


def test_every_rpc_is_of_a_kind() -> None:
    assert KINDS.keys() == {
        method.name
        for contract in CONTRACTS
        for service in contract.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


@pytest.fixture
async def audit(tmp_path: Path) -> AsyncIterator[Audit]:
    made = Audit(AuditLog(tmp_path, shared_key_set(), 1 << 30, 0))
    await made.start()
    yield made
    await made.close()


def recorded(audit: Audit) -> list[Entry]:
    """What is on the disk now, but that the keyholder started."""
    return [one.entry for one in audit.log.newest_first(None)][-2::-1]


def told(audit: Audit) -> list[tuple[str, str, str]]:
    return [(one.event, one.rpc.rpartition("/")[2], one.outcome) for one in recorded(audit)]


async def test_a_change_is_on_the_disk_before_it_is_answered(audit: Audit) -> None:
    call = audit.call(f"{SERVICE}/DeleteItems", TOKEN, "editor")
    scope.named(ALBUM)
    await call.sending(keyholder_pb2.DeleteItemsResponse(deleted=7))
    assert told(audit) == [("begun", "DeleteItems", "")]
    call.ended("OK")
    await call.settled()
    assert told(audit) == [("begun", "DeleteItems", ""), ("ended", "DeleteItems", "OK")]
    begun, ended = recorded(audit)
    assert (ended.token, ended.role, ended.items) == (TOKEN, "editor", 7)
    assert begun.collections == ended.collections == (ALBUM.hex(),)
    assert begun.call == ended.call != ""


async def test_what_is_revealed_is_on_the_disk_before_and_its_end_soon_after(audit: Audit) -> None:
    call = audit.call(f"{SERVICE}/Search", TOKEN, "searcher")
    vectors = keyholder_pb2.VectorBlock(values=bytes(4 * 8 * 3), dimension=8)
    call.asked(queries_of(keyholder_pb2.SearchRequest(vectors=vectors)))
    scope.named(ALBUM)
    hits = keyholder_pb2.Hits(hits=[keyholder_pb2.Hit(id="x")] * 2)
    for _ in range(3):
        await call.sending(keyholder_pb2.SearchResponse(hits=hits))
        assert told(audit) == [("begun", "Search", "")]
    call.ended("OK")
    await call.settled()
    await asyncio.sleep(2 * module._LINGER_SECONDS)
    _, ended = recorded(audit)
    assert (ended.queries, ended.items, ended.outcome) == (3, 6, "OK")


async def test_what_fails_after_it_began_says_so_once(audit: Audit) -> None:
    call = audit.call(f"{SERVICE}/Ingest", TOKEN, "uploader")
    scope.named(ALBUM)
    await call.sending(
        keyholder_pb2.IngestResponse(item=keyholder_pb2.ItemResult(outcome=keyholder_pb2.OUTCOME_STORED))
    )
    call.ended("DATA_LOSS")
    call.ended("OK")
    await call.settled()
    assert told(audit) == [("begun", "Ingest", ""), ("ended", "Ingest", "DATA_LOSS")]
    assert recorded(audit)[-1].items == 1


async def test_a_flood_of_wrong_tokens_is_a_record_and_a_number(audit: Audit) -> None:
    for _ in range(50_000):
        audit.refused(f"{SERVICE}/Search", "", NOBODY, "UNAUTHENTICATED")
    await asyncio.sleep(2 * module._LINGER_SECONDS)
    assert told(audit) == [("counted", "Search", "UNAUTHENTICATED")]
    audit._end_counts()
    await asyncio.sleep(2 * module._LINGER_SECONDS)
    assert [(one.calls, one.role) for one in recorded(audit)] == [(1, "none"), (49_999, "none")]


async def test_callers_are_told_apart_up_to_a_number(audit: Audit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_COUNTED", 10)
    for number in range(1000):
        audit.refused(f"{SERVICE}/Search", f"{number:012x}", "auditor", "PERMISSION_DENIED")
    audit._end_counts()
    await asyncio.sleep(2 * module._LINGER_SECONDS)
    assert [one.calls for one in recorded(audit)] == [*[1] * 11, 989]
    assert sum(one.calls for one in recorded(audit)) == 1000


async def test_what_is_not_on_record_is_not_done(
    audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = audit.call(f"{SERVICE}/Search", TOKEN, "searcher")
    head = audit.log._head_file._path
    head.rename(tmp_path / "away")
    head.mkdir()  # nothing can be written in its place
    with pytest.raises(ResourceExhausted, match="what is not on record is not done"):
        await call.sending(keyholder_pb2.SearchResponse())
    call.ended("RESOURCE_EXHAUSTED")
    for rpc in ("Search", "DeleteItems"):
        with pytest.raises(ResourceExhausted, match="the audit log cannot be written"):
            audit.call(f"{SERVICE}/{rpc}", TOKEN, "owner")
    audit.call(f"{SERVICE}/GetStatus", TOKEN, "owner").ended("OK")
    assert "cannot be written" in audit.alarm
    head.rmdir()
    (tmp_path / "away").rename(head)
    await asyncio.sleep(2.5 * module._RETRY_SECONDS)
    assert audit.alarm == ""
    audit.call(f"{SERVICE}/Search", TOKEN, "searcher").ended("OK")
    events = [(event, rpc) for event, rpc, _ in told(audit)]
    assert ("counted", "GetStatus") in events
    assert ("failed", "") in events or ("ended", "Search") in events


@pytest.mark.parametrize("dimension", [0, 1, 8])
def test_a_block_of_vectors_is_never_no_query(dimension: int) -> None:
    block = keyholder_pb2.VectorBlock(values=b"", dimension=dimension)
    assert queries_of(keyholder_pb2.SearchRequest(vectors=block)) == 1
