"""What storage's tests share: valid blocks without a key, appends, and a client of the real service."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Self

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindsight.ciphertext import residues
from blindsight.ciphertext.header import BATCH_TRAILER_BYTES, SEALED_MAGIC, SEED_BYTES, BlockHeader, Form
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import CKKS_4096
from blindsight.ring.columns import row_primes
from blindsight.ring.tiles import TILE
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.rpc.storage.v1 import storage_pb2_grpc
from blindsight.runtime.transfer import CHUNK_BYTES, chunks
from blindsight.wire.storage import (
    NO_CHAIN,
    AppendHeader,
    AppendItem,
    AppendItems,
    BatchesRequest,
    BatchHeader,
    Deleted,
    Deletion,
    Link,
    PieceHeader,
    Planes,
    Settings,
    StoredCollection,
    Truncation,
)
from services.storage.records import Append, Geometry
from services.storage.stores import Store

KEY_ID = b"a key's sixteen."
MAIN_0 = SegmentId(Region.MAIN, 0)
MAIN_1 = SegmentId(Region.MAIN, 1)
TAIL_0 = SegmentId(Region.TAIL, 0)
TAIL_1 = SegmentId(Region.TAIL, 1)
# 18 ciphertexts in one piece; 80 in two.
SMALL_PLANES = Planes(70, 130, 3)
LARGE_PLANES = Planes(600, 500, 1)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def identifier(*parts: object) -> bytes:
    """16 bytes that look random and are the same on every run."""
    return sha256(repr(parts).encode())[:16]


def sealed(size: int, *parts: object) -> bytes:
    """Bytes of a size that look sealed."""
    if not size:
        return b""
    seed = int.from_bytes(identifier("sealed", *parts), "little")
    return (SEALED_MAGIC + np.random.default_rng(seed).bytes(size))[:size]


def collection(number: int = 0, **changes: object) -> StoredCollection:
    """A collection of 8 dimensions: MAIN segments of 1024 slots in 2 columns, TAIL of 512 in 1."""
    given: dict[str, object] = {
        "collection_id": identifier("collection", number),
        "name_tag": identifier("name", number),
        "sealed_config": sealed(100, "config", number),
        "parameter_set": CKKS_4096.name,
        "key_id": KEY_ID,
        "dimension": 8,
        "stride": 4,
    }
    return StoredCollection(**{**given, **changes})  # type: ignore[arg-type]


def random_block(columns: int, seed: int = 0, key_id: bytes = KEY_ID) -> bytes:
    """A batch of nothing: random residues below their primes, and a trailer that authenticates nothing."""
    generator = np.random.default_rng(seed)
    primes = row_primes(CKKS_4096)[:, None, None]
    values = generator.integers(0, primes, (primes.size, columns, TILE)).astype("<u4")
    header = BlockHeader(CKKS_4096, key_id, Form.BATCH, columns)
    return header.pack() + values.tobytes() + generator.bytes(BATCH_TRAILER_BYTES)


def random_planes(count: int, seed: int = 0, key_id: bytes = KEY_ID) -> bytes:
    """Seeded ciphertexts of nothing: random residues below their primes."""
    generator = np.random.default_rng(seed)
    primes = residues.prime_column(CKKS_4096)
    shape = (count, 1, len(CKKS_4096.primes), CKKS_4096.ring_degree)
    values = generator.integers(0, primes, shape, np.uint32)
    seeds = generator.integers(0, 256, (count, SEED_BYTES), np.uint8)
    return residues.seeded_block(CKKS_4096, key_id, values, seeds).to_bytes()


def items(count: int, start: int = 0, metadata_bytes: int = 0, original_bytes: int = 0) -> list[AppendItem]:
    """Items numbered from `start`; `original_of` makes the bytes of their originals."""
    made = []
    for number in range(start, start + count):
        original = original_of(number, original_bytes)
        made.append(
            AppendItem(
                identifier("item", number),
                sealed(metadata_bytes, "metadata", number),
                len(original),
                sha256(original) if original else b"",
            )
        )
    return made


def original_of(number: int, size: int) -> bytes:
    return sealed(size, "original", number)


def with_attachment(item: AppendItem, attachment: bytes) -> AppendItem:
    return replace(item, attachment_size_bytes=len(attachment), attachment_sha256=sha256(attachment))


def attachment_of(number: int, size: int) -> bytes:
    return sealed(size, "attachment", number)


def pieces_of(planes: Planes, number: int = 0, key_id: bytes = KEY_ID) -> list[bytes]:
    """The pieces of an item's planes, encryptions of nothing, and their seal, in the order of an append."""
    tiling = planes.tiling(CKKS_4096)
    made = [random_planes(count, 1000 * number + place, key_id) for place, count in enumerate(tiling.pieces)]
    return [*made, sealed(tiling.seal_bytes(CKKS_4096), "planes", number)]


def with_planes(item: AppendItem, planes: Planes = SMALL_PLANES) -> AppendItem:
    return replace(item, planes=planes)


def handles(of: Sequence[AppendItem]) -> list[bytes]:
    return [item.handle for item in of]


def changed(header: AppendHeader, **changes: Any) -> AppendHeader:
    """A header with other values, of its first batch as well."""
    of_header = {name: changes.pop(name) for name in changes.keys() & AppendHeader.__dataclass_fields__}
    made = replace(header, **of_header)
    following = made.expected_sequence + 1
    batches = [replace(one, sequence=(following + place) % 2**64) for place, one in enumerate(made.batches)]
    batches[:1] = [replace(one, **changes) for one in batches[:1]]
    last = (made.expected_sequence + max(len(batches), 1)) % 2**64
    link = replace(made.link, sequence=last, previous=chain_at(made.expected_sequence), chain=chain_at(last))
    return replace(made, batches=tuple(batches), link=link)


def chain_at(sequence: int) -> bytes:
    """The chain that every collection has at a sequence; storage cannot tell that no owner made it."""
    return sha256(b"chain %d" % sequence) if sequence else NO_CHAIN


def link_to(sequence: int, epoch: int = 0, before: int | None = None) -> Link:
    previous = chain_at(sequence - 1 if before is None else before)
    return Link(sequence, epoch, previous, sha256(b"root %d" % sequence), chain_at(sequence))


def settings_to(record: StoredCollection, config: bytes, sequence: int, **changes: Any) -> Settings:
    """Other settings of a collection, as a write that leads to a sequence."""
    made = Settings(record.collection_id, record.name_tag, config, link_to(sequence))
    return replace(made, **changes)


def truncation_to(record: StoredCollection, sequence: int, epoch: int, **changes: Any) -> Truncation:
    """A truncation that leads to a sequence and an epoch."""
    return replace(Truncation(record.collection_id, link_to(sequence, epoch)), **changes)


def deletion_to(record: StoredCollection, gone: Sequence[bytes], sequence: int, epoch: int = 0) -> Any:
    """The message that deletes items and leads to a sequence."""
    return Deletion(record.collection_id, tuple(gone), link_to(sequence, epoch)).to_message()


def delete_from(store: Store, collection_id: bytes, gone: Sequence[bytes]) -> Deleted:
    """Deletes items from a store, as a keyholder that knows its state."""
    state = store.get_collection(collection_id)
    return store.delete_items(Deletion(collection_id, tuple(gone), link_to(state.sequence + 1, state.epoch)))


@dataclass
class Batches:
    """Makes the next append of a collection, keeping count of sequences and slots."""

    record: StoredCollection
    sequence: int = 0
    filled: dict[SegmentId, int] = field(default_factory=dict)
    made: int = 0
    epoch: int = 0

    def make(
        self,
        segment: SegmentId,
        of: Sequence[AppendItem],
        originals: Sequence[bytes] = (),
        retires: Sequence[SegmentId] = (),
        attachments: Mapping[int, bytes] = MappingProxyType({}),
    ) -> Append:
        """An append of items at the next free slots; counted as done.

        Args:
            attachments: by the position of their item.
        """
        block = random_block(Geometry.of(self.record, segment.region).columns, seed=self.made)
        header = AppendHeader(
            collection_id=self.record.collection_id,
            batch_id=identifier("batch", self.record.collection_id, self.made),
            expected_sequence=self.sequence,
            batches=(self._batch(segment, len(of), block),),
            link=self._link(retires),
            retires=tuple(retires),
        )
        self._count(segment, len(of))
        whole = tuple(originals) or (b"",) * len(of)
        return Append(header, tuple(of), (block,), whole, attachments=attachments)

    def _batch(self, segment: SegmentId, count: int, block: bytes) -> BatchHeader:
        first_slot = self.filled.get(segment, 0)
        return BatchHeader(self.sequence + 1, segment, first_slot, count, len(block), sha256(block))

    def retiring(self, *segments: SegmentId) -> Append:
        """An append that only retires."""
        header = AppendHeader(
            collection_id=self.record.collection_id,
            batch_id=identifier("batch", self.record.collection_id, self.made),
            expected_sequence=self.sequence,
            batches=(),
            link=self._link(segments),
            retires=segments,
        )
        self._count(None, 0)
        return Append(header, (), (), ())

    def _link(self, retires: Sequence[SegmentId]) -> Link:
        self.epoch += bool(retires)
        return link_to(self.sequence + 1, self.epoch)

    def _count(self, segment: SegmentId | None, count: int) -> None:
        self.made += 1
        self.sequence += 1
        if segment is not None:
            self.filled[segment] = self.filled.get(segment, 0) + count


def items_message(of: Sequence[AppendItem]) -> pb.AppendItems:
    return AppendItems(tuple(of)).to_message()


def piece_messages(piece: bytes, chunk_bytes: int = CHUNK_BYTES) -> Iterator[pb.AppendRequest]:
    """A piece of planes: its header and its chunks."""
    yield pb.AppendRequest(piece=PieceHeader(len(piece), sha256(piece)).to_message())
    for chunk in chunks(piece, chunk_bytes):
        yield pb.AppendRequest(chunk=chunk)


def requests(
    append: Append, chunk_bytes: int = CHUNK_BYTES, pieces: Iterable[bytes] = ()
) -> Iterator[pb.AppendRequest]:
    """An append as the stream of messages that a keyholder sends."""
    yield pb.AppendRequest(header=append.header.to_message())
    for start in range(0, len(append.items), 1000):
        yield pb.AppendRequest(items=items_message(append.items[start : start + 1000]))
    sealed_bytes = b"".join([*append.originals, *append.attachments.values()])
    for chunk in chunks(b"".join(append.blocks) + sealed_bytes, chunk_bytes):
        yield pb.AppendRequest(chunk=chunk)
    for piece in pieces:
        yield from piece_messages(piece, chunk_bytes)


@dataclass
class Log:
    """A whole answer of ReadBatches."""

    header: pb.LogHeader
    batches: list[tuple[pb.BatchHeader, bytes]]


class Client:
    """Blocking calls of the real service."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address)
        self.stub = storage_pb2_grpc.StorageServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def serving(self) -> bool:
        """Whether the service answers its health check."""
        stub = health_pb2_grpc.HealthStub(self.channel)
        answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10, wait_for_ready=True)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def create(self, record: StoredCollection) -> pb.Collection:
        request = pb.CreateCollectionRequest(collection=record.to_message())
        return self.stub.CreateCollection(request, wait_for_ready=True, timeout=30).collection

    def get(self, record: StoredCollection) -> pb.Collection:
        request = pb.GetCollectionRequest(collection_id=record.collection_id)
        return self.stub.GetCollection(request, timeout=30).collection

    def append(
        self, append: Append, chunk_bytes: int = CHUNK_BYTES, pieces: Iterable[bytes] = ()
    ) -> pb.AppendResponse:
        return self.stub.Append(requests(append, chunk_bytes, pieces), timeout=60)

    def read(self, record: StoredCollection, after: int = 0, only: Sequence[SegmentId] = ()) -> Log:
        request = BatchesRequest(record.collection_id, after, tuple(only)).to_message()
        responses = self.stub.ReadBatches(request, timeout=60)
        log = Log(next(responses).log, [])
        for response in responses:
            if response.WhichOneof("part") == "batch":
                log.batches.append((response.batch, b""))
            else:
                header, block = log.batches.pop()
                log.batches.append((header, block + response.chunk))
        return log

    def original(self, record: StoredCollection, handle: bytes) -> bytes:
        request = pb.ReadOriginalRequest(collection_id=record.collection_id, handle=handle)
        responses = self.stub.ReadOriginal(request, timeout=60)
        header = next(responses).header
        data = b"".join(response.chunk for response in responses)
        assert len(data) == header.size_bytes
        assert sha256(data) == header.sha256
        return data

    def attachments(self, record: StoredCollection, of: Sequence[bytes]) -> dict[bytes, bytes]:
        """Attachments by handle."""
        request = pb.ReadAttachmentsRequest(collection_id=record.collection_id, handles=of)
        found: dict[bytes, bytes] = {}
        for response in self.stub.ReadAttachments(request, timeout=60):
            if response.WhichOneof("part") == "header":
                handle = response.header.handle
                found[handle] = b""
            else:
                found[handle] += response.chunk
        return found

    def planes(self, record: StoredCollection, handle: bytes) -> tuple[pb.PlanesHeader, list[bytes]]:
        """The header, and pieces and seal in the order of an append, each as it was announced."""
        request = pb.ReadPlanesRequest(collection_id=record.collection_id, handle=handle)
        responses = self.stub.ReadPlanes(request, timeout=60)
        header = next(responses).header
        announced: list[pb.PieceHeader] = []
        pieces: list[bytes] = []
        for response in responses:
            if response.WhichOneof("part") == "piece":
                announced.append(response.piece)
                pieces.append(b"")
            else:
                pieces[-1] += response.chunk
        assert [(piece.size_bytes, piece.sha256) for piece in announced] == [
            (len(piece), sha256(piece)) for piece in pieces
        ]
        return header, [*pieces[1:], pieces[0]]

    def slots(self, record: StoredCollection) -> list[pb.ReadSlotsResponse]:
        request = pb.ReadSlotsRequest(collection_id=record.collection_id)
        return list(self.stub.ReadSlots(request, timeout=60))


def refusal(call: Callable[[], object]) -> tuple[grpc.StatusCode, str, str]:
    """Status, reason and message with which a call fails."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            list(answer)  # type: ignore[call-overload]
    except grpc.RpcError as error:
        refused = error
    else:
        raise AssertionError("the call was not refused")
    details = dict(refused.trailing_metadata() or ()).get("grpc-status-details-bin")
    assert details is not None, f"no details: {refused}"
    info = error_details_pb2.ErrorInfo()
    status = status_pb2.Status.FromString(details)
    assert any(detail.Unpack(info) for detail in status.details), f"no ErrorInfo: {refused}"
    assert refused.details() == status.message
    return refused.code(), info.reason, status.message
