"""What the evaluator's tests share: an owner who really encrypts, galleries in a real storage, a client."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import grpc
import numpy as np
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindsight.ciphertext.residues import CiphertextBlock, Residues, read_block
from blindsight.packing import columns
from blindsight.packing.columns import CollectionLayout, Floats, Layout, collection_layout
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import CKKS_4096
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.rpc.evaluator.v1 import evaluator_pb2_grpc
from blindsight.runtime.processpool import Compute, Task
from blindsight.runtime.transfer import CHUNK_BYTES, chunks
from blindsight.trusted import schemes
from blindsight.wire.storage import AppendHeader, BatchHeader, StoredCollection
from services.evaluator import tasks
from services.evaluator.computing import building
from services.storage.records import Append
from support import storage
from support.keysets import shared_key_set
from support.processes import pool_workers
from support.services import Process

PARAMETERS = CKKS_4096
# Far above the score bound of these tests' small collections, far below what a mistake costs.
TOLERANCE = 1e-4


class Owner:
    """A key set and what it encrypts and decrypts.

    Args:
        number: see `shared_key_set`.
    """

    def __init__(self, number: int = 0) -> None:
        made = shared_key_set(number)
        self.key_id = made.key_id
        self._made = made
        self._secret = schemes.load(PARAMETERS, made.secret_key(PARAMETERS.name))

    def secret_bytes(self) -> bytes:
        """The secret key, for tests that look for it where it must not be."""
        return self._made.secret_key(PARAMETERS.name).reveal_secret()

    def gallery(self, coefficients: Floats) -> CiphertextBlock:
        return self._secret.encrypt_gallery(coefficients, self.key_id)

    def query(self, layout: CollectionLayout, forms: Floats) -> bytes:
        """Queries [queries, dimension] as a block: each with the columns of the layout's regions."""
        parts = [layout.of(region).pack_query(form) for form in forms for region in layout.regions]
        return self._secret.encrypt_query(np.concatenate(parts), self.key_id).to_bytes()

    def decrypt(self, residues: Residues) -> Floats:
        return self._secret.decrypt_scores(residues)


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


@dataclass
class Answer:
    """A whole answer of Score."""

    plan: pb.ScorePlan
    summary: pb.ScoreSummary
    blocks: dict[tuple[Region, int, int], Residues] = field(default_factory=dict)


@dataclass
class Gallery:
    """A collection in a real storage, and the vectors that are in it."""

    owner: Owner
    client: storage.Client
    record: StoredCollection
    sequence: int = 0
    rows: dict[SegmentId, Floats] = field(default_factory=dict)
    _made: int = 0
    _items: dict[SegmentId, list[bytes]] = field(default_factory=dict)

    @property
    def layout(self) -> CollectionLayout:
        return collection_layout((self.record.dimension,), PARAMETERS.ring_degree, self.record.stride)

    def layout_of(self, segment: SegmentId) -> Layout:
        return self.layout.of(columns.Region(segment.region))  # storage has an enumeration of its own

    def add(self, segment: SegmentId, rows: Floats, retires: Sequence[SegmentId] = ()) -> None:
        """Appends rows behind those that are in the segment."""
        before = self.rows.get(segment, np.empty((0, self.record.dimension)))
        packed = self.layout_of(segment).pack(rows, len(before))
        block = self.owner.gallery(packed).to_bytes()
        self.append(segment, len(before), block, len(rows), retires)
        self.rows[segment] = np.concatenate([before, rows])
        for gone in retires:
            self.rows.pop(gone, None)

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
        header = AppendHeader(
            collection_id=identity,
            batch_id=storage.identifier("batch", identity, self._made),
            expected_sequence=self.sequence,
            batches=(
                BatchHeader(self.sequence + 1, segment, first_slot, count, len(block), storage.sha256(block)),
            ),
            retires=tuple(retires),
        )
        items = storage.items(count, start=1_000_000 * self._made)
        self._made += 1
        self._items.setdefault(segment, []).extend(storage.handles(items))
        self.sequence = self.client.append(Append(header, tuple(items), (block,), (b"",) * count)).sequence

    def delete(self, segment: SegmentId) -> None:
        """Deletes all items of a segment; its columns stay until it is retired."""
        identity, handles = self.record.collection_id, self._items.pop(segment)
        request = storage.pb.DeleteItemsRequest(collection_id=identity, handles=handles)
        self.sequence = self.client.stub.DeleteItems(request, timeout=30).sequence

    def query(self, forms: Floats) -> bytes:
        return self.owner.query(self.layout, forms)

    def scores(self, answer: Answer, queries: int) -> dict[SegmentId, Floats]:
        """Decrypted scores by segment, of the slots that are taken: [queries, vectors]."""
        found = {}
        for segment, rows in self.rows.items():
            region, index = segment.region, segment.index
            residues = np.stack([answer.blocks[region, index, query] for query in range(queries)])
            decrypted = self.layout_of(segment).scores(self.owner.decrypt(residues))
            found[segment] = decrypted[:, : len(rows)]
        return found

    def check(self, answer: Answer, forms: Floats) -> None:
        """Every score of every vector against numpy, and not one result more."""
        assert len(answer.blocks) == len(self.rows) * len(forms)
        for segment, scores in self.scores(answer, len(forms)).items():
            np.testing.assert_allclose(scores, forms @ self.rows[segment].T, rtol=0, atol=TOLERANCE)


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
        stream = requests(gallery.record.collection_id, gallery.query(forms), len(forms), wanted)
        return collect(gallery, self.stub.Score(stream, timeout=60, wait_for_ready=True))

    def send(self, gallery: Gallery, block: bytes, queries: int, **changes: object) -> Answer:
        """As `score`, with a block and fields of the header of the test's own."""
        stream = requests(gallery.record.collection_id, block, queries, gallery.sequence, **changes)
        return collect(gallery, self.stub.Score(stream, timeout=60, wait_for_ready=True))

    def prepare(self, collection_id: bytes) -> list[pb.PrepareResponse]:
        return list(self.stub.Prepare(pb.PrepareRequest(collection_id=collection_id), timeout=60))

    def drop(self, collection_id: bytes) -> None:
        self.stub.DropCollection(pb.DropCollectionRequest(collection_id=collection_id), timeout=30)

    def status(self) -> pb.GetStatusResponse:
        return self.stub.GetStatus(pb.GetStatusRequest(), timeout=30)


def collect(gallery: Gallery, responses: Iterator[pb.ScoreResponse]) -> Answer:
    """Reads an answer; fails when its messages are out of order or a result comes twice."""
    answer = Answer(next(responses).plan, pb.ScoreSummary())
    kinds = []
    for response in responses:
        kinds.append(response.WhichOneof("part"))
        if kinds[-1] == "summary":
            answer.summary = response.summary
            continue
        result = response.result
        residues = read_block(result.block, PARAMETERS, gallery.owner.key_id).residues
        shape = len(result.segments), result.queries, *residues.shape[1:]
        for segment, of_segment in zip(result.segments, residues.reshape(shape), strict=True):
            for query, one in enumerate(of_segment, result.first_query):
                key = Region(result.region), segment, query
                assert key not in answer.blocks
                answer.blocks[key] = one
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
    """An empty collection of 8 dimensions: MAIN segments of 1024 slots in 2 columns, TAIL of 512 in 1."""
    record = storage.collection(number, key_id=owner.key_id, **changes)
    client.create(record)
    return Gallery(owner, client, record)
