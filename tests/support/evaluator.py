"""What the evaluator's tests share: an owner who really encrypts, galleries in a real storage, a client."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
import numpy as np
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindsight.ciphertext.residues import Residues, prime_column
from blindsight.packing.columns import CollectionLayout, Fields, Floats, Layout, collection_layout
from blindsight.packing.segments import Placement, Region, SegmentId
from blindsight.parameters import CKKS_4096, PARAMETER_SETS, ParameterSet
from blindsight.ring.tiles import column_block
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.evaluator.v1 import evaluator_pb2_grpc
from blindsight.runtime.processpool import Compute, Task
from blindsight.runtime.transfer import CHUNK_BYTES, chunks
from blindsight.trusted.columns import batches, checking, queries
from blindsight.trusted.columns.answer_key import AnswerKey, Extension
from blindsight.trusted.columns.batches import Batch
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.columns.numbers import scaled
from blindsight.trusted.columns.queries import Query
from blindsight.wire.storage import AppendHeader, BatchHeader, StoredCollection
from services.evaluator import tasks
from services.evaluator.computing import building
from services.storage.records import Append
from support import storage
from support.keysets import shared_key_set
from support.processes import pool_workers
from support.services import Process

PARAMETERS = CKKS_4096


@dataclass(frozen=True)
class Asked:
    """Encrypted queries, and what opens their answers.

    Attributes:
        keys: of the collection that they are for.
        layout: its layouts, with the regions that they are for.
        forms: the queries in the clear, [queries, dimension].
        queries: the encrypted columns of each query for each region.
        block: the queries, for the evaluator.
    """

    keys: CollectionKeys
    layout: CollectionLayout
    forms: Floats
    queries: tuple[dict[Region, Query], ...]
    block: bytes


def ask(keys: CollectionKeys, forms: Floats, regions: Collection[Region] = tuple(Region)) -> Asked:
    """Encrypts queries [queries, dimension], each with the columns of these regions."""
    parameters, layout = keys.parameters, keys.layout.within(regions)

    def encrypted(form: Floats, region: Region) -> Query:
        of_region = layout.of(region)
        messages = scaled(of_region.pack_query(form), parameters.query_scale)
        return queries.encrypt(messages, keys.of(region), of_region.field_columns)

    made = tuple({region: encrypted(form, region) for region in layout.regions} for form in forms)
    parts = [query.tiles for one in made for query in one.values()]
    return Asked(keys, layout, forms, made, column_block(parameters, keys.key_id, parts))


class Owner:
    """A key set and what it encrypts.

    Args:
        number: see `shared_key_set`.
    """

    def __init__(self, number: int = 0) -> None:
        self._made = shared_key_set(number)
        self.key_id = self._made.key_id

    def keys(
        self,
        layout: CollectionLayout,
        collection_id: bytes = bytes(16),
        parameters: ParameterSet = PARAMETERS,
    ) -> CollectionKeys:
        """The keys of a collection's columns."""
        # A vault's collections have ids of their own.  Those of tests come again, with other layouts.
        context = collection_id + repr((layout, parameters.name)).encode()
        root = self._made.subkey("columns", context)
        return CollectionKeys(root, parameters, layout, self.key_id)

    def batch(self, layout: CollectionLayout, place: Placement, rows: Floats) -> bytes:
        """The block of a batch of a collection that there is not."""
        return batches.encrypt(rows, place, self.keys(layout))

    def query(self, layout: CollectionLayout, forms: Floats) -> bytes:
        """The block of queries for a collection that there is not."""
        return ask(self.keys(layout), forms).block

    def secrets(self) -> list[bytes]:
        """The secrets of the key set, for tests that look for them where they must not be."""
        return [self._made.master.reveal_secret(), self._made.secret_key(PARAMETERS.name).reveal_secret()]


@dataclass(frozen=True)
class StartWithLittleRoom(Task[None]):
    """A builder process that cannot write larger files, as on a full disk."""

    file_bytes: int


def start_with_little_room(task: StartWithLittleRoom) -> None:
    building.compile_all(tasks.Compile())
    resource.setrlimit(resource.RLIMIT_FSIZE, (task.file_bytes, task.file_bytes))


LITTLE_ROOM: Compute = {StartWithLittleRoom: "support.evaluator:start_with_little_room"}


def unit_rows(count: int, dimension: int, seed: int = 1) -> Floats:
    rows = np.random.default_rng(seed).normal(size=(count, dimension))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def field_products(rows: Floats, forms: Floats, fields: Fields) -> Floats:
    """The inner products of every form with every row, field by field: [forms, fields, rows]."""
    cuts = np.cumsum(fields)[:-1]
    parts = zip(np.split(forms, cuts, axis=1), np.split(rows, cuts, axis=1), strict=True)
    return np.stack([form @ row.T for form, row in parts], axis=1)


def read_answers(data: bytes, shape: Sequence[int], parameters: ParameterSet) -> Residues:
    """The residues of an answer, [*shape, primes, size], all below their primes."""
    primes = len(parameters.primes)
    residues = np.frombuffer(data, "<u4").reshape(*shape, primes, -1)
    assert (residues < prime_column(parameters)).all()
    return residues


@dataclass
class Answer:
    """A whole answer of Score.

    Attributes:
        asked: the queries.
        residues: uint32 [fields, primes, size] of each segment and query.
    """

    asked: Asked
    plan: pb.ScorePlan
    summary: pb.ScoreSummary
    residues: dict[tuple[SegmentId, int], Residues] = field(default_factory=dict)


@dataclass(frozen=True)
class State:
    """What a collection holds at one point of its log.

    Attributes:
        rows: the vectors of each segment.
        key: opens and checks answers.
    """

    rows: dict[SegmentId, Floats] = field(default_factory=dict)
    key: AnswerKey = field(default_factory=AnswerKey)


@dataclass
class Gallery:
    """A collection in a real storage, and the vectors that are in it, at each point of its log."""

    owner: Owner
    client: storage.Client
    record: StoredCollection
    sequence: int = 0
    epoch: int = 0
    states: dict[int, State] = field(default_factory=lambda: {0: State()})
    written: dict[SegmentId, list[Batch]] = field(default_factory=dict)
    _made: int = 0
    _items: dict[SegmentId, list[bytes]] = field(default_factory=dict)

    @property
    def parameters(self) -> ParameterSet:
        return PARAMETER_SETS[self.record.parameter_set]

    @property
    def layout(self) -> CollectionLayout:
        return collection_layout(self.record.row_fields, self.parameters.ring_degree, self.record.stride)

    @property
    def keys(self) -> CollectionKeys:
        return self.owner.keys(self.layout, self.record.collection_id, self.parameters)

    @property
    def rows(self) -> dict[SegmentId, Floats]:
        """The vectors that are in it now."""
        return self.states[self.sequence].rows

    def encrypt(self, segment: SegmentId, rows: Floats) -> tuple[Placement, bytes]:
        """The next batch of a segment: its place and its block."""
        before = len(self.rows.get(segment, ()))
        place = Placement(segment.region, segment.index, before, len(rows))
        return place, batches.encrypt(rows, place, self.keys)

    def add(self, segment: SegmentId, rows: Floats, retires: Sequence[SegmentId] = ()) -> None:
        """Appends rows behind those that are in the segment."""
        before = self.states[self.sequence]
        place, block = self.encrypt(segment, rows)
        self.append(segment, place.first_slot, block, len(rows), retires)
        batch = batches.read(block, place, self.keys)
        self.written.setdefault(segment, []).append(batch)
        extension = Extension(before.key, self.keys)
        extension.add(batch)
        held = {**before.rows, segment: np.concatenate([before.rows.get(segment, rows[:0]), rows])}
        for gone in retires:
            extension.retire(gone, self.written.pop(gone))
            del held[gone]
        self.states[self.sequence] = State(held, extension.finish(self.sequence, before.key.epoch))

    def append(
        self,
        segment: SegmentId,
        first_slot: int,
        block: bytes,
        count: int,
        retires: Sequence[SegmentId] = (),
    ) -> None:
        """Appends a block as it is."""
        identity = self.record.collection_id
        self.epoch += bool(retires)
        header = AppendHeader(
            collection_id=identity,
            batch_id=storage.identifier("batch", identity, self._made),
            expected_sequence=self.sequence,
            batches=(
                BatchHeader(self.sequence + 1, segment, first_slot, count, len(block), storage.sha256(block)),
            ),
            link=storage.link_to(self.sequence + 1, self.epoch),
            retires=tuple(retires),
        )
        items = storage.items(count, start=1_000_000 * self._made)
        self._made += 1
        self._items.setdefault(segment, []).extend(storage.handles(items))
        self.sequence = self.client.append(Append(header, tuple(items), (block,), (b"",) * count)).sequence

    def delete(self, segment: SegmentId) -> None:
        """Deletes all items of a segment; its columns stay until it is retired."""
        request = storage.deletion_to(self.record, self._items.pop(segment), self.sequence + 1, self.epoch)
        before = self.states[self.sequence]
        self.sequence = self.client.stub.DeleteItems(request, timeout=30).sequence
        self.states[self.sequence] = before

    def ask(self, forms: Floats, regions: Collection[Region] = tuple(Region)) -> Asked:
        """Encrypted queries [queries, dimension]."""
        return ask(self.keys, forms, regions)

    def query(self, forms: Floats) -> bytes:
        """The block of encrypted queries, whose answers nobody opens."""
        return self.ask(forms).block

    def scores(self, answer: Answer) -> dict[SegmentId, Floats]:
        """Opened scores of each segment, of the slots that are taken: [queries, fields, vectors]."""
        asked, state = answer.asked, self.states[answer.plan.sequence]
        scale = self.parameters.gallery_scale * self.parameters.query_scale

        def opened(segment: SegmentId, number: int) -> Floats:
            key, query = state.key.segments[segment], asked.queries[number][segment.region]
            residues = answer.residues[segment, number]
            values = queries.open_answer(residues, key.cover, query).astype(np.float64)
            return self._layout(segment).scores(values / scale)[:, : len(state.rows[segment])]

        numbers = range(len(asked.forms))
        return {
            segment: np.stack([opened(segment, one) for one in numbers]) for segment in self._asked(answer)
        }

    def check(self, answer: Answer) -> None:
        """Every score of every vector against numpy, the check of the keyholder, and not one result more."""
        state, forms = self.states[answer.plan.sequence], answer.asked.forms
        segments = self._asked(answer)
        assert set(answer.residues) == {(segment, one) for segment in segments for one in range(len(forms))}
        assert [answer.plan.main_segments, answer.plan.tail_segments] == [
            sum(segment.region is region for segment in segments) for region in Region
        ]
        for segment, scores in self.scores(answer).items():
            wanted = field_products(state.rows[segment], forms, self.record.row_fields)
            count, capacity = len(self.written[segment]), self._layout(segment).capacity
            bound = self.parameters.score_error_bound(capacity, batches=count)
            np.testing.assert_allclose(scores, wanted, rtol=0, atol=bound)
        assert self.passes(answer)

    def passes(self, answer: Answer) -> bool:
        """Whether the keyholder's check finds an answer right."""
        keys, sums = self.keys, self.states[answer.plan.sequence].key.sums
        right = []
        for number, of_query in enumerate(answer.asked.queries):
            for region, query in of_query.items():
                layout = self.layout.of(region)
                check = checking.Check(query, layout.field_columns, layout.fold)
                for segment in self._asked(answer):
                    if segment.region is region:
                        gamma = checking.factors(keys.fixed("check"), segment, self.parameters)
                        check.add(answer.residues[segment, number], gamma)
                right.append(region not in sums or check.passes(sums[region]))
        return all(right)

    def _asked(self, answer: Answer) -> list[SegmentId]:
        """The segments that an answer must have."""
        rows = self.states[answer.plan.sequence].rows
        return [segment for segment in rows if segment.region in answer.asked.layout.regions]

    def _layout(self, segment: SegmentId) -> Layout:
        return self.layout.of(segment.region)

    def secrets(self) -> list[bytes]:
        """The secrets of the owner and of the collection's columns."""
        of_columns = [self.keys.of(region).secrets.tobytes() for region in Region]
        return [*self.owner.secrets(), self.keys.root.reveal_secret(), *of_columns]


def header(
    collection_id: bytes, block: bytes, queries: int = 1, minimum_sequence: int = 0, **changes: object
) -> pb.ScoreRequest:
    given: dict[str, object] = {
        "collection_id": collection_id,
        "minimum_sequence": minimum_sequence,
        "queries": queries,
        "size_bytes": len(block),
        "sha256": hashlib.sha256(block).digest(),
    }
    return pb.ScoreRequest(header=pb.ScoreHeader(**{**given, **changes}))  # type: ignore[arg-type]


def requests(
    collection_id: bytes, block: bytes, queries: int = 1, minimum_sequence: int = 0, **changes: object
) -> Iterator[pb.ScoreRequest]:
    yield header(collection_id, block, queries, minimum_sequence, **changes)
    for chunk in chunks(block, CHUNK_BYTES):
        yield pb.ScoreRequest(chunk=chunk)


class Client:
    """Blocking calls of the real service."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.stub = evaluator_pb2_grpc.EvaluatorServiceStub(self.channel)
        self._health = health_pb2_grpc.HealthStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def serving(self) -> bool:
        answer = self._health.Check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def score(self, gallery: Gallery, forms: Floats, minimum_sequence: int | None = None) -> Answer:
        """Scores and takes the answer apart; plan first, summary last."""
        wanted = gallery.sequence if minimum_sequence is None else minimum_sequence
        return self.send(gallery, gallery.ask(forms), minimum_sequence=wanted)

    def send(self, gallery: Gallery, asked: Asked, **changes: object) -> Answer:
        """As `score`, with queries that are encrypted already, and fields of the header of the test's own."""
        given = {"minimum_sequence": gallery.sequence, **changes}
        stream = requests(gallery.record.collection_id, asked.block, len(asked.forms), **given)
        return collect(asked, self.stub.Score(stream, timeout=60, wait_for_ready=True))

    def prepare(self, collection_id: bytes) -> list[pb.PrepareResponse]:
        return list(self.stub.Prepare(pb.PrepareRequest(collection_id=collection_id), timeout=60))

    def drop(self, collection_id: bytes) -> None:
        self.stub.DropCollection(pb.DropCollectionRequest(collection_id=collection_id), timeout=30)

    def status(self) -> pb.GetStatusResponse:
        return self.stub.GetStatus(pb.GetStatusRequest(), timeout=30)


def collect(asked: Asked, responses: Iterator[pb.ScoreResponse]) -> Answer:
    """Reads an answer; fails when its messages are out of order or a result comes twice."""
    first = next(one for one in responses if one.WhichOneof("part") != "progress")
    answer = Answer(asked, first.plan, pb.ScoreSummary())
    kinds = []
    for response in responses:
        kinds.append(response.WhichOneof("part"))
        if kinds[-1] == "summary":
            answer.summary = response.summary
            continue
        result = response.result
        region = Region(result.region)
        shape = len(result.segments), result.queries, len(asked.layout.of(region).fields)
        residues = read_answers(result.answers, shape, asked.keys.parameters)
        for index, of_segment in zip(result.segments, residues, strict=True):
            for query, one in enumerate(of_segment, result.first_query):
                key = SegmentId(region, index), query
                assert key not in answer.residues
                answer.residues[key] = one
    assert kinds[-1] == "summary"
    assert kinds.count("summary") == 1
    return answer


@dataclass
class Untrusted:
    """Storage and evaluator as real processes, without a keyholder."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def start(self) -> Untrusted:
        self.storage = Process("storage", {"data": str(self.folder / "storage")}, self.folder / "storage.log")
        self.storage.start()
        own = {"data": str(self.folder / "evaluator"), "storage_address": self.storage.address}
        self.evaluator = Process("evaluator", {**own, **self.settings}, self.folder / "evaluator.log")
        self.evaluator.start()
        return self

    def stop(self) -> None:
        self.evaluator.stop()
        self.storage.stop()

    @property
    def files(self) -> list[Path]:
        """All files of the evaluator's folder."""
        return sorted(path for path in (self.folder / "evaluator").rglob("*") if path.is_file())

    def service(self) -> psutil.Process:
        """The evaluator's main process."""
        assert self.evaluator.popen is not None
        return psutil.Process(self.evaluator.popen.pid)

    def workers(self) -> list[psutil.Process]:
        """The evaluator's worker processes, the scoring one first: it was started first."""
        return pool_workers(self.service())


def new_gallery(owner: Owner, client: storage.Client, number: int, **changes: object) -> Gallery:
    """An empty collection; of 8 dimensions its MAIN segments have 1024 slots in 2 columns, TAIL 512 in 1."""
    record = storage.collection(number, key_id=owner.key_id, **changes)
    client.create(record)
    return Gallery(owner, client, record)
