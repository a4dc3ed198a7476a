"""Who may call what: the table is the contracts', the page's, and what services were seen to call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bulk import BulkServices
from support.leakage import METHODS, messages
from support.photos import small_photo
from support.relay import Call, Relay

import blindsight
from blindsight.client import Photo
from blindsight.rpc.keyholder.v1 import (
    audit_pb2,
    imaging_pb2,
    imports_pb2,
    keyholder_pb2,
    keys_pb2,
    tenants_pb2,
    tokens_pb2,
    workers_pb2,
)
from blindsight.runtime.policy import CALLERS, CHANGES_ITEMS, DESTRUCTIVE, OF_KEYHOLDER
from blindsight.runtime.roles import Role

OF_THE_KEYHOLDER = (
    keyholder_pb2,
    imports_pb2,
    imaging_pb2,
    tokens_pb2,
    audit_pb2,
    tenants_pb2,
    keys_pb2,
    workers_pb2,
)
PAGE = (Path(__file__).parents[2] / "docs" / "threat-model.md").read_text()
ROW = re.compile(r"^\| `(\w+)\.(\w+)` \| ([^|]*) \| ([^|]*) \|$", re.MULTILINE)
WORDS = (
    "Delete",
    "Drop",
    "Replace",
    "Remove",
    "Retire",
    "Purge",
    "Clear",
    "Set",
    "Reset",
    "Restore",
    "Update",
    "Truncate",
)


def rpcs() -> set[tuple[str, str]]:
    return {(path.split(".")[1], method.name) for path, method in METHODS.items()}


def test_the_table_has_every_rpc_of_the_contracts_and_no_other() -> None:
    assert {(service, rpc) for service, table in CALLERS.items() for rpc in table} == rpcs()


def test_the_table_has_every_service_of_the_keyholder_and_no_other() -> None:
    assert OF_KEYHOLDER.keys() == {
        name for contract in OF_THE_KEYHOLDER for name in contract.DESCRIPTOR.services_by_name
    }
    assert OF_KEYHOLDER["WorkerService"] == {Role.WORKER}
    assert {one for name, one in OF_KEYHOLDER.items() if name != "WorkerService"} == {frozenset({Role.OWNER})}


def test_the_page_says_what_the_table_says() -> None:
    section = PAGE.partition("\n## Who may call what\n")[2].partition("\n## ")[0]
    said = {(service, rpc): (callers, does) for service, rpc, callers, does in ROW.findall(section)}
    assert said.keys() == rpcs()
    for (service, rpc), (callers, does) in said.items():
        assert set(callers.split(", ")) == {one.value for one in CALLERS[service][rpc]}, rpc
        assert ("destroys" in does) == (rpc in DESTRUCTIVE[service]), rpc


def test_what_destroys_is_the_keyholders_alone() -> None:
    for service, named in DESTRUCTIVE.items():
        assert named == {rpc for rpc in CALLERS[service] if rpc.startswith(WORDS)}
        assert all(CALLERS[service][rpc] == {Role.KEYHOLDER} for rpc in named)
    assert {Role.KEYHOLDER} == CHANGES_ITEMS


@pytest.fixture(scope="module")
def called(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[tuple[Role, str], list[Call]]]:
    """What each service called, by caller and called, while an owner did this and that."""
    relays: dict[tuple[str, str], Relay] = {}

    def way(client: str, server: str, address: str) -> str:
        return relays.setdefault((client, server), Relay(address)).address

    services = BulkServices(tmp_path_factory.mktemp("policy"), way=way)
    try:
        services.start()
        to = {name: way("worker", name, services[name].address) for name in ("storage", "evaluator")}
        services.worker(storage_address=to["storage"], evaluator_address=to["evaluator"])
        with blindsight.connect(services.address()) as vault:
            album = vault.create_collection("album", embedder="pixels", dimension=64)
            items = album.ingest([(f"{number}.png", small_photo(number)) for number in range(3)], planes=True)
            assert (
                album.ingest_bulk([(f"{number}.png", small_photo(number)) for number in (3, 4)]).wait().done
                == 2
            )
            album.search(small_photo(5), k=2)
            album.get(items.items[0].id)
            album.planes(items.items[0].id)
            album.update(items.items[1].id, set={"year": 2020})
            album.ingest([Photo(small_photo(6), id=items.items[1].id)], upsert=True)
            album.delete(items.items[0].id)
            album.repack()
            album.search(small_photo(5), k=2)
            vault.status()
            vault.delete_collection("album")
        services.stop_workers()
        yield {
            (Role(client), server): [call for call in relay.calls if call.method in METHODS]
            for (client, server), relay in relays.items()
        }
    finally:
        services.stop()
        for relay in relays.values():
            relay.close()


def test_every_service_calls_what_the_table_lets_it_and_nothing_else(
    called: dict[tuple[Role, str], list[Call]],
) -> None:
    for (caller, server), calls in called.items():
        names = {call.method.rpartition("/")[2] for call in calls}
        assert not [name for name in names if caller not in CALLERS[server][name]], (caller, names)
    assert {(caller.value, server) for (caller, server), calls in called.items() if calls} == {
        ("keyholder", "storage"), ("keyholder", "evaluator"), ("evaluator", "storage"), ("worker", "storage"),
    }  # fmt: skip


def test_no_worker_retires_a_segment_or_replaces_an_item(
    called: dict[tuple[Role, str], list[Call]],
) -> None:
    changing = {
        (flag, caller)
        for (caller, _), calls in called.items()
        for call in calls
        if call.method.endswith("/Append")
        for side, message in messages(call)
        for flag in ("retires", "replaces")
        if side == "asked" and getattr(message.header, flag)  # type: ignore[attr-defined]
    }
    assert changing == {(flag, caller) for flag in ("retires", "replaces") for caller in CHANGES_ITEMS}
