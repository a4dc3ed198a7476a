"""All services are restarted, one after the other, under load: nobody who has a vault open sees it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from support.photos import small_photo
from support.services import Services, wait_until

import blindsight
from blindsight.client import Collection, IngestReport, Vault

DIMENSION = 32
RNG = np.random.default_rng(11)
ROWS = RNG.normal(size=(4000, DIMENSION)).astype(np.float32)
ROWS /= np.linalg.norm(ROWS, axis=1, keepdims=True)
FIRST = 400  # rows that are there from the beginning
PIECE = 7
RETRY_SECONDS = 60.0
PAUSE_SECONDS = 0.05  # of every client: the load must leave a service the processor to start on


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    patient = {"retry_seconds": str(RETRY_SECONDS)}
    settings = dict.fromkeys(("keyholder", "evaluator"), patient)
    running = Services(tmp_path_factory.mktemp("rolling"), settings=settings)
    try:
        yield running.start()
    finally:
        running.stop()


class Load:
    """Clients that never stop; each has a connection of its own and counts what it did."""

    def __init__(self, services: Services) -> None:
        self._address = services.address()
        self._clients: list[Future[object]] = []
        self._executor = ThreadPoolExecutor(8)
        self.done: dict[str, int] = {}
        self.ended = threading.Event()

    def client(self, work: Callable[[Vault], None]) -> None:
        """Does the work again and again."""
        name = work.__name__

        def run() -> None:
            with blindsight.connect(self._address, retry_seconds=RETRY_SECONDS) as vault:
                while not self.ended.is_set():
                    work(vault)
                    self.done[name] = self.done.get(name, 0) + 1
                    time.sleep(PAUSE_SECONDS)

        self.once(run)

    def once(self, work: Callable[[], object]) -> Future[object]:
        """Does work that lasts."""
        future = self._executor.submit(work)
        self._clients.append(future)
        return future

    def wait_for_more(self) -> None:
        """Returns when every client has done something since; raises what one of them raised."""
        before = dict(self.done)
        wait_until(
            lambda: (
                any(one.done() for one in self._clients)
                or all(self.done.get(name, 0) > count for name, count in before.items())
            ),
            60,
            "work of every client",
        )
        for one in self._clients:
            if one.done():
                one.result()

    def end(self) -> None:
        """Stops all; raises what one of them raised."""
        self.ended.set()
        for one in self._clients:
            one.result(90)

    def close(self) -> None:
        self.ended.set()
        self._executor.shutdown()


@pytest.fixture
def load(services: Services) -> Iterator[Load]:
    made = Load(services)
    yield made
    made.close()


@pytest.mark.timeout(300)
def test_a_rolling_restart_fails_no_request_and_loses_and_doubles_nothing(
    services: Services, vault: Vault, load: Load
) -> None:
    vectors = vault.create_collection("vectors", embedder="none", dimension=DIMENSION, expected_size=4000)
    vectors.ingest_vectors(ROWS[:FIRST], [str(row) for row in range(FIRST)])
    photos = vault.create_collection("photos", embedder="pixels", dimension=64, expected_size=1000)
    known = small_photo(0)
    known_id = photos.ingest(known).items[0].id
    written = FIRST
    made: list[str] = []

    def searches(own: Vault) -> None:
        rows = RNG.choice(FIRST, 3)
        answer = own.collection("vectors").search_vectors(ROWS[rows], k=3)
        assert [hits[0].id for hits in answer.results] == [str(row) for row in rows]

    def ingests(own: Vault) -> None:
        nonlocal written
        rows = range(written, written + PIECE)
        report = own.collection("vectors").ingest_vectors(ROWS[rows], [str(row) for row in rows])
        assert report.stored == PIECE
        written += PIECE

    def gets(own: Vault) -> None:
        assert own.collection("photos").get(known_id).data == known
        assert own.status().services[0].reachable

    def makes_and_deletes(own: Vault) -> None:
        name = f"passing {len(made)}"
        made.append(name)
        passing = own.create_collection(name, embedder="none", dimension=2)
        passing.ingest_vectors([[1.0, 0.0], [0.0, 1.0]], ["a", "b"])
        assert passing.delete(["a"]).deleted == 1
        assert passing.describe().items == 1
        own.delete_collection(name)

    sent: list[tuple[str, bytes]] = []

    def coming() -> Iterator[tuple[str, bytes]]:
        """One stream of photos that lasts through all of it."""
        while not load.ended.is_set():
            sent.append((f"{len(sent)}.png", small_photo(1 + len(sent))))
            yield sent[-1]
            time.sleep(PAUSE_SECONDS)

    def streams() -> IngestReport:
        with blindsight.connect(services.address(), retry_seconds=RETRY_SECONDS) as own:
            return own.collection("photos").ingest(coming())

    for work in (searches, ingests, gets, makes_and_deletes):
        load.client(work)
    stream = load.once(streams)
    wait_until(lambda: len(load.done) == 4 and sent, 60, "clients at work")
    for name in ("storage", "evaluator", "keyholder", "storage"):
        load.wait_for_more()
        assert services[name].stop() == 0
        services[name].start()
    load.wait_for_more()
    load.end()
    report = stream.result(0)
    assert isinstance(report, IngestReport)
    check(vectors, photos, written, sent, report)
    assert {info.name for info in vault.collections()} == {"vectors", "photos"}
    for name in ("keyholder", "evaluator", "storage"):
        log = services[name].log.read_text()
        assert not [word for word in ("Traceback", "cut_off", "overdue") if word in log], name


def check(
    vectors: Collection, photos: Collection, written: int, sent: list[tuple[str, bytes]], report: IngestReport
) -> None:
    """All that was acknowledged is there, once."""
    (hits,) = vectors.search_vectors(ROWS[:1], k=len(ROWS)).results
    assert sorted(int(hit.id) for hit in hits) == list(range(written))
    assert vectors.describe().items == written
    assert (report.stored, report.duplicates, report.rejected) == (len(sent), 0, 0)
    assert photos.describe().items == len(sent) + 1
    for (name, data), item in zip(sent, report.items, strict=True):
        original = photos.get(item.id)
        assert (original.name, original.data) == (name, data)
