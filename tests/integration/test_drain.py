"""SIGTERM: a service says that it is not ready, takes nothing new, finishes what it has, and ends in time."""

from __future__ import annotations

import queue
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support import metrics, storage
from support.photos import small_photo
from support.ports import free_ports
from support.services import Process, Services, wait_until
from support.storage import MAIN_0, refusal
from support.tap import Tap

import blindsight
from blindsight.client import Vault
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime.health import LIVENESS, READINESS
from blindsight.runtime.transfer import digest

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
REFUSED = (grpc.StatusCode.UNAVAILABLE, "DRAINING")


def health(channel: grpc.Channel, name: str) -> int:
    stub = health_pb2_grpc.HealthStub(channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=20).status)


class Held:
    """An append, all of which has been sent but its end: it runs until it is let go."""

    def __init__(self, client: storage.Client, batches: storage.Batches) -> None:
        self._ended = threading.Event()
        self._sent = threading.Event()
        self._parts = storage.requests(batches.make(MAIN_0, storage.items(3)))
        self._call = client.stub.Append.future(self._requests(), timeout=60)
        assert self._sent.wait(20)

    def _requests(self) -> Iterator[storage_pb2.AppendRequest]:
        yield from self._parts
        self._sent.set()
        self._ended.wait(60)

    def let_go(self) -> storage_pb2.AppendResponse:
        self._ended.set()
        return self._call.result()

    def ending(self) -> tuple[grpc.StatusCode, str, str]:
        """How it was cut off."""
        try:
            return refusal(self._call.result)
        finally:
            self._ended.set()


class Stored:
    """A storage with a collection, one client, and an append that runs."""

    def __init__(self, folder: Path, drain_seconds: float) -> None:
        (port,) = free_ports(1)
        settings = {
            "data": str(folder / "data"),
            "drain_seconds": str(drain_seconds),
            "metrics_port": str(port),
        }
        self.process = Process("storage", settings, folder / "log.jsonl")
        self.process.start()
        self.client = storage.Client(self.process.address)
        record = storage.collection()
        self.client.create(record)
        self._record = record
        self.held = Held(self.client, storage.Batches(record))
        running = partial(metrics.value, port, "grpc_server_in_flight", grpc_method="Append")
        wait_until(lambda: running() == 1, what="an append that has begun")

    def items(self) -> int:
        return self.client.get(self._record).items

    def signal(self) -> None:
        self.process.process().terminate()
        wait_until(lambda: health(self.client.channel, READINESS) == NOT_SERVING, what="a drain")

    def close(self) -> None:
        self.client.channel.close()
        self.process.kill()


@pytest.fixture
def stored(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Stored]:
    made = Stored(tmp_path, request.param)
    yield made
    made.close()


@pytest.mark.parametrize("stored", [30], indirect=True)
def test_a_service_that_drains_refuses_what_is_new_and_finishes_what_has_begun(stored: Stored) -> None:
    channel = stored.client.channel
    assert [health(channel, name) for name in ("", READINESS, LIVENESS)] == [SERVING] * 3
    watched = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
    assert next(watched).status == SERVING
    stored.signal()
    assert next(watched).status == NOT_SERVING
    assert [health(channel, name) for name in ("", LIVENESS)] == [NOT_SERVING, SERVING]
    code, reason, message = refusal(stored.items)
    assert (code, reason) == REFUSED
    assert message == "the service is stopping; call again when it is back"
    assert stored.held.let_go().sequence == 1
    assert stored.process.wait() == 0
    stored.process.start()
    wait_until(lambda: answered(stored) == 3, what="the append that was finished")


def answered(stored: Stored) -> int:
    try:
        return stored.items()
    except grpc.RpcError:
        return -1


@pytest.mark.parametrize("stored", [1], indirect=True)
def test_what_is_not_done_at_the_deadline_is_cut_off_with_a_reason(stored: Stored) -> None:
    stored.signal()
    code, reason, message = stored.held.ending()
    assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "CUT_OFF")
    assert message == "the service stopped before this call was done"
    assert stored.process.wait() == 0
    stored.process.start()
    wait_until(lambda: answered(stored) == 0, what="nothing of the append")


@pytest.mark.parametrize("stored", [3000], indirect=True)
def test_a_second_sigterm_does_not_wait_for_the_deadline(stored: Stored) -> None:
    stored.signal()
    stored.process.process().terminate()  # it is gone before it could say so
    assert stored.held.ending()[1] == "CUT_OFF"
    assert stored.process.wait() == 0


# --- streams that would not end by themselves, and galleries that load ------------------------------------


@pytest.fixture(scope="module")
def tap() -> Iterator[list[Tap]]:
    made: list[Tap] = []
    yield made
    for one in made:
        one.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, tap: list[Tap]) -> Iterator[Services]:
    """Real services; what the evaluator says to storage passes a tap."""

    def way(client: str, server: str, address: str) -> str:
        if (client, server) != ("evaluator", "storage"):
            return address
        tap.append(Tap(address))
        return tap[0].address

    running = Services(tmp_path_factory.mktemp("drain"), way=way)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def vault(services: Services) -> Iterator[Vault]:
    with blindsight.connect(services.address(), retry_seconds=60) as connected:
        yield connected


def test_an_evaluator_is_alive_and_not_ready_while_its_gallery_loads_and_searches_wait_for_it(
    services: Services, vault: Vault, tap: list[Tap]
) -> None:
    collection = vault.create_collection("loads", embedder="none", dimension=2)
    collection.ingest_vectors([[1.0, 0.0], [0.0, 1.0]], ["a", "b"])
    evaluator = services["evaluator"]
    assert evaluator.stop() == 0
    shutil.rmtree(services.folder / "evaluator" / "cache")
    with ThreadPoolExecutor(1) as executor, tap[0].silence_after(0):
        evaluator.start()
        search = executor.submit(collection.search_vectors, [0.0, 1.0], 1)
        with grpc.insecure_channel(evaluator.address) as channel:
            for _ in range(5):
                found = [health(channel, name) for name in ("", READINESS, LIVENESS)]
                assert found == [NOT_SERVING, NOT_SERVING, SERVING]
                time.sleep(0.1)
        assert not search.done()
    with grpc.insecure_channel(evaluator.address) as channel:
        wait_until(lambda: health(channel, READINESS) == SERVING, 60, "a gallery that is loaded")
    assert search.result(60).results[0][0].id == "b"


def test_a_long_ingest_is_answered_as_far_as_it_came_when_the_keyholder_stops(
    services: Services, vault: Vault
) -> None:
    photos = [small_photo(seed) for seed in range(3)]
    collection = vault.create_collection("long", embedder="pixels", dimension=64)
    parts: queue.SimpleQueue[pb.IngestRequest | None] = queue.SimpleQueue()
    parts.put(pb.IngestRequest(header=pb.IngestHeader(collection="long")))
    for data in photos[:2]:
        parts.put(pb.IngestRequest(file=pb.FileHeader(size_bytes=len(data), sha256=digest(data))))
        parts.put(pb.IngestRequest(chunk=data))
    # The third one has begun, and its bytes never come.
    parts.put(pb.IngestRequest(file=pb.FileHeader(size_bytes=9, sha256=digest(bytes(9)))))
    with grpc.insecure_channel(services.address()) as channel:
        answers = keyholder_pb2_grpc.KeyholderServiceStub(channel).Ingest(iter(parts.get, None), timeout=90)
        log = services["keyholder"].log
        wait_until(
            lambda: log.read_text().count("/GetItems") >= 0 and parts.empty(), what="photos on their way"
        )
        time.sleep(0.5)
        services["keyholder"].process().terminate()
        assert [next(answers).item.outcome for _ in photos[:2]] == [pb.OUTCOME_STORED] * 2
        code, reason, message = refusal(lambda: next(answers))
        parts.put(None)
    assert (code, reason) == REFUSED
    assert "send the rest again" in message
    assert services["keyholder"].wait() == 0
    services["keyholder"].start()
    assert collection.describe().items == 2
