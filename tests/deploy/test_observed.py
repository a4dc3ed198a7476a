"""A real Prometheus watches the real services and a real broker: what is deployed finds its data there."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_bytes

import numpy as np
import pytest
from support.broker import Broker
from support.bulk import BulkServices
from support.certificates import Issuer
from support.dashboards import FILES, Query, load, queries
from support.photos import encoded, photo
from support.ports import free_ports
from support.prometheus import Prometheus
from support.services import wait_until

import blindsight
from blindsight.client import Collection, Vault
from blindsight.errors import BlindsightError, NotFound
from blindsight.parameters import PARAMETER_SETS
from blindsight.runtime.roles import Role

pytestmark = pytest.mark.timeout(400)

ENOUGH_SECONDS = 120
DIMENSION = 16
VECTORS = np.random.default_rng(3).normal(size=(40, DIMENSION)).astype(np.float32)
DEPLOYED = {"keyholder": 9101, "evaluator": 9102, "storage": 9103, "worker": 9104}
QUERIES = [query for file in FILES for query in queries(load(file))]


@pytest.fixture(scope="module")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="module")
def broker(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A broker with its Prometheus plugin: its URL, and the plugin's port."""
    folder, own = tmp_path_factory.mktemp("broker"), issuer.of(Role.QUEUE)
    running = Broker(folder, own / "tls.crt", own / "tls.key", vault=True)
    (port,) = free_ports(1)
    (folder / "enabled_plugins").write_text("[rabbitmq_prometheus].\n")
    configuration = folder / "rabbitmq.conf"
    here = f"prometheus.ssl.ip = 127.0.0.1\nprometheus.ssl.port = {port}"
    configuration.write_text(configuration.read_text().replace("prometheus.ssl.port = 15691", here))
    try:
        running.start()
        yield running.url, port
    finally:
        running.stop()


@pytest.fixture(scope="module")
def observed(
    issuer: Issuer, broker: tuple[str, int], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Prometheus]:
    """All of them under load, until every panel has had its data or time is up."""
    ports = dict(zip(DEPLOYED, free_ports(len(DEPLOYED)), strict=True))
    measured = {name: {"metrics_port": str(port), "metrics_tls": "true"} for name, port in ports.items()}
    of_worker = measured.pop("worker")
    folder = tmp_path_factory.mktemp("services")
    services = BulkServices(
        folder, settings=measured, queue_url=broker[0], own_keys=True, certificates=issuer
    )
    targets = {f"{name}:{DEPLOYED[name]}": port for name, port in ports.items()}
    targets["rabbitmq:15691"] = broker[1]
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), targets, issuer.of(Role.MONITOR))
    try:
        prometheus.start()
        services.start()
        services.worker(**of_worker, linger_seconds="0")
        with blindsight.connect(services.address()) as vault:
            _work(prometheus, vault)
        yield prometheus
    finally:
        prometheus.stop()
        services.stop()


def _work(prometheus: Prometheus, vault: Vault) -> None:
    """Rounds of everything that is done with a vault, so that all that is measured grows."""
    collections = [_collection(vault, name) for name in PARAMETER_SETS]
    photos = vault.create_collection("photos", embedder="pixels", dimension=64)
    detail = photo("coins").crop((0, 0, 96, 96))
    # Some are left in the queue when their collection goes, and become dead letters.
    vault.create_collection("gone", embedder="pixels", dimension=64)
    vault.collection("gone").ingest_bulk([_another_photo() for _ in range(30)])
    vault.delete_collection("gone")
    deadline = time.monotonic() + ENOUGH_SECONDS
    waiting = QUERIES
    while waiting and time.monotonic() < deadline:
        for collection in collections:
            _use(vault, collection)
        for scheme, bits in (("paillier", 2048), ("scramble", None)):
            arrays = [np.array([[1, 2]]), np.array([[3, 4]])]
            vault.combine(arrays, weights=[1, -1], scheme=scheme, key_bits=bits)
        photos.ingest([(f"{time.monotonic()}.png", encoded(photo("coins"), "PNG"))])
        photos.search(photo("coins"), k=1)
        vault.filter(detail, "box:3")
        vault.match(detail, detail, encrypted=True, octaves=1)
        photos.ingest_bulk([_another_photo(), ("empty.jpg", b"")])
        _refused(vault)
        waiting = [query for query in waiting if not prometheus.numbers(query.expression)]


def _collection(vault: Vault, parameter_set: str) -> Collection:
    scheme = PARAMETER_SETS[parameter_set].scheme.name.lower()
    return vault.create_collection(
        parameter_set, scheme=scheme, parameter_set=parameter_set, embedder="none", dimension=DIMENSION
    )


def _use(vault: Vault, collection: Collection) -> None:
    collection.ingest_vectors(np.random.default_rng().normal(size=(2, DIMENSION)))
    collection.search_vectors(VECTORS[:2], k=1)
    parameters = PARAMETER_SETS[collection.name]
    scheme = parameters.scheme.name.lower()
    vault.verify(VECTORS[0], VECTORS[1], scheme=scheme, parameter_set=parameters.name)


def _another_photo() -> tuple[str, bytes]:
    """One that is not in the collection yet."""
    image = photo("coffee").copy()
    image.putpixel((0, 0), (*token_bytes(3),))
    return "coffee.png", encoded(image, "PNG")


def _refused(vault: Vault) -> None:
    tries: list[Callable[[], object]] = [
        lambda: vault.collection("of nobody").describe(),
        lambda: vault.verify([1.0, 0.0], [0.0, 0.0]),
    ]
    for attempt in tries:
        with suppress(BlindsightError):
            attempt()
    with pytest.raises(NotFound):
        vault.collection("of nobody").search_vectors(VECTORS[:1])


@pytest.mark.parametrize("query", QUERIES, ids=lambda query: f"{query.panel} {query.expression[:60]}")
def test_every_query_of_every_panel_finds_data(observed: Prometheus, query: Query) -> None:
    assert observed.numbers(query.expression) != []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_variable_has_values_to_choose_from(observed: Prometheus, file: Path) -> None:
    for variable in load(file)["templating"]["list"]:
        if variable["type"] == "query":
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert asked is not None
            selector = re.sub(r"\$\w+", ".*", asked[1])
            values = {one.get(asked[2]) for one in observed.ask("series", **{"match[]": selector})}
            assert values - {None} != set()


def test_every_rule_that_is_recorded_works_and_has_data_for_every_parameter_set(observed: Prometheus) -> None:
    rules = observed.rules("record")
    assert len(rules) >= 22
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    for name in {rule["name"] for rule in rules}:
        assert observed.numbers(name) != [], name
    found = observed.ask("query", query="scheme_parameter_set_step:blindsight_step_seconds:p95_5m")["result"]
    seen = {(one["metric"]["step"], one["metric"]["parameter_set"]) for one in found}
    steps = ("encrypt", "score", "compare", "decrypt")
    assert seen == {(step, name) for step in steps for name in PARAMETER_SETS}


def test_every_alert_is_evaluated_says_what_to_do_and_only_those_with_a_cause_are_on(
    observed: Prometheus,
) -> None:
    # RabbitMQ counts its queues every five seconds.
    wait_until(lambda: observed.numbers('ALERTS{alertname="DeadLetters"}') == [1], what="dead letters")
    rules = observed.rules("alert")
    assert [rule for rule in rules if rule["health"] != "ok"] == []
    for rule in rules:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert set(rule["annotations"]) == {"summary", "description", "runbook"}
    on = {rule["name"] for rule in rules if rule["alerts"]}
    # The load puts messages to the dead letters; the disk is the machine's.
    assert on - {"DiskLow", "DiskNearlyFull"} == {"DeadLetters"}


def test_all_that_is_deployed_is_scraped(observed: Prometheus) -> None:
    up = {one["metric"]["job"]: one["value"][1] for one in observed.ask("query", query="up")["result"]}
    assert up == dict.fromkeys([*DEPLOYED, "rabbitmq", "rabbitmq-queues", "prometheus"], "1")
