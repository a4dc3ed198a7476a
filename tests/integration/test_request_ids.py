"""The services' logs: one JSON object a line, calls that are followed by their request ids, no content."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from support.bulk import BulkServices
from support.photos import small_photo
from support.services import wait_until

import blindsight
from blindsight.client import Vault
from blindsight.errors import BlindsightError, InvalidArgument, NotFound
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.runtime import request_ids

SERVICES = ("keyholder", "evaluator", "storage", "worker")
TRUSTED = ("keyholder", "worker")
CANARY = "canary-of-somebody"
VECTORS = np.array([[0.731234567, 0.682112233], [-0.391827364, 0.920044556]])
HOSTILE = ["a" * 65, "", "../../etc/passwd", "two words", '{"level":"error"}', "a_b"]


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BulkServices]:
    running = BulkServices(tmp_path_factory.mktemp("logs"))
    try:
        running.start()
        running.worker()
        yield running
    finally:
        running.stop()


@pytest.fixture
def vault(services: BulkServices) -> Iterator[Vault]:
    with blindsight.connect(services.address()) as connected:
        yield connected


def lines(folder: Path, service: str) -> list[dict[str, Any]]:
    """A service's log; fails on a line that is no JSON object."""
    text = (folder / f"{service}.log").read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]  # whole ones


def traced(services: BulkServices, request_id: str) -> dict[str, set[str]]:
    """What each service did for a request id: methods of rpcs, and events.

    The untrusted ones know it by other names, which keyholder and worker wrote down.
    """
    written = {service: lines(services.folder, service) for service in SERVICES}
    own = [line for name in TRUSTED for line in written[name] if line.get("request_id") == request_id]
    names = {request_id, *(line["call_id"] for line in own if line["event"] == "asked")}
    return {
        service: {
            line.get("method", line["event"]).rpartition("/")[2]
            for line in written[service]
            if line.get("request_id") in names
        }
        for service in SERVICES
    }


def wait_for(services: BulkServices, request_id: str, **wanted: set[str]) -> None:
    """Waits until the services have done all this under a request id: a line is written after the answer."""
    found: dict[str, set[str]] = {}

    def all_there() -> bool:
        found.update(traced(services, request_id))
        return all(names <= found[service] for service, names in wanted.items())

    try:
        wait_until(all_there)
    except AssertionError:
        raise AssertionError(f"{found}, want {wanted}") from None


def test_an_ingest_and_a_search_are_followed_through_the_three_services(
    services: BulkServices, vault: Vault
) -> None:
    collection = vault.create_collection("followed", embedder="pixels", dimension=64)
    with blindsight.request_id("trace-of-an-ingest"):
        collection.ingest([("a", small_photo(1)), ("b", small_photo(2))])
    # The evaluator fetches in the background what was ingested.
    wait_for(
        services,
        "trace-of-an-ingest",
        keyholder={"Ingest"},
        evaluator={"gallery_refreshed", "Prepare"},
        storage={"Append", "ReadBatches"},
    )
    with blindsight.request_id("trace-of-a-search"):
        collection.search(small_photo(1), k=1)
    wait_for(services, "trace-of-a-search", keyholder={"Search"}, evaluator={"Score"})


def test_a_bulk_ingest_is_followed_into_the_worker_and_storage(services: BulkServices, vault: Vault) -> None:
    collection = vault.create_collection("in bulk", embedder="pixels", dimension=64)
    with blindsight.request_id("trace-of-a-job"):
        job = collection.ingest_bulk([("c", small_photo(3))])
    assert job.wait().done == 1
    wait_for(
        services,
        "trace-of-a-job",
        keyholder={"CreateImport", "import_opened", "ReportItems"},
        worker={"batch_done"},
        storage={"Append"},
    )


def test_the_untrusted_services_are_never_told_a_callers_own_name(
    services: BulkServices, vault: Vault
) -> None:
    collection = vault.create_collection("unnamed", embedder="pixels", dimension=64)
    with blindsight.request_id("name-of-a-caller"):
        collection.ingest([("a", small_photo(4))])
        collection.search(small_photo(4), k=1)
        collection.ingest_bulk([("b", small_photo(5))]).wait()
        wait_for(services, "name-of-a-caller", storage={"Append"}, evaluator={"Score"})
    for service in SERVICES:
        told = "name-of-a-caller" in (services.folder / f"{service}.log").read_text()
        assert told == (service in TRUSTED), service
    asked = [line for name in TRUSTED for line in lines(services.folder, name) if line["event"] == "asked"]
    assert len({line["call_id"] for line in asked}) == len(asked) > 5


def test_a_call_without_a_name_has_a_random_one_and_an_error_tells_it(
    services: BulkServices, vault: Vault
) -> None:
    with pytest.raises(NotFound) as caught:
        vault.collection("none").describe()
    request_id = caught.value.metadata["request_id"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    wait_for(services, request_id, keyholder={"GetCollection"})
    found = lines(services.folder, "keyholder")
    (line,) = [one for one in found if (one["event"], one.get("request_id")) == ("rpc", request_id)]
    assert (line["code"], line["reason"], line["level"]) == ("NOT_FOUND", "NOT_FOUND", "info")


@pytest.mark.parametrize("given", HOSTILE)
def test_a_hostile_request_id_is_replaced(services: BulkServices, given: str) -> None:
    def listings() -> list[dict[str, Any]]:
        found = lines(services.folder, "keyholder")
        return [line for line in found if line.get("method", "").endswith("/ListCollections")]

    seen = len(listings())
    with grpc.insecure_channel(services.address()) as channel:
        stub = keyholder_pb2_grpc.KeyholderServiceStub(channel)
        stub.ListCollections(pb.ListCollectionsRequest(), metadata=((request_ids.KEY, given),), timeout=20)
    wait_until(lambda: len(listings()) > seen, what="a line")
    (line,) = listings()[seen:]
    assert re.fullmatch("[0-9a-f]{32}", line["request_id"])
    assert request_ids.valid(given) == ""


def test_a_request_id_that_no_service_would_take_is_refused_by_the_client() -> None:
    with pytest.raises(InvalidArgument, match="want 1 to 64 letters"), blindsight.request_id("two words"):
        pass


def without_times(written: list[dict[str, Any]]) -> str:
    """All that lines say but when and how long: any digits come by in these."""
    times = ("timestamp", "seconds")
    kept = ({key: one[key] for key in one if not key.endswith(times)} for one in written)
    return "\n".join(json.dumps(one, ensure_ascii=False) for one in kept)


def test_no_line_of_any_log_has_content(services: BulkServices, vault: Vault) -> None:
    collection = vault.create_collection(f"{CANARY} album", embedder="pixels", dimension=64)
    photo = small_photo(9)
    report = collection.ingest([(f"{CANARY} photo.png", photo), (f"{CANARY} junk.png", b"no photo at all")])
    assert (report.stored, report.rejected) == (2, 0)
    collection.ingest_bulk([(f"{CANARY} queued.png", small_photo(10)), (f"{CANARY} bad.png", b"junk")]).wait()
    hits = collection.search(photo, k=2).results[0]
    table = vault.create_collection(f"{CANARY} table", embedder="none", dimension=2)
    table.ingest_vectors(VECTORS, [f"{CANARY} {row}" for row in range(2)])
    hits += table.search_vectors(VECTORS[0] + 0.1, k=2).results[0]
    failing = (lambda: table.get(f"{CANARY} 7"), lambda: vault.collection(f"{CANARY} none").describe())
    for call in (*failing, lambda: table.ingest_vectors(VECTORS, [f"{CANARY} {row}" for row in range(2)])):
        with pytest.raises(BlindsightError):
            call()
    table.delete([f"{CANARY} 0"])
    vault.delete_collection(table.name)
    numbers = [*VECTORS.ravel(), *(hit.score for hit in hits if 0 < abs(hit.score) < 1)]
    forbidden = [CANARY, *(f"{abs(number):.6f}"[:-1] for number in numbers)]
    assert len(forbidden) > 6
    for service in SERVICES:
        text = without_times(lines(services.folder, service))
        assert not [word for word in forbidden if word in text], service


@pytest.mark.parametrize("service", SERVICES)
def test_every_line_says_when_who_and_what(services: BulkServices, service: str) -> None:
    found = lines(services.folder, service)
    assert found
    for line in found:
        assert line.keys() >= {"timestamp", "level", "service", "event"}
        assert line["service"] == service
        if line["event"] == "rpc":
            assert line.keys() >= {"method", "code", "seconds", "request_id"}
