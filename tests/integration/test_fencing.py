"""Two keyholders with the same keys and one storage, as after a copied folder: one of them writes."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from support.bulk import BulkServices
from support.command import run_here
from support.keysets import shared_key_set
from support.photos import small_photo
from support.relay import Relay
from support.services import START_SECONDS, Process, wait_until

import blindsight
from blindsight.errors import Fenced
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.clients.fencing import Fence
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from services.keyholder.lease import holder_id

ROW = np.ones((1, 4))
# Longer than any test waits; and so short that one which waits for its end is not slow.
LONG, SHORT = "600", "2"

Start = Callable[[str], BulkServices]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts services whose storage gives leases of some seconds, with a collection of no photos yet."""
    running: list[BulkServices] = []

    def start(lease_seconds: str) -> BulkServices:
        services = BulkServices(tmp_path, settings={"storage": {"lease_seconds": lease_seconds}})
        running.append(services)
        services.start()
        with blindsight.connect(services.address()) as vault:
            vault.create_collection("rows", embedder="none", dimension=4)
            vault.create_collection("photos", embedder="pixels", dimension=64)
        return services

    yield start
    for services in running:
        services.stop()


def copied(services: BulkServices) -> Process:
    """A keyholder of a copy of the first one's folder; with a queue of its own."""
    first = services["keyholder"]
    folder = services.folder / "copied"
    shutil.copytree(first.environment["data"], folder)
    environment = {
        **first.environment,
        "data": str(folder),
        "queue_url": f"embedded:{services.folder / 'its queue.db'}",
    }
    services.processes["copied"] = Process("keyholder", environment, services.folder / "copied.log")
    return services["copied"]


def add_row(process: Process, name: str) -> None:
    with blindsight.connect(process.address) as vault:
        vault.collection("rows").ingest_vectors(ROW, [name])


def events(process: Process, event: str) -> list[dict[str, str]]:
    """Lines of a log with this event."""
    lines = [line for line in process.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in map(json.loads, lines) if line["event"] == event]


def test_a_copy_of_a_folder_is_another_holder_and_a_restart_is_not(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    own = holder_id(tmp_path / "first")
    assert holder_id(tmp_path / "first") == own != holder_id(tmp_path / "second")
    shutil.copy2(tmp_path / "first" / "holder", tmp_path / "second" / "holder")
    assert holder_id(tmp_path / "second") != own


def test_a_second_keyholder_is_refused_while_the_first_lives_and_waits_for_the_lease_of_a_dead_one(
    start: Start,
) -> None:
    services = start(SHORT)
    second = copied(services)
    second.launch()
    assert second.wait(START_SECONDS) == 1
    assert second.log.read_text().splitlines()[-1] == (
        "blindsight keyholder: another keyholder of these keys is using this storage: "
        "stop it before you start this one"
    )
    (waited,) = events(second, "another_keyholder_has_the_lease")
    assert 0 < float(waited["seconds"]) <= float(SHORT)
    add_row(services["keyholder"], "goes on")
    services["keyholder"].kill()
    second.start()
    assert len(events(second, "another_keyholder_has_the_lease")) == 2
    add_row(second, "taken over")


def test_nobody_waits_who_starts_again_or_where_the_first_was_stopped(start: Start) -> None:
    services = start(LONG)
    first = services["keyholder"]
    first.kill()
    services["storage"].kill()
    first.start()  # it gets its lease when storage is there
    services["storage"].start()
    add_row(first, "after kill -9")
    first.stop()
    first.start()
    add_row(first, "after a drain")
    first.stop()
    copied(services).start()
    add_row(services["copied"], "elsewhere")


def test_one_that_was_paused_while_another_took_over_writes_no_more(start: Start) -> None:
    services = start(SHORT)
    first, worker = services["keyholder"], services.worker()
    with blindsight.connect(first.address) as vault:
        vault.collection("rows").ingest_vectors(ROW, ["known"])
        worker.popen.send_signal(signal.SIGSTOP)
        waiting = vault.collection("photos").ingest_bulk([("0.png", small_photo(0))])
    second = copied(services)
    first.popen.send_signal(signal.SIGSTOP)
    second.start()
    add_row(second, "taken over")
    stored = services.stored()
    with pytest.raises(Fenced):
        asyncio.run(write_as_a_worker(services, token=1))
    worker.popen.send_signal(signal.SIGCONT)  # it asks its keyholder, which does not answer yet
    first.popen.send_signal(signal.SIGCONT)
    with blindsight.connect(first.address) as vault:
        rows = vault.collection("rows")
        for act in (
            lambda: rows.ingest_vectors(ROW, ["late"]),
            lambda: rows.delete("known"),
            lambda: vault.delete_collection("rows"),
            lambda: vault.create_collection("new", embedder="none", dimension=4),
            rows.repack,
            lambda: rows.search_vectors(ROW),  # which would not have what the other wrote
        ):
            with pytest.raises(Fenced, match="another keyholder of these keys has taken over"):
                act()
        state = vault.status()
        assert state.services[0].alarm.startswith("another keyholder of these keys has taken over")
        assert state.fenced
        assert all(service.reachable for service in state.services)
        assert run_here("status", "--address", first.address).returncode == 1
        assert waiting.import_id  # nobody has stored it
    assert worker.wait(START_SECONDS) == 1
    assert "another keyholder of these keys has taken over" in worker.log.read_text().splitlines()[-1]
    assert len(events(first, "fenced")) == 1
    assert services.stored() == stored
    # It does not take the lease back by itself; and it is refused while the other lives.
    add_row(second, "goes on")
    first.kill()
    first.launch()
    assert first.wait(START_SECONDS) == 1


async def write_as_a_worker(services: BulkServices, token: int) -> None:
    """Writes as a worker does that has learnt a token from its keyholder."""
    fence = Fence()
    fence.newest = token
    storage = StorageClient(services.address("storage"), fence=fence)
    evaluator = EvaluatorClient(services.address("evaluator"))
    try:
        vault = Vault(shared_key_set(), storage, evaluator)
        rows = await vault.get("rows")
        await Writer(vault, storage, crypto=None).delete(rows, [rows.handle("known")])
    finally:
        await storage.close()
        await evaluator.close()


def test_a_worker_writes_on_under_the_token_of_a_keyholder_that_has_restarted(start: Start) -> None:
    services = start(LONG)
    arrived, go_on = threading.Event(), threading.Event()

    def held(method: str) -> None:
        if method.endswith("/Append"):
            arrived.set()
            go_on.wait(START_SECONDS)

    with Relay(services.address("storage")) as relay:
        relay.instead = held
        services.worker(storage_address=relay.address)
        with blindsight.connect(services.address()) as vault:
            job = vault.collection("photos").ingest_bulk([("0.png", small_photo(0))])
            assert arrived.wait(START_SECONDS)
            services["keyholder"].stop()
            services["keyholder"].start()
            go_on.set()
            assert job.wait().done == 1
        tokens = [call.asked for call in relay.calls if call.method.endswith("/Append")]
        assert len(tokens) == 2
        services.stop_workers()
    wait_until(lambda: services.stored() == 1)
