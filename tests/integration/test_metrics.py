"""What the services measure while they work, scraped as Prometheus scrapes it."""

from __future__ import annotations

import json
import shutil
import socket
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Metric
from support.metrics import REGISTRIES, counts, samples, scrape, value
from support.photos import encoded, ingested, many, photo
from support.ports import free_ports
from support.services import Process, Services, wait_until

from blindsight.client import Collection, Vault
from blindsight.errors import InvalidArgument, InvalidVector, NotFound
from blindsight.parameters import COLLECTION_SETS, PAILLIER_3072, PARAMETER_SETS, Parameters, Scheme
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime import status
from blindsight.runtime.metrics import SHARED
from blindsight.runtime.roles import Role
from blindsight.trusted.embedders import EMBEDDERS
from blindsight.wire.tokens import TokenRole
from services.keyholder.audit.audit import NOBODY

DIMENSION = 16
GALLERY = np.random.default_rng(21).normal(size=(60, DIMENSION)).astype(np.float32)
SERVERS = {name: REGISTRIES[name] for name in ("keyholder", "evaluator", "storage")}
KEYGEN = "blindsight_keyholder_keygen_seconds"
ENCRYPT, DECRYPT = "blindsight_keyholder_encrypt_seconds", "blindsight_keyholder_decrypt_seconds"
SCORE, COMPARE = "blindsight_evaluator_score_seconds", "blindsight_evaluator_compare_all_seconds"
HANDLED, HANDLING = "grpc_server_handled_total", "grpc_server_handling_seconds"
IN_FLIGHT, ERRORS = "grpc_server_in_flight", "blindsight_rpc_errors_total"
# Of the process and the interpreter; nothing that a caller sends can reach their labels.
OF_THE_PROCESS = ("process_", "python_")


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict(zip(SERVERS, free_ports(3), strict=True))


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Services]:
    settings = {name: {"metrics_port": str(port)} for name, port in ports.items()}
    running = Services(tmp_path_factory.mktemp("metrics"), settings=settings, own_keys=True)
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture
def observed(services: Services, ports: dict[str, int]) -> Callable[[], Counter[tuple[str, str, str]]]:
    """Counts of all histograms of schemes, at all services."""
    return lambda: sum((counts(port) for port in ports.values()), Counter())


@pytest.fixture
def adds(observed: Callable[[], Counter[tuple[str, str, str]]]) -> Any:
    """Around calls: they add so much under one parameter set, and nothing under the others."""

    @contextmanager
    def check(parameters: Parameters, **expected: int) -> Iterator[None]:
        names = {"encrypt": ENCRYPT, "decrypt": DECRYPT, "score": SCORE, "compare": COMPARE}
        before = observed()
        yield
        wanted = {(names[work], *labels(parameters)): count for work, count in expected.items() if count}
        assert dict(observed() - before) == wanted

    return check


def labels(parameters: Parameters) -> tuple[str, str]:
    return parameters.scheme.name.lower(), parameters.name


def new(vault: Vault, name: str, parameters: Parameters, **settings: Any) -> Collection:
    scheme, parameter_set = labels(parameters)
    wanted = {"embedder": "none", "dimension": DIMENSION, **settings}
    return vault.create_collection(name, scheme=scheme, parameter_set=parameter_set, **wanted)


def families(registry: CollectorRegistry) -> set[str]:
    return {family.name for family in registry.collect()}


def test_keys_that_are_made_at_the_start_are_measured_once_each_and_nothing_else_is(
    observed: Callable[[], Counter[tuple[str, str, str]]],
) -> None:
    assert observed() == {(KEYGEN, *labels(one)): 1 for one in COLLECTION_SETS.values()}


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=PARAMETER_SETS)
def test_every_use_of_a_scheme_is_measured_once_under_its_own_labels(
    vault: Vault, adds: Any, parameters: Parameters
) -> None:
    scheme, parameter_set = labels(parameters)
    collection = new(vault, f"all of {parameter_set}", parameters, expected_size=1)
    with adds(parameters, encrypt=1):
        collection.ingest_vectors(GALLERY[:20])
    with adds(parameters, encrypt=1, score=1, decrypt=1):
        collection.search_vectors(GALLERY[:3], k=2)
    with adds(parameters, encrypt=3, score=3, decrypt=3):  # groups of 16 queries
        collection.search_vectors(GALLERY[:40], k=2)
    with adds(parameters, encrypt=1, compare=1, decrypt=1):
        vault.verify(GALLERY[0], GALLERY[1], scheme=scheme, parameter_set=parameter_set)
    with adds(parameters, encrypt=1, score=1, decrypt=1):
        collection.verify("7", GALLERY[7])
    collection.delete(["3", "4"])
    with adds(parameters, encrypt=1, decrypt=1):
        assert collection.repack().segments_written == 1


def test_a_query_in_the_clear_is_scored_and_decrypted_but_not_encrypted(vault: Vault, adds: Any) -> None:
    collection = new(vault, "in the clear", PAILLIER_3072)
    with adds(PAILLIER_3072, encrypt=1):
        collection.ingest_vectors(GALLERY[:20])
    with adds(PAILLIER_3072, score=3, decrypt=3):  # groups of 16 queries
        collection.search_vectors(GALLERY[:40], k=2, query_visible_to_server=True)
    collection.delete(["3", "4"])
    with adds(PAILLIER_3072, encrypt=1, decrypt=1):
        assert collection.repack().segments_written == 1


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=PARAMETER_SETS)
def test_photos_and_vectors_that_are_encrypted_ahead_are_measured_block_by_block(
    vault: Vault, adds: Any, parameters: Parameters
) -> None:
    photos = new(vault, f"photos of {parameters.name}", parameters, embedder="pixels", dimension=64)
    with adds(parameters, encrypt=1):
        photos.ingest([("coins.png", encoded(photo("coins"), "PNG"))])
    with adds(parameters, encrypt=1, score=1, decrypt=1):
        photos.search(photo("coins"), k=1)
    # A group is a segment of the widest stride; the next is encrypted while storage takes the one before.
    vectors = new(vault, f"vectors of {parameters.name}", parameters, dimension=1024, expected_size=1)
    capacity = parameters.ring_degree // 1024
    with adds(parameters, encrypt=5):
        vectors.ingest_vectors(np.random.default_rng(1).normal(size=(5 * capacity, 1024)))


def test_a_service_serves_its_own_metrics_and_nobody_elses(services: Services, ports: dict[str, int]) -> None:
    shared = {family.name for metric in SHARED for family in metric.describe()}
    for name, port in ports.items():
        served = {one.name for one in scrape(port) if not one.name.startswith(OF_THE_PROCESS)}
        assert served == families(SERVERS[name]) | shared


def test_labels_hold_schemes_parameter_sets_methods_and_codes_whatever_callers_send(
    services: Services, vault: Vault, ports: dict[str, int]
) -> None:
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (InvalidArgument, lambda: vault.verify([1.0], [1.0], scheme="made up")),
        (InvalidArgument, lambda: vault.verify([1.0], [1.0], parameter_set="made-up-4096")),
        (InvalidArgument, lambda: vault.create_collection("made up", scheme="made up")),
        (NotFound, lambda: vault.collection("made up").search_vectors([1.0])),
        (InvalidVector, lambda: vault.verify([1.0], [1.0, 2.0])),
        (InvalidArgument, lambda: vault.verify(*2 * [photo("coins")], embedder="made up")),
    ]
    for error, call in refused:
        with pytest.raises(error):
            call()
    for name in ports:
        with grpc.insecure_channel(services.address(name)) as channel:
            for method in ("/made.Up/Call", "/blindsight.keyholder.v1.KeyholderService/MadeUp"):
                with pytest.raises(grpc.RpcError):
                    channel.unary_unary(method)(b"", timeout=10)
    closed = {
        "scheme": {scheme.name.lower() for scheme in Scheme},
        "parameter_set": set(COLLECTION_SETS),
        "grpc_service": set(METHODS),
        "grpc_method": {method for methods in METHODS.values() for method in methods},
        "grpc_code": {code.name for code in grpc.StatusCode},
        "reason": set(status.REASONS),
        "embedder": set(EMBEDDERS),
        "role": {role.name.lower() for role in TokenRole} | {Role.WORKER.value, NOBODY},
        "code": {code.name for code in grpc.StatusCode},
    }
    seen = {
        (name, content)
        for port in ports.values()
        for family in scrape(port)
        for name, content in _labels_of(family)
    }
    assert {name for name, _ in seen} == set(closed)
    assert [pair for pair in seen if pair[1] not in closed[pair[0]]] == []


METHODS = {
    service.full_name: set(service.methods_by_name)
    for contract in (pb, evaluator_pb2, storage_pb2)
    for service in contract.DESCRIPTOR.services_by_name.values()
}


def _labels_of(family: Metric) -> Iterator[tuple[str, str]]:
    if family.name.startswith(OF_THE_PROCESS):
        return
    for sample in family.samples:
        assert float(sample.labels.get("le", "inf")) > 0
        yield from ((name, content) for name, content in sample.labels.items() if name != "le")


def test_a_stream_is_measured_to_the_end_of_its_answer(vault: Vault, ports: dict[str, int]) -> None:
    def measured(method: str) -> tuple[float, float]:
        where = {"grpc_service": pb.DESCRIPTOR.services_by_name["KeyholderService"].full_name}
        return tuple(
            value(ports["keyholder"], HANDLING + suffix, grpc_method=method, **where)
            for suffix in ("_sum", "_count")
        )

    collection = new(vault, "streamed", PARAMETER_SETS["ckks-4096"])
    collection.ingest_vectors(GALLERY)
    seconds, calls = measured("Search")
    # The first hits are sent after 16 queries; the search's own account of its time comes last.
    answer = collection.search_vectors(GALLERY[:48], k=1)
    assert measured("Search")[1] == calls + 1
    assert measured("Search")[0] - seconds >= answer.timings.total_seconds
    seconds, calls = measured("Verify")
    answer = vault.verify(GALLERY[0], GALLERY[1])
    assert measured("Verify")[1] == calls + 1
    assert measured("Verify")[0] - seconds >= answer.timings.total_seconds


def test_what_a_search_of_several_groups_took_to_decrypt_is_added_up_once(
    vault: Vault, ports: dict[str, int]
) -> None:
    collection = new(vault, "decrypted", PARAMETER_SETS["ckks-4096"])
    collection.ingest_vectors(GALLERY)
    before = value(ports["keyholder"], DECRYPT + "_sum")
    answer = collection.search_vectors(GALLERY[:48], k=1)
    measured = value(ports["keyholder"], DECRYPT + "_sum") - before
    assert measured == pytest.approx(answer.timings.decrypt_busy_seconds, rel=1e-6)


def test_an_error_is_counted_once_under_the_reason_that_its_caller_sees(
    vault: Vault, ports: dict[str, int]
) -> None:
    def errors() -> Counter[tuple[str, str]]:
        seen = samples(ports["keyholder"], ERRORS)
        return Counter({(one.labels["grpc_method"], one.labels["reason"]): one.value for one in seen})

    before = errors()
    with pytest.raises(NotFound):
        vault.collection("of nobody").describe()
    with pytest.raises(InvalidVector):
        vault.verify([1.0, 0.0], [0.0, 0.0])
    assert errors() - before == {("GetCollection", "NOT_FOUND"): 1, ("Verify", "INVALID_VECTOR"): 1}


def test_a_photo_is_measured_under_its_embedder(vault: Vault, ports: dict[str, int]) -> None:
    def photos() -> dict[str, float]:
        seen = samples(ports["keyholder"], "blindsight_keyholder_embed_seconds_count")
        return {one.labels["embedder"]: one.value for one in seen}

    before = Counter(photos())
    vault.verify(photo("coins"), photo("coins"), embedder="descriptor")
    collection = vault.create_collection("measured photos", embedder="pixels", dimension=64)
    collection.ingest([("coins.png", encoded(photo("coins"), "PNG")), ("text.png", b"no photo")])
    assert Counter(photos()) - before == {"descriptor": 2, "pixels": 1}


def test_what_the_untrusted_services_keep_is_what_they_say_of_it(vault: Vault, ports: dict[str, int]) -> None:
    for one in vault.collections():
        vault.delete_collection(one.name)
    names = {
        "storage": ("collections", "items", "disk_bytes", "write_ahead_log_bytes"),
        "evaluator": ("cache_collections", "cache_segments", "cache_bytes", "cache_limit_bytes"),
    }

    def kept(service: str) -> list[float]:
        return [value(ports[service], f"blindsight_{service}_{name}") for name in names[service]]

    refreshed = value(ports["evaluator"], "blindsight_evaluator_refresh_seconds_count")
    collection = new(vault, "kept", PARAMETER_SETS["ckks-4096"])
    collection.ingest_vectors(GALLERY)
    collection.delete(["1", "2"])
    collection.search_vectors(GALLERY[:1], k=1)
    told = {one.name: one for one in vault.status().services}
    collections, items, disk, log = kept("storage")
    assert (collections, items, disk) == (1, 58, told["storage"].disk_bytes)
    assert 0 <= log < disk
    collections, segments, cached, limit = kept("evaluator")
    assert (collections, cached, limit) == (1, told["evaluator"].disk_bytes, 16 << 30)
    assert segments >= 1
    assert value(ports["evaluator"], "blindsight_evaluator_refresh_seconds_count") > refreshed


def test_slots_that_the_keyholder_knows_are_not_read_again(vault: Vault, ports: dict[str, int]) -> None:
    def read() -> float:
        return value(ports["storage"], HANDLED, grpc_method="ReadSlots")

    collection = new(vault, "known", PARAMETER_SETS["ckks-4096"])
    before = read()
    collection.ingest_vectors(GALLERY)
    collection.delete(["1", "2"])
    assert collection.describe().items == len(GALLERY) - 2
    collection.search_vectors(GALLERY[:1], k=1)
    assert read() == before


@pytest.mark.parametrize("name", SERVERS)
def test_a_service_tells_what_it_and_its_workers_take_of_the_machine(
    services: Services, ports: dict[str, int], name: str
) -> None:
    disk = shutil.disk_usage(services.folder)
    assert value(ports[name], "blindsight_disk_bytes") == disk.total
    assert 0 < value(ports[name], "blindsight_disk_free_bytes") < disk.total
    family = [services[name].process(), *services[name].process().children(recursive=True)]
    assert value(ports[name], "blindsight_memory_bytes") <= sum(one.memory_info().rss for one in family)
    alone = value(ports[name], "process_cpu_seconds_total")
    workers = sum(sum(one.cpu_times()[:2]) for one in family[1:])
    assert value(ports[name], "blindsight_cpu_seconds_total") >= alone + workers - 0.1  # of ticks, rounded


def test_idle_connections_cost_no_threads_and_keep_no_scrape_waiting_for_long(
    services: Services, ports: dict[str, int]
) -> None:
    process = services["storage"].process()
    scrape(ports["storage"])
    threads = process.num_threads()
    with ExitStack() as idle:
        silent = [
            idle.enter_context(socket.create_connection(("127.0.0.1", ports["storage"]))) for _ in range(4)
        ]
        slow = idle.enter_context(socket.create_connection(("127.0.0.1", ports["storage"])))
        slow.sendall(b"GET /metrics HT")
        assert value(ports["storage"], "process_open_fds") > 0  # after those before it were given up
        assert process.num_threads() <= threads
        assert [one.recv(1) for one in silent] == [b""] * len(silent)


def test_metrics_are_served_at_the_address_that_a_setting_names(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    settings = {"data": str(tmp_path / "data"), "metrics_port": str(port), "metrics_host": "127.0.0.2"}
    storage = Process("storage", settings, tmp_path / "log")
    storage.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.2:{port}/metrics", timeout=10) as response:
            assert b"blindsight_storage_items 0.0" in response.read()
        with pytest.raises(urllib.error.URLError, match="refused"):
            scrape(port)
    finally:
        storage.stop()


def test_storage_is_asked_once_about_many_photos_of_an_import(
    services: Services, vault: Vault, ports: dict[str, int]
) -> None:
    collection = new(vault, "together", PARAMETER_SETS["ckks-4096"], embedder="pixels", dimension=64)
    files = [data for _, data in many(64)]
    asked = value(ports["storage"], HANDLED, grpc_method="GetItems")
    storage = services["storage"].process()

    def requests() -> Iterator[pb.IngestRequest]:
        yield pb.IngestRequest(header=pb.IngestHeader(collection=collection.name))
        for data in files:
            yield from ingested(data)
        storage.resume()

    storage.suspend()  # so that photos wait for its answer, however slowly they are sent
    try:
        with grpc.insecure_channel(services.address()) as channel:
            *_, last = keyholder_pb2_grpc.KeyholderServiceStub(channel).Ingest(requests(), timeout=60)
    finally:
        storage.resume()
    assert last.summary.stored == len(files)
    assert value(ports["storage"], HANDLED, grpc_method="GetItems") - asked <= len(files) / 4


def test_a_scale_space_is_measured_as_one(vault: Vault, ports: dict[str, int]) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (40, 40), np.uint8)
    vault.keypoints(pixels, octaves=1)
    name = "blindsight_evaluator_planes_seconds_count"
    assert value(ports["evaluator"], name, operation="scale_space", scheme="ckks") == 1


def test_a_search_that_its_caller_cancels_is_counted_as_cancelled_and_logged_once(
    services: Services, vault: Vault, ports: dict[str, int]
) -> None:
    port = ports["keyholder"]
    collection = new(vault, "cancelled", PARAMETER_SETS["ckks-4096"])
    collection.ingest_vectors(GALLERY)
    encrypted, ended = value(port, ENCRYPT + "_count"), value(port, HANDLED, grpc_method="Search")
    query = pb.VectorBlock(values=GALLERY[:1].tobytes(), dimension=DIMENSION)
    requests = [
        pb.SearchRequest(header=pb.SearchHeader(collection=collection.name)),
        pb.SearchRequest(vectors=query),
    ]
    evaluator = services["evaluator"].process()
    evaluator.suspend()  # so that the search cannot be over before it is cancelled
    try:
        with grpc.insecure_channel(services.address()) as channel:
            stub = keyholder_pb2_grpc.KeyholderServiceStub(channel)
            call = stub.Search(iter(requests), metadata=[("x-request-id", "cancelled-by-its-caller")])
            wait_until(lambda: value(port, ENCRYPT + "_count") > encrypted, what="a search at work")
            assert value(port, IN_FLIGHT, grpc_method="Search") == 1
            call.cancel()
            wait_until(lambda: value(port, HANDLED, grpc_method="Search") > ended, what="its end")
    finally:
        evaluator.resume()
    assert value(port, IN_FLIGHT) == 0
    (sample,) = (
        one
        for one in samples(port, HANDLED)
        if (one.labels["grpc_method"], one.labels["grpc_code"]) == ("Search", "CANCELLED")
    )
    assert sample.value == 1
    lines = [json.loads(line) for line in services["keyholder"].log.read_text().splitlines()]
    of_it = [one for one in lines if one.get("request_id") == "cancelled-by-its-caller"]
    (line,) = [one for one in of_it if one["event"] == "rpc"]
    assert (line["event"], line["code"]) == ("rpc", "CANCELLED")
    assert line["method"].endswith("/Search")
    assert collection.search_vectors(GALLERY[:1], k=1).results[0][0].id == "0"
