"""Streams that one service answers another with, cut, thinned out, doubled and altered on their way.

Every stream has a row in `ROWS`.  A real service answers, a relay changes the answer of one method, and
whoever asked must say so: DATA_LOSS or UNAVAILABLE, whatever is wrong.  Nothing may be stored, retired or
said to be found that is made of half an answer.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from PIL import Image
from support.bulk import BulkServices
from support.photos import encoded, photo
from support.relay import Relay
from support.storage import Client

import blindsight
from blindsight.client import ImportInfo, StoredPhoto, Vault
from blindsight.errors import BlindsightError, Conflict, DataLoss, Unavailable
from blindsight.rpc.evaluator.v1 import evaluator_pb2, evaluator_pb2_grpc
from blindsight.rpc.keyholder.v1 import imaging_pb2, imports_pb2, keyholder_pb2, workers_pb2
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.trusted.clients import EvaluatorClient

SERVICES = {
    service.full_name: service
    for contract in (storage_pb2, evaluator_pb2, keyholder_pb2, imports_pb2, workers_pb2, imaging_pb2)
    for service in contract.DESCRIPTOR.services_by_name.values()
}
STREAMS = {
    f"/{name}/{method.name}": method
    for name, service in SERVICES.items()
    for method in service.methods
    if method.server_streaming
}
STORAGE, EVALUATOR = "/blindsight.storage.v1.StorageService/", "/blindsight.evaluator.v1.EvaluatorService/"
KEYHOLDER = "/blindsight.keyholder.v1.KeyholderService/"
IMPORTS, IMAGING = "/blindsight.keyholder.v1.ImportService/", "/blindsight.keyholder.v1.ImagingService/"

Messages = Iterable[bytes]
Why = Mapping[str, str]

# Why some changes need not be noticed.
COMPUTED = "nobody but the evaluator knows the numbers that it computes; out of range, they are refused"
TOLD = "for people; nothing is made of it"
SAID = "nobody else says so; it stands beside what is checked"
OWN = "nobody but the keyholder knows it, and it is the owner's own"
STATES = "each message says how things are; what counts is the last"


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).integers(0, 256, shape, np.uint8)


LARGE = encoded(Image.fromarray(noise(640, 640, 3)), "PNG")  # of more than one chunk
WIDE = encoded(Image.fromarray(noise(300, 320, 3)), "PNG")  # of more than one piece of planes
GREY = encoded(Image.fromarray(noise(60, 64)), "PNG")
A, B = noise(70, 100), noise(70, 100)[::-1].copy()
SIGHTS = [(name, encoded(photo(name, 160))) for name in ("coffee", "rocket")]
VECTORS = np.random.default_rng(1).normal(size=(6, 8)).astype(np.float32)


@dataclass
class World:
    """Services with a relay on every way, and collections of every kind."""

    services: BulkServices
    relays: dict[tuple[str, str], Relay]
    vault: Vault
    watched: str = ""

    @cached_property
    def ids(self) -> dict[tuple[str, str], str]:
        made = self.vault.create_collection
        ids = {}
        for kind, photos in (
            ("album", {"large": LARGE}),
            ("planes", {"wide": WIDE, "grey": GREY}),
            ("sights", dict(SIGHTS)),
        ):
            collection = made(kind, embedder="sift" if kind == "sights" else "pixels")
            report = collection.ingest(
                list(photos.items()), planes=kind == "planes", plane_halo=2 * (kind == "planes")
            )
            ids |= {(kind, name): item.id for name, item in zip(photos, report.items, strict=True)}
        for name, scheme in (
            ("numbers", "ckks"),
            ("scattered", "ckks"),
            ("moved", "ckks"),
            ("visible", "paillier"),
        ):
            collection = made(name, scheme=scheme, embedder="none", dimension=8)
            for start in range(0, len(VECTORS), 2):
                collection.ingest_vectors(VECTORS[start : start + 2])
        for name in ("scattered", "moved"):
            self.vault.collection(name).delete("1")
        return ids

    def state(self) -> list[tuple[object, ...]]:
        """What storage has."""
        with Client(self.services.address("storage")) as client:
            listed = client.stub.ListCollections(storage_pb2.ListCollectionsRequest()).collections
        return [(one.collection_id, one.sequence, one.epoch, one.items, one.size_bytes) for one in listed]

    def forget(self, collection: str) -> None:
        """Lets the evaluator fetch a collection anew."""
        self.vault.collection(collection).describe()
        with (
            Client(self.services.address("storage")) as client,
            grpc.insecure_channel(self.services.address("evaluator")) as channel,
        ):
            stub = evaluator_pb2_grpc.EvaluatorServiceStub(channel)
            for one in client.stub.ListCollections(storage_pb2.ListCollectionsRequest()).collections:
                stub.DropCollection(evaluator_pb2.DropCollectionRequest(collection_id=one.collection_id))

    def change(self, row: Row, change: Callable[[Messages], Messages]) -> None:
        def changed(method: str, answers: Messages) -> Messages:
            return change(answers) if method == row.method else answers

        self.relays[row.way].change = changed

    def replay(self, row: Row, answer: list[bytes], change: Callable[[Messages], Messages]) -> None:
        self.relays[row.way].instead = lambda method: change(answer) if method == row.method else None

    def mend(self) -> None:
        for relay in self.relays.values():
            relay.change, relay.instead = (lambda _, answers: answers), (lambda _: None)


@dataclass(frozen=True)
class Row:
    """One stream.

    Attributes:
        way: who asks, and who answers.
        ask: asks for it, and returns what was made of the answer.
        harmless: parts of the stream of which one may be missing or doubled, and why: what is made of the
            answer must be the same then.  "" are messages without parts, "end" is the end of the stream.
        unknown: fields, or patterns of such, that nobody can check, and why.
        replay: whether one answer is recorded and then given again and again, where asking twice is another
            question, or takes long.
        writes: whether the question itself changes what storage has.
        repacks: whether the question can be asked once, as long as it is not answered well.
        again: whether what was noticed is asked for again, in parts, so that the end may be right.
    """

    method: str
    way: tuple[str, str]
    ask: Callable[[World], object]
    harmless: Why = field(default_factory=dict)
    unknown: Why = field(default_factory=dict)
    replay: bool = False
    writes: bool = False
    repacks: bool = False
    again: bool = False

    def forgives(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.unknown)

    @property
    def name(self) -> str:
        return f"{self.way[1]} {self.method.rpartition('/')[2]} for {self.way[0]}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    relays: dict[tuple[str, str], Relay] = {}

    def way(client: str, server: str, address: str) -> str:
        if (client, server) not in relays:
            relays[client, server] = Relay(address)
        return relays[client, server].address

    services = BulkServices(tmp_path_factory.mktemp("streams"), way=way)
    try:
        services.start()
        with blindsight.connect(way("SDK", "keyholder", services.address())) as vault:
            made = World(services, relays, vault)
            assert made.ids
            yield made
    finally:
        for relay in relays.values():
            relay.close()
        services.stop()


# --- questions ----------------------------------------------------------------------------------------


def plain(value: Any) -> object:
    """Something that can be compared."""
    return value.tobytes() if isinstance(value, np.ndarray) else value


def search(collection: str) -> Callable[[World], object]:
    def ask(world: World) -> object:
        visible = collection == "visible"
        found = world.vault.collection(collection).search_vectors(
            VECTORS[2:4], k=3, query_visible_to_server=visible
        )
        return [[(hit.id, round(hit.score, 3)) for hit in hits] for hits in found.results]

    return ask


def fetched_anew(collection: str) -> Callable[[World], object]:
    def ask(world: World) -> object:
        world.forget(collection)
        return search(collection)(world)

    return ask


def recognised(world: World) -> object:
    (hits,) = world.vault.collection("sights").search(SIGHTS[0][1], draw=True).results
    if damages := [hit.damage for hit in hits if hit.damage]:
        raise DataLoss(damages[0])
    return [(hit.name, hit.keypoints.inliers) for hit in hits]


def ingested(world: World) -> object:
    collection = world.vault.create_collection(f"ingested {next(NUMBERS)}", embedder="pixels", dimension=64)
    try:
        report = collection.ingest([("a", GREY), ("b", b"no picture"), ("c", GREY)])
        return [(item.outcome, item.id and "id") for item in report.items]
    finally:
        world.vault.delete_collection(collection.name)


def ingested_vectors(world: World) -> object:
    collection = world.vault.create_collection(f"ingested {next(NUMBERS)}", embedder="none", dimension=8)
    try:
        return collection.ingest_vectors(VECTORS).stored
    finally:
        world.vault.delete_collection(collection.name)


def truncated(world: World) -> object:
    collection = world.vault.create_collection(f"truncated {next(NUMBERS)}", embedder="none", dimension=8)
    collection.ingest_vectors(VECTORS)
    try:
        return collection.truncate()
    finally:
        world.vault.delete_collection(collection.name)


def submitted(world: World) -> object:
    made = world.vault.collection("album").ingest_bulk([("a", GREY), ("b", WIDE)], request_id="the same")
    return made.import_id


def watched(world: World) -> object:
    if not world.watched:
        world.watched = world.vault.collection("album").ingest_bulk([("a", GREY)]).import_id
    made = world.vault.get_import(world.watched)

    def cancel(info: ImportInfo) -> None:
        """As soon as it is seen to run: nobody works on it."""
        if not info.ended:
            made.cancel()

    return made.wait(progress=cancel).state


def prepared(world: World) -> object:
    async def ask() -> None:
        with Client(world.services.address("storage")) as client:
            listed = client.stub.ListCollections(storage_pb2.ListCollectionsRequest()).collections
        evaluator = EvaluatorClient(world.relays["keyholder", "evaluator"].address)
        try:
            await evaluator.prepare(listed[3].collection_id)
        finally:
            await evaluator.close()

    world.forget("numbers")
    return asyncio.run(ask())


def combined(world: World) -> object:
    made = world.vault.combine(
        [A[:2, :3], B[:2, :3]], weights=[2, -1], scheme="paillier", key_bits=2048, colours="grey"
    )
    return plain(made.values)


def keypoints(world: World) -> object:
    found = world.vault.keypoints(SIGHTS[0][1], octaves=1, side=96)
    return plain(found.descriptors)


def matched(world: World) -> object:
    found = world.vault.match(SIGHTS[0][1], SIGHTS[0][1], octaves=1, side=64, encrypted=True)
    return len(found.matches)


NUMBERS = itertools.count()
PROGRESS = {"progress": STATES}
TIMES = {"summary.*": TOLD}
RESULTS = {
    "result.block": COMPUTED,
    "plan.parameter_set": SAID,
    "plan.key_id": SAID,
    "plan.halo": SAID,
    **TIMES,
}
PICTURES = {"progress.*": TOLD, "result.*": OWN}
SEARCHED = {"progress.*": TOLD, "hits.*": OWN, "drawing.*": OWN, "timings.*": TOLD, "metric": TOLD}
# A deletion has no batch: how far the log goes, nothing else says.
LOG = {
    "log.sequence": SAID,
    "batch.sequence": "in order and not beyond the log",
    "batch.count": "of the last batch",
}
SIZE = {"header.planes.width": "how large a photo is, nothing but its planes says"}

ROWS = [
    # --- storage, for the keyholder (a worker asks by the same client) ---
    Row(
        STORAGE + "ReadBatches",
        ("keyholder", "storage"),
        lambda world: world.vault.collection("scattered").repack(),
        unknown={"log.size_bytes": SAID, "batch.sequence": SAID},
        repacks=True,
    ),
    Row(
        STORAGE + "ReadSlots",
        ("keyholder", "storage"),
        lambda world: world.vault.collection("numbers").repack(),
    ),
    Row(
        STORAGE + "ReadOriginal",
        ("keyholder", "storage"),
        lambda world: world.vault.collection("album").get(world.ids["album", "large"]).data,
    ),
    Row(
        STORAGE + "ReadPlanes",
        ("keyholder", "storage"),
        lambda world: plain(world.vault.collection("planes").planes(world.ids["planes", "wide"])),
        unknown=SIZE,
    ),
    Row(STORAGE + "ReadAttachments", ("keyholder", "storage"), recognised, again=True),
    # --- storage, for the evaluator ---
    Row(STORAGE + "ReadBatches", ("evaluator", "storage"), fetched_anew("numbers"), unknown=LOG),
    Row(STORAGE + "ReadBatches", ("evaluator", "storage"), search("visible"), unknown=LOG),
    Row(
        STORAGE + "ReadPlanes",
        ("evaluator", "storage"),
        lambda world: plain(
            world.vault.filter(StoredPhoto("planes", world.ids["planes", "grey"]), "gaussian:5").values
        ),
        unknown=SIZE,
    ),
    # --- the evaluator, for the keyholder ---
    Row(
        EVALUATOR + "Score",
        ("keyholder", "evaluator"),
        search("numbers"),
        PROGRESS,
        {"plan.sequence": "it may know more of the log than the keyholder", "progress.*": TOLD, **RESULTS},
    ),
    Row(EVALUATOR + "CompareAll", ("keyholder", "evaluator"), matched, unknown=RESULTS),
    Row(
        EVALUATOR + "Combine",
        ("keyholder", "evaluator"),
        combined,
        unknown={"chunk": COMPUTED, **TIMES},
    ),
    Row(
        EVALUATOR + "Transform",
        ("keyholder", "evaluator"),
        lambda world: plain(world.vault.filter(A, "gaussian:3", scheme="bfv").values),
        unknown=RESULTS,
    ),
    Row(
        EVALUATOR + "Difference",
        ("keyholder", "evaluator"),
        lambda world: plain(world.vault.diff(A, B, scheme="bfv").values),
        unknown=RESULTS,
    ),
    Row(EVALUATOR + "ScaleSpace", ("keyholder", "evaluator"), keypoints, unknown=RESULTS),
    Row(
        EVALUATOR + "Prepare",
        ("keyholder", "evaluator"),
        prepared,
        {"": STATES, "end": "nothing is said of a collection that needs no preparation"},
        {"sequence": TOLD},
    ),
    # --- the keyholder, for the SDK ---
    Row(KEYHOLDER + "Ingest", ("SDK", "keyholder"), ingested, unknown={"item.*": OWN}, writes=True),
    Row(
        KEYHOLDER + "Ingest",
        ("SDK", "keyholder"),
        ingested_vectors,
        PROGRESS,
        {"progress.*": STATES},
        writes=True,
    ),
    Row(KEYHOLDER + "Search", ("SDK", "keyholder"), search("numbers"), PROGRESS, SEARCHED, replay=True),
    Row(KEYHOLDER + "Search", ("SDK", "keyholder"), recognised, PROGRESS, SEARCHED, replay=True),
    Row(KEYHOLDER + "Combine", ("SDK", "keyholder"), combined, PROGRESS, PICTURES, replay=True),
    Row(
        KEYHOLDER + "GetOriginal",
        ("SDK", "keyholder"),
        lambda world: world.vault.collection("album").get(world.ids["album", "large"]).data,
        unknown={"header.name": OWN, "header.media_type": OWN},
        replay=True,
    ),
    Row(
        KEYHOLDER + "GetPlanes",
        ("SDK", "keyholder"),
        lambda world: plain(world.vault.collection("planes").planes(world.ids["planes", "wide"])),
        unknown={"header.name": OWN},
        replay=True,
    ),
    Row(
        KEYHOLDER + "Check",
        ("SDK", "keyholder"),
        lambda world: world.vault.collection("album").check().damaged,
        {"": STATES},
        {"*_done": STATES, "*_total": STATES, "damage*": OWN},
        replay=True,
    ),
    Row(
        KEYHOLDER + "TruncateCollection",
        ("SDK", "keyholder"),
        truncated,
        {"": STATES},
        {"items_*": STATES},
        writes=True,
    ),
    Row(
        KEYHOLDER + "Repack",
        ("SDK", "keyholder"),
        lambda world: world.vault.collection("moved").repack(),
        {"": STATES},
        {"segments_*": OWN},
        replay=True,
        writes=True,
    ),
    Row(
        IMPORTS + "CreateImport",
        ("SDK", "keyholder"),
        submitted,
        {"": STATES},
        {"job.*": "the import is asked for what became of its photos by its id"},
        replay=True,
        writes=True,
    ),
    Row(IMPORTS + "WatchImport", ("SDK", "keyholder"), watched, {"": STATES}, {"job.*": OWN}, replay=True),
    Row(
        IMAGING + "Filter",
        ("SDK", "keyholder"),
        lambda world: plain(world.vault.filter(A, "gaussian:3", scheme="bfv").values),
        PROGRESS,
        PICTURES,
        replay=True,
    ),
    Row(
        IMAGING + "Diff",
        ("SDK", "keyholder"),
        lambda world: plain(world.vault.diff(A, B, scheme="bfv", server_views=True).values),
        PROGRESS,
        PICTURES,
        replay=True,
    ),
    Row(IMAGING + "Keypoints", ("SDK", "keyholder"), keypoints, PROGRESS, PICTURES, replay=True),
    Row(IMAGING + "Match", ("SDK", "keyholder"), matched, PROGRESS, PICTURES, replay=True),
]


# --- what goes wrong ----------------------------------------------------------------------------------


def cut(at: int) -> Callable[[Messages], Messages]:
    return lambda answers: itertools.islice(answers, at)


def dropped(at: int) -> Callable[[Messages], Messages]:
    return lambda answers: (one for place, one in enumerate(answers) if place != at)


def doubled(at: int) -> Callable[[Messages], Messages]:
    return lambda answers: (one for place, one in enumerate(answers) for _ in range(1 + (place == at)))


def replaced(at: int, change: Callable[[bytes], bytes]) -> Callable[[Messages], Messages]:
    return lambda answers: (change(one) if place == at else one for place, one in enumerate(answers))


def fields(message: Message, path: str = "") -> Iterator[tuple[str, Callable[[], None]]]:
    """Fields that a message has, by their path, each with what alters it."""
    for about, value in message.ListFields():
        name = f"{path}{about.name}"
        if about.type == FieldDescriptor.TYPE_MESSAGE:
            yield from fields(value[0] if about.is_repeated else value, f"{name}.")
        elif about.is_repeated:
            yield name, lambda value=value: value.__setitem__(0, other(value[0]))
        else:
            yield name, lambda name=about.name, value=value: setattr(message, name, other(value))


def other(value: Any) -> Any:
    if isinstance(value, bytes):
        return value[:-1] + bytes([value[-1] ^ 1])
    if isinstance(value, str):
        return value[:-1] + chr(ord(value[-1]) ^ 1)
    return not value if isinstance(value, bool) else value + 1


def altered(kind: type[Message], path: str) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        message = kind.FromString(data)
        dict(fields(message))[path]()
        return message.SerializeToString()

    return change


def part(message: Message) -> str:
    """What of the stream it is."""
    return (message.WhichOneof("part") or "empty") if "part" in message.DESCRIPTOR.oneofs_by_name else ""


def faults(row: Row, answer: list[bytes]) -> Iterator[tuple[str, str, Callable[[Messages], Messages]]]:
    """What happens, to which part or field, and the change: to the first, a middle and the last of a part."""
    kind = GetMessageClass(STREAMS[row.method].output_type)
    messages = [kind.FromString(one) for one in answer]
    places: dict[str, list[int]] = {}
    for place, message in enumerate(messages):
        places.setdefault(part(message), []).append(place)
    sampled = {name: sorted({of[0], of[len(of) // 2], of[-1]}) for name, of in places.items()}
    for name, of in sampled.items():
        for at in of:
            last = at == len(answer) - 1
            yield "cut", "end", cut(at)
            yield "dropped", "end" if last else name, dropped(at)
            yield "doubled", name, doubled(at)
    seen = set()
    for of in sampled.values():
        for at in reversed(of):
            for path, _ in fields(messages[at]):
                if path not in seen and not row.forgives(path):
                    seen.add(path)
                    yield "altered", path, replaced(at, altered(kind, path))


def outcome(world: World, row: Row) -> object:
    """What is made of an answer, or that it was noticed that it is none."""
    try:
        return row.ask(world)
    except (DataLoss, Unavailable):
        return "noticed"
    except BlindsightError as error:
        # Of no kind of its own: the client does not know what a newer keyholder says, or none.
        moved_on = row.repacks and isinstance(error, Conflict)
        return "noticed" if moved_on or type(error) is BlindsightError else error


def test_every_stream_has_a_row() -> None:
    assert {row.method for row in ROWS} == set(STREAMS)


@pytest.mark.parametrize("row", ROWS, ids=[f"{number} {row.name}" for number, row in enumerate(ROWS)])
def test_half_an_answer_and_another_answer_are_noticed(world: World, row: Row) -> None:
    answer: list[bytes] = []

    def recorded(answers: Messages) -> Messages:
        answer.clear()
        for one in answers:
            answer.append(one)
            if not row.repacks:
                yield one

    truth, found = None, search("scattered")(world)
    world.change(row, recorded)
    if row.repacks:
        with pytest.raises(DataLoss):
            row.ask(world)
    else:
        truth = row.ask(world)
    world.mend()
    unnoticed = []
    before = world.state()
    for what, where, change in list(faults(row, list(answer))):
        if row.replay:
            world.replay(row, list(answer), change)
        else:
            world.change(row, change)
        result = outcome(world, row)
        right = result == truth and (row.again or where in row.harmless)
        if result != "noticed" and not right:
            unnoticed.append(f"{what} {where}: {result!r:.200}")
        if not row.writes and world.state() != before:
            unnoticed.append(f"{what} {where}: storage was written to")
            before = world.state()
    world.mend()
    assert unnoticed == []
    if row.repacks:
        assert row.ask(world).segments_written == 1
        assert search("scattered")(world) == found
    elif not row.replay:
        assert row.ask(world) == truth
