"""The audit log of a running keyholder: who did what, and none of it lost, with no content."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc
import numpy as np
import pytest
from support.disk import disk
from support.services import Services, wait_until

import blindsight
from blindsight.client import Vault
from blindsight.errors import BlindsightError, NotFound, PermissionDenied, ResourceExhausted
from blindsight.rpc.keyholder.v1 import tokens_pb2
from blindsight.rpc.keyholder.v1.tokens_pb2_grpc import TokenServiceStub
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE
from blindsight.trusted.audit.files import record_files
from blindsight.wire.audit import AuditRecord
from blindsight.wire.tokens import METADATA_KEY, SCHEME
from services.keyholder.audit.kinds import KINDS

PAGE = (Path(__file__).parents[2] / "docs" / "audit.md").read_text()
SETTINGS = {"keyholder": {"require_tokens": "true"}}
VECTORS = np.random.default_rng(5).normal(size=(20, 8)).astype(np.float32)


@dataclass(frozen=True)
class World:
    services: Services
    folder: Path
    vault: Vault

    @property
    def keyholder(self) -> Path:
        return self.services.folder / "keyholder"

    def open(self, token: str) -> Vault:
        file = self.folder / token[4:16]
        file.write_text(token)
        return blindsight.connect(self.services.address(), token_file=file)

    def records(self, **about: object) -> list[AuditRecord]:
        """The records so far, the oldest first."""
        return list(self.vault.audit_page(page_size=1000, **about).records)[::-1]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    running = Services(tmp_path_factory.mktemp("services"), settings=SETTINGS)
    try:
        running.start()
        owner = running.folder / "keyholder" / OWNER_TOKEN_FILE
        with blindsight.connect(running.address(), token_file=owner) as vault:
            vault.create_collection("grandmother", embedder="none", dimension=8)
            yield World(running, tmp_path_factory.mktemp("tokens"), vault)
    finally:
        running.stop()


def rpc(record: AuditRecord) -> str:
    return record.rpc.rpartition("/")[2]


def test_the_page_says_of_every_rpc_how_it_is_recorded() -> None:
    said = {
        name: kind
        for kind, names in re.findall(r"^\| (change|reveal|counted) \| (.*?) \|", PAGE, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    assert said == {name: kind.value for name, kind in KINDS.items()}


def test_who_did_what_is_there_with_its_outcome(world: World) -> None:
    made = world.vault.create_token("editor", collections=["grandmother"], label="tablet")
    with world.open(made.token) as vault:
        album = vault.collection("grandmother")
        album.ingest_vectors(VECTORS, ids=[f"secret-{number}" for number in range(20)])
        album.search_vectors(VECTORS[:3], k=2)
        album.delete(["secret-1", "secret-2"])
        with pytest.raises(PermissionDenied):
            vault.create_token("owner")
        with pytest.raises(NotFound):
            vault.collection("no such name").count()
    found = list[AuditRecord]()

    def counted_too() -> bool:
        found[:] = world.records(token_id=made.about.id)
        return any(one.outcome == "NOT_FOUND" for one in found)

    wait_until(counted_too, what="a record of the last call")
    assert {one.role for one in found} == {"editor"}
    told = {
        (rpc(one), one.event, one.outcome, one.items, one.queries, one.collections)
        for one in found
        if one.event == "ended"
    }
    of = ("grandmother",)
    assert told == {
        ("Ingest", "ended", "OK", 20, 0, of),
        ("Search", "ended", "OK", 6, 3, of),
        ("DeleteItems", "ended", "OK", 2, 0, of),
    }
    begun = {(rpc(one), one.call) for one in found if one.event == "begun"}
    assert begun == {(rpc(one), one.call) for one in found if one.event == "ended"}
    counted = {(rpc(one), one.outcome) for one in found if one.event == "counted"}
    assert {("CreateToken", "PERMISSION_DENIED"), ("CountItems", "NOT_FOUND")} <= counted
    assert [rpc(one) for one in world.records(collection="grandmother") if one.role == "owner"][:2] == [
        "CreateCollection",
        "CreateCollection",
    ]


def test_a_collection_that_is_gone_is_found_by_its_id(world: World) -> None:
    world.vault.create_collection("brief", embedder="none", dimension=8)
    world.vault.delete_collection("brief")
    *_, last = [one for one in world.records() if one.event == "ended"]
    (called,) = last.collections
    assert (rpc(last), last.outcome) == ("DeleteCollection", "OK")
    assert re.fullmatch(r"deleted [0-9a-f]{8}", called)
    lines = [
        json.loads(line) for path in record_files(world.keyholder) for line in path.read_bytes().splitlines()
    ]
    (whole,) = {
        one["collections"][0] for one in lines if one.get("rpc") == "KeyholderService/DeleteCollection"
    }
    about = world.records(collection=whole)
    assert {rpc(one) for one in about} >= {"CreateCollection", "DeleteCollection"}
    assert {one.collections for one in about} == {(called,)}


def test_calls_of_a_tenant_say_so_without_its_name(world: World) -> None:
    made = world.vault.create_tenant("grandmother's neighbour")
    with world.open(made.token) as vault:
        vault.create_collection("theirs", embedder="none", dimension=8)
        with pytest.raises(PermissionDenied):
            vault.audit_page()
    found = [one for one in world.records() if one.tenant]
    assert {one.tenant for one in found} == {made.tenant.id}
    created = [one for one in found if (rpc(one), one.event) == ("CreateCollection", "ended")]
    ((called,),) = [one.collections for one in created]
    assert re.fullmatch("[0-9a-f]{32}", called)
    content = b"".join(path.read_bytes() for path in record_files(world.keyholder))
    assert b"neighbour" not in content
    assert b"theirs" not in content


def test_it_is_for_owners_and_for_auditors_of_the_whole_vault(world: World) -> None:
    with world.open(world.vault.create_token("auditor").token) as vault:
        assert vault.audit_page(page_size=1).records
        assert vault.verify_audit().faults == ()
    with world.open(world.vault.create_token("auditor", collections=["grandmother"]).token) as vault:
        for call in (vault.audit_page, vault.verify_audit):
            with pytest.raises(PermissionDenied, match="may not read the audit log"):
                call()


def test_pages_are_the_whole(world: World) -> None:
    whole = world.records()
    pages: list[AuditRecord] = []
    following: str | None = None
    while following != "":
        page = world.vault.audit_page(page_size=3, page_token=following)
        pages += page.records
        following = page.next_page_token
    numbers = [one.number for one in reversed(pages)]
    assert numbers[: len(whole)] == [one.number for one in whole] == list(range(1, len(whole) + 1))


def test_a_flood_of_wrong_tokens_does_not_fill_the_disk(world: World) -> None:
    def size() -> int:
        return sum(path.stat().st_size for path in record_files(world.keyholder))

    before = size()
    with grpc.insecure_channel(world.services.address()) as channel:
        stub = TokenServiceStub(channel)
        for number in range(500):
            shown = ((METADATA_KEY, f"{SCHEME}bs1_{number:012x}_{64 * '0'}"),)
            with pytest.raises(grpc.RpcError):
                stub.ListTokens(tokens_pb2.ListTokensRequest(), metadata=shown)
    assert size() - before < 4096


def test_the_files_have_no_content_no_name_and_no_token(world: World) -> None:
    album = world.vault.collection("grandmother")
    album.ingest_vectors(VECTORS[:1] * 2, ids=["needle-in-hay"], metadata=[{"said": "needle-said"}])
    album.search_vectors(VECTORS[:1] * 2, where="said = 'needle-said'")
    with world.open(world.vault.create_token("auditor", label="needle-label").token) as vault:
        vault.audit_page()
    content = b"".join(path.read_bytes() for path in record_files(world.keyholder))
    assert b'"rpc":"KeyholderService/Ingest"' in content
    owner = (world.keyholder / OWNER_TOKEN_FILE).read_text().strip()
    for word in ("grandmother", "needle", "secret-", "tablet", owner, owner.rpartition("_")[2]):
        assert word.encode() not in content, word


def test_nothing_that_was_answered_is_lost_when_it_is_killed_in_the_middle(world: World) -> None:
    answered: list[int] = []

    def ask() -> None:
        owner = world.keyholder / OWNER_TOKEN_FILE
        with blindsight.connect(
            world.services.address(), token_file=owner, retry_seconds=0, wait_seconds=0
        ) as vault:
            album = vault.collection("grandmother")
            with suppress(BlindsightError):
                while True:  # until it is killed
                    album.update(["secret-3"], set={"count": len(answered)})
                    answered.append(1)

    def updates() -> int:
        return len([one for one in world.records() if (rpc(one), one.outcome) == ("UpdateItems", "OK")])

    for number in range(1, 4):
        before = updates()
        answered.clear()
        thread = threading.Thread(target=ask)
        thread.start()
        wait_until(lambda: len(answered) > 10, what="some updates")
        world.services["keyholder"].kill()
        thread.join()
        world.services["keyholder"].start()
        assert updates() - before in {len(answered), len(answered) + 1}, (
            number
        )  # one may not have been answered
        assert world.vault.verify_audit().faults == ()
    opened = [one for one in world.records() if one.event == "opened"]
    assert [one.outcome for one in opened] == ["OK"] * 4


def test_what_was_tampered_with_is_said_by_the_keyholder(world: World) -> None:
    assert world.vault.verify_audit().faults == ()
    path = max(record_files(world.keyholder), key=lambda one: one.stat().st_size)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    number = json.loads(lines[1])["number"]
    path.write_bytes(b"".join([lines[0], *lines[2:]]))
    try:
        (fault,) = world.vault.verify_audit().faults
    finally:
        path.write_bytes(whole)
    assert (fault.kind, fault.number) == ("missing", number)


def test_on_a_full_disk_a_reserve_is_written_and_then_nothing_changes_or_is_revealed(tmp_path: Path) -> None:
    with disk(tmp_path / "keyholder", 24 << 20) as small:
        services = Services(tmp_path, within={"keyholder": small.within}, own_keys=True)
        try:
            with blindsight.connect(services.start().address()) as vault:
                album = vault.create_collection("album", embedder="none", dimension=8)
                album.ingest_vectors(VECTORS, ids=list("abcdefghijklmnopqrst"))
                small.fill()
                for item in "abcdefghij":
                    album.delete([item])
                assert "the keyholder's disk is full" in vault.status().services[0].alarm
                small.fill()
                search = partial(album.search_vectors, VECTORS[0], k=2)
                with pytest.raises(ResourceExhausted, match="the audit log cannot be written"):
                    [search() for _ in range(200)]  # what is left of a page of the file is room, too
                # A shorter record may find room where a longer one found none.
                assert re.search("cannot be written|disk is full", vault.status().services[0].alarm)
                for refused in (lambda: album.delete(["no such item"]), search):
                    with pytest.raises(ResourceExhausted, match="what is not on record is not done"):
                        [refused() for _ in range(200)]
                small.clear()
                wait_until(
                    lambda: not vault.status().services[0].alarm, seconds=60, what="the end of the alarm"
                )
                assert album.count() == 10
                album.delete(["k"])
                assert vault.verify_audit().faults == ()
                deleted = vault.audit_page(page_size=1000).records
                assert sum(one.items for one in deleted if rpc(one) == "DeleteItems") == 11
        finally:
            services.stop()
