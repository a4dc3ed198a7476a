"""Several clients, and several owners, at the same services at once."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from support import evaluator, storage
from support.ledger import Ledger
from support.photos import encoded, photo
from support.services import Process, Services, failed_start, wait_until
from support.storage import refusal
from support.tap import Tap

import blindsight
from blindsight.client import Collection, Vault
from blindsight.errors import NotFound, Unavailable
from blindsight.packing.columns import collection_layout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import CKKS_4096
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.rpc.storage.v1 import storage_pb2

DIMENSION = 24
BOUND = 2e-4
INVALID_CIPHERTEXT = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CIPHERTEXT")
RNG = np.random.default_rng(8)


def unit(count: int) -> np.ndarray:
    rows = RNG.normal(size=(count, DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def taps() -> Iterator[dict[str, Tap]]:
    made: dict[str, Tap] = {}
    yield made
    for tap in made.values():
        tap.close()


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, taps: dict[str, Tap]) -> Iterator[Services]:
    """Real services; what the keyholder says to storage passes a tap."""

    def way(client: str, server: str, address: str) -> str:
        if (client, server) != ("keyholder", "storage"):
            return address
        if server not in taps:
            taps[server] = Tap(address)
        return taps[server].address

    running = Services(tmp_path_factory.mktemp("together"), way=way)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def tap(services: Services, taps: dict[str, Tap]) -> Tap:
    return taps["storage"]


# --- clients that change a collection while others search it -----------------------------------------


def test_searches_are_right_while_others_ingest_delete_and_repack(services: Services, vault: Vault) -> None:
    count, first, step, k = 450, 200, 10, 20
    ledger = Ledger(unit(count))
    # Columns of its own and a tail: appends of a few go to the tail, which repacks empty.
    vault.create_collection("busy", embedder="none", dimension=DIMENSION, expected_size=20_000)
    queries = ledger.rows[:3]
    done = threading.Event()
    searches = repacks = descriptions = 0

    def ingest(rows: range) -> None:
        ledger.note(ledger.offered, rows)
        busy().ingest_vectors(ledger.rows[rows], [str(row) for row in rows])
        ledger.note(ledger.stored, rows)

    def busy() -> Collection:
        return clients.setdefault(threading.get_ident(), blindsight.connect(services.address())).collection(
            "busy"
        )

    def ingests() -> None:
        for start in range(first, count, step):
            ingest(range(start, start + step))
        done.set()

    def deletes_and_repacks() -> None:
        nonlocal repacks
        position = 3
        while not done.is_set():
            rows = range(position, position + 5)
            wait_until(lambda rows=rows: set(rows) <= ledger.stored, what="items to delete")
            ledger.note(ledger.doomed, rows)
            assert busy().delete([str(row) for row in rows]).deleted == 5
            ledger.note(ledger.deleted, rows)
            position += 5
            repacks += busy().repack().segments_retired > 0

    def search() -> None:
        nonlocal searches
        before = ledger.before()
        ledger.check(before, queries, busy().search_vectors(queries, k=k), k)
        searches += 1

    def searches_on() -> None:
        while not done.is_set():
            search()

    def describes() -> None:
        nonlocal descriptions
        while not done.is_set():
            assert busy().describe().items <= count
            descriptions += 1

    clients: dict[int, Vault] = {}
    try:
        ingest(range(first))
        with ThreadPoolExecutor(4) as executor:
            running = [
                executor.submit(work) for work in (ingests, deletes_and_repacks, searches_on, describes)
            ]
            for work in running:
                try:
                    work.result(110)
                except BaseException:
                    done.set()  # so that the others end, too
                    raise
        search()
        assert min(searches, repacks, descriptions) >= 3
        about = busy().describe()
        assert about.items == len(ledger.stored - ledger.deleted)
        everything = busy().search_vectors(queries[:1], k=count).results[0]
        assert {int(hit.id) for hit in everything} == ledger.stored - ledger.deleted
    finally:
        for client in clients.values():
            client.close()


def test_a_gallery_that_is_replaced_again_and_again_is_scored_without_a_fault(services: Services) -> None:
    owner, done = evaluator.Owner(2), threading.Event()
    with (
        storage.Client(services.address("storage")) as stored,
        evaluator.Client(services.address("evaluator")) as scoring,
        ThreadPoolExecutor(2) as executor,
    ):
        gallery = evaluator.new_gallery(owner, stored, 77)
        gallery.add(storage.TAIL_0, unit(1)[:, :8].astype(np.float64))
        identity, block = gallery.record.collection_id, gallery.query(unit(1)[:, :8].astype(np.float64))

        def scores() -> int:
            scored = 0
            while not done.is_set():
                *_, last = scoring.stub.Score(evaluator.requests(identity, block), timeout=60)
                assert last.WhichOneof("part") == "summary"
                scored += 1
            return scored

        running = [executor.submit(scores) for _ in range(2)]
        try:
            for _ in range(100):
                gallery.add(storage.TAIL_0, unit(1)[:, :8].astype(np.float64))
                scoring.prepare(identity)
        finally:
            done.set()
        assert min(work.result(60) for work in running) >= 20


# --- clients that go away -----------------------------------------------------------------------------

LEAVES_AN_INGEST = """
import sys, threading, grpc
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb, keyholder_pb2_grpc
address, collection, kind = sys.argv[1:]
about = pb.FileHeader(name="half.png", size_bytes=1 << 20, sha256=bytes(32))
def ingest():
    yield pb.IngestRequest(header=pb.IngestHeader(collection=collection))
    yield pb.IngestRequest(file=about)
    yield pb.IngestRequest(chunk=bytes(1 << 19))
    print("half of it is sent", flush=True)
    threading.Event().wait()
def search():
    yield pb.SearchRequest(header=pb.SearchHeader(collection=collection))
    yield pb.SearchRequest(image=about)
    yield pb.SearchRequest(chunk=bytes(1 << 19))
    print("half of it is sent", flush=True)
    threading.Event().wait()
stub = keyholder_pb2_grpc.KeyholderServiceStub(grpc.insecure_channel(address))
list(stub.Ingest(ingest()) if kind == "ingest" else stub.Search(search()))
"""


@pytest.mark.parametrize("kind", ["ingest", "search"])
def test_a_client_that_is_killed_in_the_middle_leaves_everything_serving(
    services: Services, vault: Vault, kind: str
) -> None:
    collection = vault.create_collection(f"left alone by an {kind}", embedder="pixels", dimension=64)
    command = [sys.executable, "-c", LEAVES_AN_INGEST, services.address(), collection.name, kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == "half of it is sent\n"
        client.kill()
    assert collection.ingest([("coins.png", encoded(photo("coins"), "PNG"))]).stored == 1
    assert collection.search(photo("coins"), k=2).results[0][0].name == "coins.png"
    assert all(service.reachable for service in vault.status().services)


def test_an_ingest_whose_client_leaves_before_the_answer_is_stored_and_its_numbers_are_taken(
    services: Services, vault: Vault, tap: Tap
) -> None:
    collection = vault.create_collection("left", embedder="none", dimension=DIMENSION, expected_size=1)
    rows = unit(100)

    def requests(part: np.ndarray) -> Iterator[pb.IngestRequest]:
        yield pb.IngestRequest(header=pb.IngestHeader(collection=collection.name))
        yield pb.IngestRequest(vectors=pb.VectorBlock(values=part.tobytes(), dimension=DIMENSION))

    with (
        grpc.insecure_channel(services.address()) as channel,
        storage.Client(services.address("storage")) as stored,
    ):
        stub = keyholder_pb2_grpc.KeyholderServiceStub(channel)
        for start in range(0, len(rows), 20):
            before = stored.stub.GetStatus(storage_pb2.GetStatusRequest()).items
            with tap.silence_after(20_000):  # in the middle of the append, which is larger than all before
                left = stub.Ingest(requests(rows[start : start + 10]))
                wait_until(
                    lambda before=before: (
                        stored.stub.GetStatus(storage_pb2.GetStatusRequest()).items > before
                    ),
                    what="a commit that nobody was told of",
                )
                left.cancel()
            list(stub.Ingest(requests(rows[start + 10 : start + 20])))
    for row in (0, 15, 99):
        assert collection.search_vectors(rows[row], k=1).results[0][0].id == str(row)
    assert collection.delete([str(row) for row in range(100)]).deleted == 100


def test_what_storage_kept_although_its_answer_was_lost_is_found(
    services: Services, vault: Vault, tap: Tap
) -> None:
    collection = vault.create_collection("lost answer", embedder="none", dimension=DIMENSION)
    rows = unit(20)
    collection.ingest_vectors(rows[:10])
    with (
        storage.Client(services.address("storage")) as stored,
        ThreadPoolExecutor(1) as executor,
        tap.silence_after(20_000, for_ever=True),
    ):
        before = stored.stub.GetStatus(storage_pb2.GetStatusRequest()).items
        ingest = executor.submit(collection.ingest_vectors, rows[10:])
        wait_until(
            lambda: stored.stub.GetStatus(storage_pb2.GetStatusRequest()).items > before,
            what="a commit that nobody was told of",
        )
        services["storage"].kill()
        with pytest.raises(Unavailable):
            ingest.result(60)
    services["storage"].start()
    assert collection.search_vectors(rows[13], k=1).results[0][0].id == "13"
    assert len(collection.search_vectors(rows[0], k=99).results[0]) == 20


# --- owners that know nothing of each other ---------------------------------------------------------


@pytest.fixture(scope="module")
def neighbour(services: Services) -> Iterator[Process]:
    """Another owner's keyholder at the same storage and evaluator."""
    settings = services.keyholder_settings("neighbour")
    process = Process("keyholder", settings, services.folder / "neighbour.log")
    try:
        process.start()
        yield process
    finally:
        process.stop()


def test_two_owners_share_the_services_and_see_nothing_of_each_other(
    services: Services, vault: Vault, neighbour: Process
) -> None:
    mine = vault.create_collection("the same name", embedder="none", dimension=DIMENSION)
    only_mine = vault.create_collection("only mine", embedder="none", dimension=DIMENSION)
    rows = unit(60)
    mine.ingest_vectors(rows[:30], [f"mine {row}" for row in range(30)])
    with blindsight.connect(neighbour.address) as other:
        assert other.collections() == []
        theirs = other.create_collection("the same name", embedder="none", dimension=DIMENSION)
        theirs.ingest_vectors(rows[30:], [f"theirs {row}" for row in range(30)])
        assert [about.name for about in other.collections()] == ["the same name"]
        for row in (0, 29):
            assert mine.search_vectors(rows[row], k=1).results[0][0].id == f"mine {row}"
            assert theirs.search_vectors(rows[30 + row], k=1).results[0][0].id == f"theirs {row}"
        assert len(theirs.search_vectors(rows[0], k=100).results[0]) == 30
        for call in (
            lambda: other.delete_collection(only_mine.name),
            lambda: other.collection(only_mine.name).search_vectors(rows[:1]),
        ):
            with pytest.raises(NotFound, match="only mine"):
                call()
        assert other.status().key_id != vault.status().key_id
        other.delete_collection("the same name")
        assert other.collections() == []
    assert mine.search_vectors(rows[7], k=1).results[0][0].id == "mine 7"


def fencing_token(services: Services, key_id: bytes) -> int:
    """With which the keyholder of a key set writes."""
    with closing(sqlite3.connect(services.folder / "storage" / "storage.sqlite3")) as db:
        query = "SELECT fencing_token FROM leases WHERE key_id = ?"
        return int(db.execute(query, (key_id,)).fetchone()[0])


def test_a_ciphertext_of_another_key_is_refused_by_storage_and_by_the_evaluator(
    services: Services, vault: Vault
) -> None:
    name = "refuses strangers"
    vault.create_collection(name, embedder="none", dimension=DIMENSION).ingest_vectors(unit(3))
    stranger = evaluator.Owner(1)
    with storage.Client(services.address("storage")) as stored:
        key_id = bytes.fromhex(vault.status().key_id)
        listed = stored.stub.ListCollections(storage_pb2.ListCollectionsRequest()).collections
        record = next(one for one in listed if one.key_id == key_id and one.items == 3)
        layout = collection_layout((record.dimension,), CKKS_4096.ring_degree, record.stride)
        block = stranger.batch(layout, Placement(Region.TAIL, 0, 3, 1), unit(1).astype(np.float64))
        item = storage.AppendItem(storage.identifier("stranger"))
        header = storage.AppendHeader(
            collection_id=record.collection_id,
            batch_id=storage.identifier("strange batch"),
            expected_sequence=record.sequence,
            batches=(
                storage.BatchHeader(
                    record.sequence + 1, storage.TAIL_0, 3, 1, len(block), storage.sha256(block)
                ),
            ),
            link=replace(storage.link_to(record.sequence + 1), previous=record.chain),
            fencing_token=fencing_token(services, key_id),
        )
        append = storage.Append(header, (item,), (block,), (b"",))
        assert refusal(lambda: stored.append(append))[:2] == INVALID_CIPHERTEXT
    with evaluator.Client(services.address("evaluator")) as scoring:
        query = stranger.query(layout, unit(1).astype(np.float64))
        asked = evaluator.requests(record.collection_id, query, minimum_sequence=record.sequence)
        assert refusal(lambda: scoring.stub.Score(asked, timeout=60))[:2] == INVALID_CIPHERTEXT
    hits = vault.collection(name).search_vectors(unit(1), k=9).results[0]
    assert {hit.id for hit in hits} == {"0", "1", "2"}


def test_a_second_keyholder_in_the_same_folder_is_refused(services: Services) -> None:
    line = failed_start("keyholder", services["keyholder"].environment)
    assert "another keyholder is using" in line


# --- what every server answers ------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["keyholder", "evaluator", "storage"])
def test_every_server_answers_health_checks_and_describes_itself(services: Services, name: str) -> None:
    service = f"blindsight.{name}.v1.{name.title()}Service"
    with grpc.insecure_channel(services.address(name)) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        for asked in ("", service):
            answer = health.Check(health_pb2.HealthCheckRequest(service=asked), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        described = ProtoReflectionDescriptorDatabase(channel)
        assert service in described.get_services()
        methods = {method.name for method in described.FindFileContainingSymbol(service).service[0].method}
        assert "GetStatus" in methods
        assert not [method for method in methods if "decrypt" in method.lower()]


def test_health_is_answered_by_every_server_during_a_long_search(services: Services, vault: Vault) -> None:
    rows = unit(250)
    collection = vault.create_collection("long", embedder="none", dimension=DIMENSION)
    collection.ingest_vectors(rows)
    names = ("keyholder", "evaluator", "storage")
    channels = [grpc.insecure_channel(services.address(name)) for name in names]
    answered = 0
    with ThreadPoolExecutor(1) as executor:
        search = executor.submit(collection.search_vectors, rows, 1)
        while not search.done():
            for channel in channels:
                health = health_pb2_grpc.HealthStub(channel)
                answer = health.Check(health_pb2.HealthCheckRequest(), timeout=20)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            answered += 1
    for channel in channels:
        channel.close()
    assert [hits[0].id for hits in search.result().results] == [str(row) for row in range(250)]
    assert answered >= 20


def test_no_service_met_anything_unexpected(services: Services) -> None:
    for name in ("keyholder", "evaluator", "storage"):
        assert "Traceback" not in (services.folder / f"{name}.log").read_text()
