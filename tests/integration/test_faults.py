"""Processes are killed while an owner works: what was answered stays true, and the next call works."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import psutil
import pytest
from support.photos import small_photo
from support.services import Services, wait_until

from blindsight.client import Collection, SearchAnswer, Vault
from blindsight.errors import BlindsightError, Unavailable
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc
from blindsight.runtime.transfer import digest

DIMENSION = 32
MANY = range(0, 3000, 25)
GALLERY = np.random.default_rng(3).normal(size=(3000, DIMENSION)).astype(np.float32)
GALLERY /= np.linalg.norm(GALLERY, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def services(own_services: Services) -> Services:
    """Tests here kill them."""
    return own_services


@pytest.fixture
def vectors(vault: Vault, request: pytest.FixtureRequest) -> Collection:
    """A collection that holds the gallery, searched once."""
    name = request.node.name[:100].strip()
    collection = vault.create_collection(name, embedder="none", dimension=DIMENSION, expected_size=2000)
    collection.ingest_vectors(GALLERY)
    check(collection)
    return collection


def check(collection: Collection, rows: range = range(0, 3000, 700)) -> None:
    """The answers are numpy's."""
    compare(collection.search_vectors(GALLERY[rows], k=5), rows)


def compare(answer: SearchAnswer, rows: Sequence[int]) -> None:
    bound = 2e-4
    assert len(answer.results) == len(rows)
    for row, hits in zip(rows, answer.results, strict=True):
        scores = np.sort(GALLERY @ GALLERY[row])[::-1][:5]
        assert hits[0].id == str(row)
        np.testing.assert_allclose([hit.score for hit in hits], scores, atol=bound)


def in_thread(work: Callable[[], object]) -> Future[object]:
    """Runs work beside the test, which does not wait for it; its result or error is in the future."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def busy_seconds(processes: list[psutil.Process]) -> float:
    return sum(process.cpu_times().user for process in processes)


def kill_while_working(
    processes: list[psutil.Process], victims: list[psutil.Process], work: Future[object]
) -> None:
    """kill -9 once the processes have begun to compute for the work, which must not be done yet."""
    before = busy_seconds(processes)
    wait_until(lambda: busy_seconds(processes) > before + 0.02 or work.done(), what="work of the workers")
    assert not work.done(), "the work was over before anyone could be killed"
    kill(victims)


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):  # its service has taken note of its end already
            process.kill()
            process.wait(10)


def answer_or_unavailable(work: Future[object]) -> object | None:
    try:
        return work.result(100)
    except Unavailable as error:
        assert "\n" not in str(error)  # noqa: PT017 - either is right, nothing else is
        return None


# --- workers ------------------------------------------------------------------------------------------


def test_a_keyholder_worker_killed_during_a_search_costs_at_most_that_search(
    services: Services, vault: Vault
) -> None:
    photos = [(f"{seed}.png", small_photo(seed)) for seed in range(20)]
    collection = vault.create_collection("killed while searching", embedder="pixels", dimension=64)
    collection.ingest(photos)
    workers = services["keyholder"].workers()

    def found() -> list[str]:
        return [collection.search(data, k=1).results[0][0].name for _, data in photos * 5]

    search = in_thread(found)
    kill_while_working(workers, workers[:1], search)
    answer = answer_or_unavailable(search)
    assert answer in (None, [name for name, _ in photos * 5])
    assert found() == [name for name, _ in photos * 5]
    assert workers[0].pid not in {worker.pid for worker in services["keyholder"].workers()}


def test_a_keyholder_worker_killed_during_an_ingest_loses_nothing(services: Services, vault: Vault) -> None:
    photos = [(f"{seed}.png", small_photo(seed)) for seed in range(150)]
    collection = vault.create_collection("killed while embedding", embedder="pixels", dimension=64)
    workers = services["keyholder"].workers()
    ingest = in_thread(lambda: collection.ingest(photos))
    kill_while_working(workers, workers[:1], ingest)
    answer_or_unavailable(ingest)
    assert collection.ingest(photos).rejected == 0
    assert collection.describe().items == len(photos)
    for seed in (0, 70, 149):
        (hits,) = collection.search(small_photo(seed), k=1).results
        assert (hits[0].name, hits[0].score) == (f"{seed}.png", pytest.approx(1.0, abs=1e-3))
        assert collection.get(hits[0].id).data == small_photo(seed)


def test_an_idle_worker_that_dies_is_not_missed(services: Services, vectors: Collection) -> None:
    for name in ("keyholder", "evaluator"):
        kill(services[name].workers())
    vectors.ingest_vectors(GALLERY[:3], ["a", "b", "c"])
    assert vectors.delete(["a", "b", "c"]).deleted == 3
    check(vectors)


def test_a_scorer_killed_during_a_search_costs_at_most_that_search(
    services: Services, vectors: Collection
) -> None:
    scorer = services["evaluator"].workers()[:1]
    rows = [*MANY] * 10
    search = in_thread(lambda: vectors.search_vectors(GALLERY[rows], k=5))
    # The queries are encrypted, scored and opened in groups, so the scorer has work before and after.
    kill_while_working([services["keyholder"].process()], scorer, search)
    answer = answer_or_unavailable(search)
    if answer is not None:
        compare(answer, rows)
    check(vectors)


def test_builders_killed_while_a_gallery_is_built_cost_at_most_one_search(
    services: Services, vault: Vault
) -> None:
    collection = vault.create_collection("killed while building", embedder="none", dimension=DIMENSION)
    before = cached(services)
    work = in_thread(lambda: [collection.ingest_vectors(part) for part in np.split(GALLERY, 100)])
    for _ in range(3):
        wait_until(lambda before=before: cached(services) != before, what="a segment that was built")
        before = cached(services)
        assert not work.done()
        kill(services["evaluator"].workers()[1:])
    assert work.result(100)  # an ingest does not wait for the evaluator
    check(collection)


def cached(services: Services) -> dict[Path, tuple[int, int, int]]:
    """The evaluator's files: which they are and when they were written."""
    found = {}
    for path in (services.folder / "evaluator" / "cache").rglob("*"):
        with suppress(FileNotFoundError):  # replaced just now
            about = path.stat()
            found[path] = (about.st_ino, about.st_mtime_ns, about.st_size)
    return found


# --- the evaluator ------------------------------------------------------------------------------------


def test_a_killed_evaluator_scores_the_same_gallery_again_without_building_it_or_asking_storage(
    services: Services, vectors: Collection
) -> None:
    # What an earlier test wrote may still be built in the background.
    wait_until(lambda: not any(path.suffix == ".tmp" for path in cached(services)), what="a finished build")
    before = cached(services)
    assert before
    services["evaluator"].kill()
    services["storage"].stop()
    try:
        services["evaluator"].start()
        # Names of hits come from storage, so a search without hits shows that scores do not.
        answer = vectors.search_vectors(GALLERY[:3], k=5, threshold=2.0)
        assert answer.results == [[], [], []]
        assert answer.timings.scanned_bytes > 0
    finally:
        services["storage"].start()
    check(vectors)
    assert cached(services) == before


def test_without_an_evaluator_searches_say_so_and_ingests_work(
    services: Services, vault: Vault, vectors: Collection
) -> None:
    services["evaluator"].kill()
    try:
        with pytest.raises(Unavailable, match="evaluator does not answer") as caught:
            vectors.search_vectors(GALLERY[:1])
        assert "\n" not in str(caught.value)
        assert vectors.ingest_vectors(-GALLERY[:2], ["far 0", "far 1"]).stored == 2
        assert [one.reachable for one in vault.status().services] == [True, False, True]
        vault.create_collection("made without an evaluator", embedder="none", dimension=2)
        vault.delete_collection("made without an evaluator")
    finally:
        services["evaluator"].start()
    check(vectors)
    assert [hit.id for hit in vectors.search_vectors(-GALLERY[1], k=1).results[0]] == ["far 1"]


# --- storage ------------------------------------------------------------------------------------------


def test_without_storage_every_call_that_needs_it_is_one_clear_line(
    services: Services, vault: Vault, vectors: Collection
) -> None:
    services["storage"].kill()
    try:
        calls = {
            "get": lambda: vectors.get("1"),
            "ingest": lambda: vectors.ingest_vectors(GALLERY[:1], ["late"]),
            "describe": vectors.describe,
            "delete": lambda: vectors.delete("1"),
            "create": lambda: vault.create_collection("late", embedder="none", dimension=2),
            "unknown": lambda: vault.collection("never opened").search_vectors([1.0]),
        }
        running = {name: in_thread(call) for name, call in calls.items()}
        check(vectors)  # what the evaluator has is searched, and what was found is known by its handle
        status = vault.status()
        assert {one.name: one.reachable for one in status.services} == {
            "keyholder": True,
            "evaluator": True,
            "storage": False,
        }
        assert [one.error for one in status.services if "storage does not answer" in one.error]
        for name, call in running.items():
            error = call.exception(100)
            assert isinstance(error, Unavailable), name
            assert "storage does not answer" in str(error), name
            assert "\n" not in str(error), name
    finally:
        services["storage"].start()
    check(vectors)


class Upload:
    """An ingest of photos with ids, seen message by message: which items were answered is known for sure."""

    def __init__(self, address: str, collection: str, photos: dict[str, bytes]) -> None:
        self._address = address
        self._collection = collection
        self._photos = photos
        self.answered: set[str] = set()
        self.complete = False
        self.again = True

    def run(self) -> None:
        """Sends everything; begins anew when a service was lost, as a patient client would."""
        with grpc.insecure_channel(self._address) as channel:
            stub = keyholder_pb2_grpc.KeyholderServiceStub(channel)
            while not self.complete:
                try:
                    for answer in stub.Ingest(self._requests(), timeout=100):
                        self._take(answer)
                except grpc.RpcError as error:
                    assert error.code() is grpc.StatusCode.UNAVAILABLE, error  # noqa: PT017
                if not self.again:
                    break

    def _take(self, answer: pb.IngestResponse) -> None:
        if answer.WhichOneof("part") == "item":
            assert answer.item.outcome in (pb.OUTCOME_STORED, pb.OUTCOME_DUPLICATE), answer
            self.answered.add(answer.item.id)
        self.complete = answer.WhichOneof("part") == "summary"

    def _requests(self) -> Iterator[pb.IngestRequest]:
        yield pb.IngestRequest(header=pb.IngestHeader(collection=self._collection))
        for item_id, data in self._photos.items():
            name, sha256 = f"{item_id}.png", digest(data)
            yield pb.IngestRequest(
                file=pb.FileHeader(name=name, size_bytes=len(data), sha256=sha256, id=item_id)
            )
            yield pb.IngestRequest(chunk=data)


def test_storage_killed_during_ingests_keeps_all_that_was_answered_and_nothing_by_half(
    services: Services, vault: Vault
) -> None:
    # The widest stride: a segment holds 16 photos, and so does a batch.
    collection = vault.create_collection("killed", embedder="pixels", dimension=256, expected_size=1)
    halves = [
        {f"{half}/{number}": small_photo(1000 * half + number) for number in range(120)} for half in (1, 2)
    ]
    uploads = [Upload(services.address(), collection.name, half) for half in halves]
    running = [in_thread(upload.run) for upload in uploads]

    def answered() -> set[str]:
        return uploads[0].answered | uploads[1].answered

    for enough in (1, 50, 100):
        wait_until(lambda enough=enough: len(answered()) >= enough, 60, "answers")
        services["storage"].kill()
        if enough < 100:
            services["storage"].start()
    for upload, thread in zip(uploads, running, strict=True):
        upload.again = False
        thread.result(60)  # storage stays away until both have given up
    services["storage"].start()
    photos = halves[0] | halves[1]
    assert 100 <= len(answered()) < len(photos)
    _check_items(collection, photos, answered())
    for half in halves:
        again = Upload(services.address(), collection.name, half)
        again.run()
        assert again.answered == set(half)
    _check_items(collection, photos, set(photos))
    assert collection.describe().items == len(photos)


def _check_items(collection: Collection, photos: dict[str, bytes], answered: set[str]) -> None:
    """Every answered photo is there to the byte and found; every other one is so, or not there at all."""
    found = 0
    for item_id, data in photos.items():
        try:
            original = collection.get(item_id)
        except BlindsightError:
            assert item_id not in answered
            continue
        found += 1
        assert (original.data, original.name) == (data, f"{item_id}.png")
    everything = collection.search(small_photo(0), k=10_000).results[0]
    assert len(everything) == len({hit.id for hit in everything}) == found == collection.describe().items
    for item_id in sorted(answered)[::20]:
        (hits,) = collection.search(photos[item_id], k=1).results
        assert hits[0].id == item_id
