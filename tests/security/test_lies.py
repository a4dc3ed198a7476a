"""Services that lie: whatever the evaluator answers and storage gives back, a wrong answer is none.

Real services, with relays between them that change what one of them says.  Every lie is noticed before
anything is ranked or looked up, leaves an alarm, and the next search of an honest service is right.
"""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import pytest
from support.command import run_here
from support.lying import EVALUATOR, LOG, STORAGE, World, lying_services, refused
from support.photos import encoded, photo

from blindsight.client import Collection
from blindsight.errors import BlindsightError, DataLoss, Unavailable
from blindsight.parameters import PARAMETER_SETS, ParameterSet
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime.transfer import digest

SCORE = "/blindsight.evaluator.v1.EvaluatorService/Score"
COMPARE = "/blindsight.evaluator.v1.EvaluatorService/CompareAll"
BATCHES = "/blindsight.storage.v1.StorageService/ReadBatches"
DIMENSION = 8
RNG = np.random.default_rng(11)
# The attack learnt from each; BLINDSIGHT_TEST_ROUNDS sets how many are tried.
FORGED = int(os.environ.get("BLINDSIGHT_TEST_ROUNDS", "50"))
VECTORS = RNG.normal(size=(5000, DIMENSION)).astype(np.float32)
SETS = {name: one for name, one in PARAMETER_SETS.items() if name != "bfv-8192"}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with lying_services(tmp_path_factory.mktemp("lies"), World) as services:
        yield services


@pytest.fixture
def honest(world: World) -> Iterator[World]:
    """The services, which tell the truth again at the end."""
    yield world
    world.tell_the_truth()


@pytest.mark.parametrize("version", ["", "1.0\x1b[2J", "[red]1.0", "1.0 " * 1000, "1.0\n"], ids=repr)
@pytest.mark.parametrize("way", [EVALUATOR, STORAGE], ids=lambda way: way[1])
def test_a_version_that_is_none_is_not_shown(honest: World, way: tuple[str, str], version: str) -> None:
    made = pb if way == EVALUATOR else storage_pb2
    method = f"/blindsight.{way[1]}.v1.{way[1].capitalize()}Service/GetStatus"
    honest.lie(way, method, lambda _: [made.GetStatusResponse(version=version).SerializeToString()])
    told = {service.name: service for service in honest.vault.status().services}[way[1]]
    assert not told.reachable
    assert (told.version, told.error) == (
        "",
        f"its version is {len(version)} characters that are no version number",
    )


@pytest.fixture(scope="module", params=SETS)
def parameters(request: pytest.FixtureRequest) -> ParameterSet:
    return SETS[request.param]


@pytest.fixture(scope="module")
def collection(world: World, parameters: ParameterSet) -> Collection:
    """Segments of both regions, written in several batches."""
    return made(world, parameters, "one")


@pytest.fixture(scope="module")
def other(world: World, parameters: ParameterSet) -> Collection:
    """A collection of the same shape with other vectors."""
    return made(world, parameters, "another", VECTORS[::-1])


def made(world: World, parameters: ParameterSet, name: str, vectors: Any = VECTORS) -> Collection:
    collection = world.vault.create_collection(
        f"{name} of {parameters.name}",
        scheme=parameters.scheme.name.lower(),
        parameter_set=parameters.name,
        embedder="none",
        dimension=DIMENSION,
        expected_size=len(vectors),
    )
    for part in (vectors[:3000], vectors[3000:-3], vectors[-3:]):
        collection.ingest_vectors(np.ascontiguousarray(part))
    return collection


def best(collection: Collection, count: int = 1) -> list[str]:
    answer = collection.search_vectors(VECTORS[:count], k=1)
    return [hits[0].id for hits in answer.results]


# --- the evaluator's answers to a search ----------------------------------------------------------------


Answers = np.ndarray[Any, np.dtype[np.uint32]]


def altered(messages: list[bytes], change: Callable[[list[Answers]], None]) -> list[bytes]:
    """Changes the residues of all results of a search, [segments, queries, fields, primes, size] each."""
    parsed = [pb.ScoreResponse.FromString(message) for message in messages]
    results = [one.result for one in parsed if one.WhichOneof("part") == "result"]
    arrays = [
        np.frombuffer(one.answers, "<u4").reshape(len(one.segments), one.queries, -1).copy()
        for one in results
    ]
    change(arrays)
    for one, array in zip(results, arrays, strict=True):
        one.answers = array.tobytes()
    return [one.SerializeToString() for one in parsed]


def first_residue(arrays: list[Answers]) -> None:
    arrays[0][0, 0, 0] ^= 1


def last_residue(arrays: list[Answers]) -> None:
    arrays[-1][-1, -1, -1] ^= 1


def zeros(arrays: list[Answers]) -> None:
    for array in arrays:
        array[:] = 0


def a_segment_of_zeros(arrays: list[Answers]) -> None:
    arrays[0][0] = 0


def exchanged_segments(arrays: list[Answers]) -> None:
    # Of one region: those of the other have another size.
    array = max(arrays, key=len)
    array[[0, 1]] = array[[1, 0]]


def exchanged_queries(arrays: list[Answers]) -> None:
    for array in arrays:
        array[:, [0, 1]] = array[:, [1, 0]]


def exchanged_points(arrays: list[Answers]) -> None:
    arrays[0][0, 0, [0, 1]] = arrays[0][0, 0, [1, 0]]


def a_bare_number(arrays: list[Answers]) -> None:
    for array in arrays:
        array[:] = 12345


LIES = {
    "the first residue by one": first_residue,
    "the last residue of the last prime by one": last_residue,
    "zeros": zeros,
    "a segment of zeros": a_segment_of_zeros,
    "two segments exchanged": exchanged_segments,
    "two queries exchanged": exchanged_queries,
    "two points exchanged": exchanged_points,
    "a bare number": a_bare_number,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_changed_answer_to_a_search_is_none(honest: World, collection: Collection, lie: str) -> None:
    honest.lie(EVALUATOR, SCORE, lambda messages: altered(messages, LIES[lie]))
    said = refused(honest, lambda: best(collection, 2))
    assert "not that of the vectors that were stored" in said
    honest.tell_the_truth()
    assert best(collection, 2) == ["0", "1"]


def test_a_lie_in_one_prime_alone_is_noticed(
    honest: World, collection: Collection, parameters: ParameterSet
) -> None:
    for row in range(len(parameters.primes)):

        def lie(arrays: list[Answers], row: int = row) -> None:
            for array in arrays:
                by_prime = array.reshape(*array.shape[:2], len(parameters.primes), -1)
                prime = np.uint32(parameters.primes[row])
                by_prime[:, :, row] = (by_prime[:, :, row] + np.uint32(1)) % prime

        honest.lie(EVALUATOR, SCORE, lambda messages, lie=lie: altered(messages, lie))
        refused(honest, lambda: best(collection))
    honest.tell_the_truth()
    assert best(collection) == ["0"]


def test_the_answer_to_an_earlier_query_is_none(honest: World, collection: Collection) -> None:
    kept: list[list[bytes]] = []

    def keep(messages: list[bytes]) -> list[bytes]:
        kept.append(messages)
        return messages

    honest.lie(EVALUATOR, SCORE, keep)
    assert best(collection) == ["0"]
    honest.lie(EVALUATOR, SCORE, lambda _: kept[0])
    refused(honest, lambda: best(collection))


def test_the_answer_of_another_collection_is_none(
    honest: World, collection: Collection, other: Collection
) -> None:
    kept: list[list[bytes]] = []

    def keep(messages: list[bytes]) -> list[bytes]:
        kept.append(messages)
        return messages

    honest.lie(EVALUATOR, SCORE, keep)
    other.search_vectors(VECTORS[:1], k=1)

    def exchange(messages: list[bytes]) -> list[bytes]:
        return [messages[0], *kept[0][1:]]  # the plan is this collection's

    honest.lie(EVALUATOR, SCORE, exchange)
    refused(honest, lambda: best(collection))


def without_a_result(messages: list[bytes]) -> list[bytes]:
    place = next(
        index
        for index, message in enumerate(messages)
        if pb.ScoreResponse.FromString(message).WhichOneof("part") == "result"
    )
    return messages[:place] + messages[place + 1 :]


def with_a_result_twice(messages: list[bytes]) -> list[bytes]:
    place = len(messages) - 2
    return [*messages[: place + 1], *messages[place:]]


def fewer_segments(messages: list[bytes]) -> list[bytes]:
    """A plan that has a segment less, and an answer that leaves it out."""
    parsed = [pb.ScoreResponse.FromString(message) for message in messages]
    parsed[0].plan.main_segments -= 1
    result = next(one.result for one in parsed if one.result.region == pb.REGION_MAIN)
    size = len(result.answers) // len(result.segments)
    del result.segments[-1]
    result.answers = result.answers[:-size]
    return [one.SerializeToString() for one in parsed]


@pytest.mark.parametrize("lie", [without_a_result, with_a_result_twice, fewer_segments])
def test_an_answer_with_more_or_less_than_all_segments_is_none(
    honest: World, collection: Collection, lie: Callable[[list[bytes]], list[bytes]]
) -> None:
    honest.lie(EVALUATOR, SCORE, lie)
    refused(honest, lambda: best(collection))
    honest.tell_the_truth()
    assert best(collection) == ["0"]


def test_an_old_gallery_that_says_it_is_new_is_none(honest: World, parameters: ParameterSet) -> None:
    collection = made(honest, parameters, "grown")
    assert best(collection) == ["0"]
    scores = [call for call in honest.relays[EVALUATOR].calls if call.method.endswith("/Score")]
    before = scores[-1].answered
    # Before the plan it may say how far the gallery is.
    assert any(pb.ScoreResponse.FromString(message).plan.sequence for message in before)
    # Its log goes on, but the evaluator is not told of the batch.
    honest.lie(LOG, BATCHES, without_batches)
    collection.ingest_vectors(RNG.normal(size=(3, DIMENSION)).astype(np.float32))
    refused(honest, lambda: best(collection))
    honest.tell_the_truth()
    assert best(collection) == ["0"]


def without_batches(messages: list[bytes]) -> list[bytes]:
    log = storage_pb2.ReadBatchesResponse.FromString(messages[0])
    log.log.batches = log.log.size_bytes = 0
    return [log.SerializeToString()]


# --- verification -----------------------------------------------------------------------------------------


def test_an_item_is_not_verified_by_a_lie(honest: World, collection: Collection) -> None:
    honest.lie(EVALUATOR, SCORE, lambda messages: altered(messages, a_bare_number))
    refused(honest, lambda: collection.verify("0", VECTORS[1]))
    honest.tell_the_truth()
    assert not collection.verify("0", VECTORS[1]).verified
    assert collection.verify("0", VECTORS[0]).verified


def compared(change: Callable[[Answers], None]) -> Callable[[list[bytes]], list[bytes]]:
    def lie(messages: list[bytes]) -> list[bytes]:
        parsed = [pb.CompareAllResponse.FromString(message) for message in messages]
        for one in parsed:
            if one.WhichOneof("part") == "result":
                words = np.frombuffer(one.result.answers, "<u4").copy()
                change(words)
                one.result.answers = words.tobytes()
        return [one.SerializeToString() for one in parsed]

    return lie


def pair_of_one_number(words: Answers) -> None:
    words[:] = 1 << 20


def pair_of_zeros(words: Answers) -> None:
    words[:] = 0


def pair_by_one(words: Answers) -> None:
    words[-1] ^= 1


@pytest.mark.parametrize("lie", [pair_of_one_number, pair_of_zeros, pair_by_one])
def test_a_pair_is_not_verified_by_a_lie(
    honest: World, parameters: ParameterSet, lie: Callable[[Answers], None]
) -> None:
    scheme = {"scheme": parameters.scheme.name.lower(), "parameter_set": parameters.name}
    honest.lie(EVALUATOR, COMPARE, compared(lie))
    said = refused(honest, lambda: honest.vault.verify(VECTORS[0], VECTORS[1], **scheme))
    assert "something else" in said
    honest.tell_the_truth()
    assert not honest.vault.verify(VECTORS[0], VECTORS[1], **scheme).verified
    assert honest.vault.verify(VECTORS[0], VECTORS[0], **scheme).verified


def test_the_answer_of_another_pair_is_none(honest: World) -> None:
    kept: list[list[bytes]] = []

    def keep(messages: list[bytes]) -> list[bytes]:
        kept.append(messages)
        return messages

    honest.lie(EVALUATOR, COMPARE, keep)
    assert honest.vault.verify(VECTORS[0], VECTORS[0]).verified
    honest.lie(EVALUATOR, COMPARE, lambda _: kept[0])
    refused(honest, lambda: honest.vault.verify(VECTORS[0], VECTORS[1]))


def test_keypoints_are_not_matched_by_a_lie(honest: World) -> None:
    small = encoded(photo("coffee", 160))
    honest.lie(EVALUATOR, COMPARE, compared(pair_by_one))
    refused(honest, lambda: honest.vault.match(small, small, encrypted=True))


# --- storage ----------------------------------------------------------------------------------------------


def with_changed_batch(change: Callable[[bytearray], None]) -> Callable[[list[bytes]], list[bytes]]:
    """Changes the block of the first batch, and everything by which its reader would notice bad bytes."""

    def lie(messages: list[bytes]) -> list[bytes]:
        parsed = [storage_pb2.ReadBatchesResponse.FromString(message) for message in messages]
        places = [index for index, one in enumerate(parsed) if one.WhichOneof("part") == "batch"]
        if not places:
            return messages
        start = places[0] + 1
        stop = places[1] if len(places) > 1 else len(parsed)
        block = bytearray(b"".join(one.chunk for one in parsed[start:stop]))
        change(block)
        parsed[places[0]].batch.block_sha256 = digest(bytes(block))
        at = 0
        for one in parsed[start:stop]:
            size = len(one.chunk)
            one.chunk = bytes(block[at : at + size])
            at += size
        return [one.SerializeToString() for one in parsed]

    return lie


def a_residue(block: bytearray) -> None:
    block[32] ^= 1


def the_seed(block: bytearray) -> None:
    block[-60] ^= 1


def the_tag(block: bytearray) -> None:
    block[-1] ^= 1


@pytest.mark.parametrize("change", [a_residue, the_seed])
def test_a_gallery_of_changed_batches_answers_nothing(
    honest: World, parameters: ParameterSet, change: Callable[[bytearray], None]
) -> None:
    """A seed tells the evaluator nothing, so a changed one does no harm there."""
    honest.lie(LOG, BATCHES, with_changed_batch(change))
    collection = made(honest, parameters, f"changed by {change.__name__}")
    if change is the_seed:
        assert best(collection) == ["0"]
        return
    refused(honest, lambda: best(collection))
    honest.tell_the_truth()
    assert best(collection) == ["0"]


@pytest.mark.parametrize("change", [a_residue, the_seed, the_tag])
def test_a_keyholder_that_reads_its_log_again_believes_no_changed_batch(
    honest: World, collection: Collection, change: Callable[[bytearray], None]
) -> None:
    honest.restart_keyholder(forgetful=True)
    honest.lie(STORAGE, BATCHES, with_changed_batch(change))
    said = refused(honest, lambda: best(collection))
    assert "not the one that was written" in said
    honest.tell_the_truth()
    assert best(collection) == ["0"]


def test_a_batch_in_the_place_of_another_is_not_believed(honest: World, collection: Collection) -> None:
    """A log that is whole, in which two batches of the same segment have changed places."""

    def lie(messages: list[bytes]) -> list[bytes]:
        parsed = [storage_pb2.ReadBatchesResponse.FromString(message) for message in messages]
        places = [index for index, one in enumerate(parsed) if one.WhichOneof("part") == "batch"]
        same = [
            (first, second)
            for first, second in itertools.pairwise(places)
            if parsed[first].batch.block_size_bytes == parsed[second].batch.block_size_bytes
        ]
        (first, second), *_ = same
        third = next((index for index in places if index > second), len(parsed))
        blocks = parsed[first + 1 : second], parsed[second + 1 : third]
        sums = parsed[first].batch.block_sha256, parsed[second].batch.block_sha256
        parsed[first].batch.block_sha256, parsed[second].batch.block_sha256 = sums[::-1]
        order = [*parsed[: first + 1], *blocks[1], parsed[second], *blocks[0], *parsed[third:]]
        return [one.SerializeToString() for one in order]

    honest.restart_keyholder(forgetful=True)
    honest.lie(STORAGE, BATCHES, lie)
    refused(honest, lambda: best(collection))
    honest.tell_the_truth()
    assert best(collection) == ["0"]


def test_a_repack_believes_no_changed_batch_and_loses_nothing(
    honest: World, parameters: ParameterSet
) -> None:
    collection = made(honest, parameters, "to be repacked")
    collection.delete(["7"])
    honest.lie(STORAGE, BATCHES, with_changed_batch(a_residue))
    with pytest.raises(DataLoss):
        collection.repack()
    honest.tell_the_truth()
    collection.repack()
    assert best(collection, 2) == ["0", "1"]


# --- what is told -----------------------------------------------------------------------------------------


def test_a_lie_is_an_exit_code_of_its_own_and_a_line_of_status(
    honest: World, collection: Collection, tmp_path: Any
) -> None:
    queries = tmp_path / "queries.npy"
    np.save(queries, VECTORS[:1])
    address = ("--address", honest.services.address())

    def search() -> Any:
        return run_here("search", collection.name, "--vectors", str(queries), *address)

    honest.lie(EVALUATOR, SCORE, lambda messages: altered(messages, zeros))
    found = search()
    assert found.returncode == 3
    assert len(found.stderr.splitlines()) == 1
    assert collection.name in run_here("status", *address).stdout
    log = (honest.services.folder / "keyholder.log").read_text()
    assert any("answer_refused" in line and collection.name in line for line in log.splitlines())
    honest.tell_the_truth()
    assert search().returncode == 0


# --- the key ----------------------------------------------------------------------------------------------


def test_forged_answers_teach_nothing_about_a_key(honest: World, parameters: ParameterSet) -> None:
    """The attack that a product of three polynomials allowed: answers of the attacker's own choice.

    There, what the keyholder looked up afterwards told which coefficients of a key were which: eight of a
    key's 4,096 at every search.  Here every forged answer is refused, and nothing is looked up.
    """
    collection = honest.vault.create_collection(
        f"attacked, {parameters.name}",
        scheme=parameters.scheme.name.lower(),
        parameter_set=parameters.name,
        embedder="none",
        dimension=DIMENSION,
        expected_size=500,
    )
    collection.ingest_vectors(VECTORS[:500])
    forged = np.random.default_rng(5)

    def forge(arrays: list[Answers]) -> None:
        for array in arrays:
            array[:] = forged.integers(0, min(parameters.primes), array.shape, np.uint32)

    assert [hits[0].id for hits in collection.search_vectors(VECTORS[:1], k=5).results] == ["0"]
    honest.lie(EVALUATOR, SCORE, lambda messages: altered(messages, forge))
    before = honest.looked_up()
    noticed = 0
    for _ in range(FORGED):
        with pytest.raises(BlindsightError) as caught:
            collection.search_vectors(VECTORS[:1], k=5)
        noticed += isinstance(caught.value, DataLoss)
    assert noticed == FORGED
    assert honest.looked_up() == before
    honest.tell_the_truth()
    assert best(collection) == ["0"]


# --- storage's records of collections -------------------------------------------------------------------

LIST, GET = (f"/blindsight.storage.v1.StorageService/{name}" for name in ("ListCollections", "GetCollection"))


@pytest.fixture(scope="module")
def pair(world: World) -> tuple[Collection, Collection]:
    """Two small collections."""
    both = [
        world.vault.create_collection(name, embedder="none", dimension=DIMENSION)
        for name in ("left", "right")
    ]
    for one in both:
        one.ingest_vectors(VECTORS[:20])
    return both[0], both[1]


def records_lie(world: World, change: Callable[[dict[bytes, storage_pb2.Collection]], None]) -> None:
    """Changes storage's records, by id in the order of creation; the keyholder has not read them yet."""

    def changed(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        for data in answers:
            if method == LIST:
                listed = storage_pb2.ListCollectionsResponse.FromString(data)
                change({one.collection_id: one for one in listed.collections})
                yield listed.SerializeToString()
            elif method == GET:
                got = storage_pb2.GetCollectionResponse.FromString(data)
                change({got.collection.collection_id: got.collection})
                yield got.SerializeToString()
            else:
                yield data

    world.relays[STORAGE].change = changed
    world.restart_keyholder(forgetful=False)


def ids_of(world: World) -> dict[str, bytes]:
    """The ids of collections by name, of which storage knows only the order of creation."""
    calls = [call for call in world.relays[STORAGE].calls if call.method == LIST and call.answered]
    listed = storage_pb2.ListCollectionsResponse.FromString(calls[-1].answered[0]).collections
    named = sorted(world.vault.collections(), key=lambda one: one.created)
    assert len(named) == len(listed)
    return {one.name: record.collection_id for one, record in zip(named, listed, strict=True)}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dimension", DIMENSION - 1),
        ("dimension", DIMENSION + 1),
        ("dimension", 1),
        ("stride", 1),
        ("stride", 4096),
        ("parameter_set", "bfv-4096"),
        ("parameter_set", "paillier-3072"),
        ("parameter_set", "\x1b[2J"),
    ],
)
def test_another_encryption_than_the_owners_is_refused_and_told(
    honest: World, pair: tuple[Collection, Collection], field: str, value: Any
) -> None:
    left, right = pair
    honest.vault.collections()
    wanted = ids_of(honest)["left"]

    def lie(records: dict[bytes, storage_pb2.Collection]) -> None:
        if wanted in records:
            setattr(records[wanted], field, value)

    records_lie(honest, lie)
    said = refused(honest, lambda: best(left))
    assert "for collection 'left', want" in said
    assert said.isprintable()
    refused(honest, lambda: left.verify("3", VECTORS[3]))
    refused(honest, lambda: left.ingest_vectors(VECTORS[:1], ["late"]))
    assert best(right) == ["0"]
    told = {one.name: one.damage for one in honest.vault.status().collections}
    assert "for collection 'left', want" in told.pop("left")
    assert set(told.values()) == {""}
    honest.tell_the_truth()
    assert best(left) == ["0"]
    assert not any(one.damage for one in honest.vault.collections())


def test_settings_that_were_changed_stop_no_other_collection(
    honest: World, pair: tuple[Collection, Collection]
) -> None:
    left, right = pair
    honest.vault.collections()
    ids = ids_of(honest)
    sealed: dict[bytes, bytes] = {}

    def lie(records: dict[bytes, storage_pb2.Collection]) -> None:
        sealed.update((key, one.sealed_config) for key, one in records.items() if key not in sealed)
        if ids["left"] in records and ids["right"] in sealed:
            records[ids["left"]].sealed_config = sealed[ids["right"]]

    records_lie(honest, lie)
    assert "settings" in refused(honest, lambda: best(left))
    assert best(right) == ["0"]
    names = {one.name for one in honest.vault.collections()}
    assert "right" in names
    assert "left" not in names
    assert "settings of 1 collection" in honest.alarm()
    honest.tell_the_truth()
    assert best(left) == ["0"]


def test_exchanged_names_are_refused(honest: World, pair: tuple[Collection, Collection]) -> None:
    left, right = pair
    honest.vault.collections()
    ids = ids_of(honest)

    def lie(records: dict[bytes, storage_pb2.Collection]) -> None:
        if ids["left"] in records and ids["right"] in records:
            one, other = records[ids["left"]], records[ids["right"]]
            one.name_tag, other.name_tag = other.name_tag, one.name_tag

    records_lie(honest, lie)
    for collection in (left, right):
        assert "changed the record" in refused(honest, lambda of=collection: best(of))
    honest.tell_the_truth()
    assert (best(left), best(right)) == (["0"], ["0"])


def test_another_history_is_refused(honest: World, pair: tuple[Collection, Collection]) -> None:
    _, right = pair

    def lie(messages: list[bytes]) -> Iterable[bytes]:
        plan, *rest = map(pb.ScoreResponse.FromString, messages)
        plan.plan.epoch += 1
        return [one.SerializeToString() for one in (plan, *rest)]

    honest.lie(EVALUATOR, SCORE, lie)
    assert "different histories" in refused(honest, lambda: best(right))
    honest.tell_the_truth()
    assert best(right) == ["0"]


def test_a_storage_that_was_set_back_is_refused_until_it_is_itself_again(honest: World) -> None:
    collection = honest.vault.create_collection("set back", embedder="none", dimension=DIMENSION)
    collection.ingest_vectors(VECTORS[:20])
    services, before = honest.services, honest.services.folder / "storage before"
    services["storage"].stop()
    shutil.copytree(services.folder / "storage", before)
    services["storage"].start()
    collection.ingest_vectors(VECTORS[20:40])
    assert best(collection) == ["0"]
    services["keyholder"].stop()
    services["storage"].stop()
    newest = services.folder / "storage newest"
    (services.folder / "storage").rename(newest)
    before.rename(services.folder / "storage")
    services["storage"].start()
    services["keyholder"].start()
    for ask in (
        lambda: best(collection),
        lambda: collection.ingest_vectors(VECTORS[40:60]),
        lambda: collection.delete(["1"]),
        lambda: collection.verify("3", VECTORS[3]),
        collection.repack,
    ):
        assert "set back" in refused(honest, ask)
    services["storage"].stop()
    shutil.rmtree(services.folder / "storage")
    newest.rename(services.folder / "storage")
    services["storage"].start()
    assert best(collection) == ["0"]
    assert collection.describe().items == 40


@pytest.mark.parametrize("others", [False, True], ids=["without end", "and then a right answer"])
def test_an_evaluator_that_is_never_ready_is_given_up(
    honest: World, pair: tuple[Collection, Collection], others: bool
) -> None:
    left, _ = pair
    ready = pb.ScoreResponse(progress=pb.PrepareResponse(batches_done=1, batches_total=2)).SerializeToString()

    def changed(method: str, answers: Iterable[bytes]) -> Iterable[bytes]:
        if method == SCORE:
            yield from itertools.repeat(ready, 300) if others else itertools.repeat(ready)
        yield from answers

    honest.relays[EVALUATOR].change = changed
    if others:
        assert best(left) == ["0"]
    else:
        with pytest.raises(Unavailable, match="ready again and again"):
            best(left)
    honest.tell_the_truth()
    assert best(left) == ["0"]
