"""Hostile streams and bytes at every rpc of the keyholder: one clear status each, and it serves on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from PIL import Image
from support.photos import bomb, encoded, photo
from support.services import Services
from support.storage import refusal

import blindsight
from blindsight.client import Vault
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1 import keyholder_pb2_grpc

PHOTOS, VECTORS, SQUARES = "photos", "vectors", "squared distances"
GOOD = encoded(photo("coins"), "PNG")
RPCS = {method.name: method for method in pb.DESCRIPTOR.services_by_name["KeyholderService"].methods}
Stub = keyholder_pb2_grpc.KeyholderServiceStub

INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
BAD_VECTOR = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_VECTOR")
BAD_IMAGE = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_IMAGE")
NOT_FOUND = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")
TAKEN = (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS")
TOO_MUCH = (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    running = Services(tmp_path_factory.mktemp("hostile"))
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def vault(services: Services) -> Iterator[Vault]:
    """A photo in one collection, three vectors in another, two in a third."""
    with blindsight.connect(services.address()) as connected:
        connected.create_collection(PHOTOS, embedder="pixels", dimension=64).ingest([("coins.png", GOOD)])
        connected.create_collection(VECTORS, embedder="none", dimension=4).ingest_vectors(np.eye(4)[:3])
        squares = connected.create_collection(SQUARES, embedder="none", dimension=4, metric="euclidean")
        squares.ingest_vectors(np.eye(4)[:2])
        yield connected


@pytest.fixture
def stub(services: Services, vault: Vault) -> Iterator[Stub]:
    """Raw calls; after each test everything must be as it was, and searches answered."""
    with grpc.insecure_channel(services.address()) as channel:
        yield Stub(channel)
        health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
    assert {about.name: about.items for about in vault.collections()} == {PHOTOS: 1, VECTORS: 3, SQUARES: 2}
    assert [hit.id for hit in vault.collection(VECTORS).search_vectors(np.eye(4)[1], k=1).results[0]] == ["1"]


# --- streams ------------------------------------------------------------------------------------------


def header(collection: str = PHOTOS) -> pb.IngestRequest:
    return pb.IngestRequest(header=pb.IngestHeader(collection=collection))


def about(data: bytes = GOOD, **changes: object) -> pb.FileHeader:
    given = {"name": "a.png", "size_bytes": len(data), "sha256": hashlib.sha256(data).digest(), **changes}
    return pb.FileHeader(**given)


def file(data: bytes = GOOD, **changes: object) -> pb.IngestRequest:
    return pb.IngestRequest(file=about(data, **changes))


def chunk(data: bytes = GOOD) -> pb.IngestRequest:
    return pb.IngestRequest(chunk=data)


def block(rows: object = ((1, 2, 3, 4),), ids: tuple[str, ...] = (), **changes: object) -> pb.VectorBlock:
    matrix = np.array(rows, "<f4")
    given = {"values": matrix.tobytes(), "dimension": matrix.shape[-1], "ids": ids, **changes}
    return pb.VectorBlock(**given)


def vectors(*blocks: pb.VectorBlock) -> list[pb.IngestRequest]:
    return [header(VECTORS), *(pb.IngestRequest(vectors=one) for one in blocks)]


INGESTS: dict[str, tuple[list[pb.IngestRequest], tuple[grpc.StatusCode, str]]] = {
    "nothing": ([], INVALID),
    "an empty message": ([pb.IngestRequest()], INVALID),
    "a chunk first": ([chunk()], INVALID),
    "a file first": ([file(), chunk()], INVALID),
    "vectors first": (vectors(block())[1:], INVALID),
    "an unknown collection": ([header("nobody's")], NOT_FOUND),
    "an unknown collection and a photo": ([header("nobody's"), file(), chunk()], NOT_FOUND),
    "no name": ([header("")], NOT_FOUND),
    "a name of a megabyte": ([header("x" * (1 << 20))], NOT_FOUND),
    "a name of control characters": ([header("\x1b[2J\r\n\x00")], NOT_FOUND),
    "a second header": ([header(), header()], INVALID),
    "a second header in a photo": ([header(), file(), header()], INVALID),
    "an empty message in a photo": ([header(), file(), pb.IngestRequest()], INVALID),
    "a chunk without a photo": ([header(), chunk()], INVALID),
    "a photo in a photo": ([header(), file(), file()], INVALID),
    "half a photo": ([header(), file(), chunk(GOOD[:100])], INVALID),
    "more than a photo": ([header(), file(), chunk(GOOD + b"!")], INVALID),
    "half a photo without a digest": ([header(), file(sha256=None), chunk(GOOD[:100])], INVALID),
    "more than a photo without a digest": ([header(), file(sha256=None), chunk(GOOD + b"!")], INVALID),
    "an empty chunk": ([header(), file(), chunk(b"")], INVALID),
    "another photo than announced": ([header(), file(sha256=bytes(32)), chunk()], INVALID),
    "vectors in a photo": ([header(), file(), *vectors(block())[1:]], INVALID),
    "vectors for photos": ([header(PHOTOS), *vectors(block())[1:]], INVALID),
    "photos for vectors": ([header(VECTORS), file(), chunk()], INVALID),
    "a chunk after vectors": ([*vectors(block()), chunk()], INVALID),
    "vectors of nothing": (vectors(pb.VectorBlock()), BAD_VECTOR),
    "vectors of dimension 0": (vectors(block(dimension=0)), BAD_VECTOR),
    "vectors of a huge dimension": (vectors(block(dimension=(1 << 32) - 1)), BAD_VECTOR),
    "bytes that are no matrix": (vectors(block(values=b"12345")), BAD_VECTOR),
    "vectors of another dimension": (vectors(block([[1, 2, 3]])), BAD_VECTOR),
    "vectors of several dimensions": (vectors(block(), block([[1, 2, 3]])), BAD_VECTOR),
    "NaN": (vectors(block([[1, np.nan, 0, 0]])), BAD_VECTOR),
    "infinity": (vectors(block([[1, np.inf, 0, 0]])), BAD_VECTOR),
    "a zero vector": (vectors(block(np.zeros((1, 4)))), BAD_VECTOR),
    "too few ids": (vectors(block(np.eye(4), ids=("a",))), BAD_VECTOR),
    "too many ids": (vectors(block(ids=("a", "b"))), BAD_VECTOR),
    "ids in one block only": (vectors(block(), block(ids=("a",))), BAD_VECTOR),
    "ids in another block only": (vectors(block(ids=("a",)), block()), BAD_VECTOR),
    "an empty id": (vectors(block(ids=("",))), INVALID),
    "an id that is too long": (vectors(block(ids=("x" * 513,))), INVALID),
    "an id of a megabyte": (vectors(block(ids=("x" * (1 << 20),))), INVALID),
    "an id of two lines": (vectors(block(ids=("a\nb",))), INVALID),
    "an id that clears the screen": (vectors(block(ids=("\x9b2J",))), INVALID),
    "an id twice": (vectors(block(np.eye(4)[:2], ids=("a", "a"))), TAKEN),
    "an id that is taken": (vectors(block(ids=("0",))), TAKEN),
    "a vector that is too long": (
        [header(SQUARES), pb.IngestRequest(vectors=block([[3e38, 0, 0, 0]]))],
        BAD_VECTOR,
    ),
}


def test_a_digest_may_be_left_out(stub: Stub) -> None:
    (item, _) = stub.Ingest(iter([header(), file(sha256=None), chunk()]), timeout=60)
    assert item.item.outcome == pb.OUTCOME_DUPLICATE
    (hits, _) = stub.Search(iter(asked(*image(sha256=None), collection=PHOTOS)), timeout=60)
    assert hits.hits.hits[0].id == item.item.id


@pytest.mark.parametrize("name", INGESTS)
def test_a_hostile_ingest_is_refused_with_a_reason(stub: Stub, name: str) -> None:
    messages, expected = INGESTS[name]
    code, reason, message = refusal(lambda: stub.Ingest(iter(messages), timeout=60))
    assert (code, reason) == expected
    assert message.isprintable()
    assert len(message) < 1000


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        ([file(size_bytes=1 << 63)], "RESOURCE_EXHAUSTED"),
        ([file(sha256=b"short")], "INVALID_ARGUMENT"),
        ([file(b"")], "INVALID_IMAGE"),
        ([file(id="x" * 513), chunk()], "INVALID_ARGUMENT"),
        ([file(id="a\x00b"), chunk()], "INVALID_ARGUMENT"),
        ([file(name="x" * 1025), chunk()], "INVALID_ARGUMENT"),
    ],
    ids=["huge", "short digest", "empty", "long id", "id with a zero", "long name"],
)
def test_a_photo_that_cannot_be_is_refused_alone(
    stub: Stub, refused: list[pb.IngestRequest], reason: str
) -> None:
    # The good photo is there already, so nothing changes.
    *items, last = stub.Ingest(iter([header(), *refused, file(), chunk()]), timeout=60)
    assert [(one.item.outcome, one.item.reason) for one in items] == [
        (pb.OUTCOME_REJECTED, reason),
        (pb.OUTCOME_DUPLICATE, ""),
    ]
    assert items[0].item.message.isprintable()
    assert (last.summary.rejected, last.summary.duplicates) == (1, 1)


def test_a_file_that_is_no_photo_is_kept(stub: Stub) -> None:
    for data in (b"no photo", bomb()):
        first, last = stub.Ingest(iter([header(), file(data), chunk(data)]), timeout=60)
        assert first.item.remark.endswith("; no search will find it")
        assert (first.item.outcome, last.summary.stored) == (pb.OUTCOME_STORED, 1)
        assert stub.DeleteItems(pb.DeleteItemsRequest(collection=PHOTOS, ids=[first.item.id])).deleted == 1


def asked(*parts: pb.SearchRequest, collection: str = VECTORS, **changes: object) -> list[pb.SearchRequest]:
    return [pb.SearchRequest(header=pb.SearchHeader(collection=collection, **changes)), *parts]


def query(*blocks: pb.VectorBlock) -> list[pb.SearchRequest]:
    return [pb.SearchRequest(vectors=one) for one in blocks]


def image(data: bytes = GOOD, **changes: object) -> list[pb.SearchRequest]:
    return [pb.SearchRequest(image=about(data, **changes)), *([pb.SearchRequest(chunk=data)] if data else [])]


FLAT = encoded(Image.new("RGB", (32, 32), "red"), "PNG")
SEARCHES: dict[str, tuple[list[pb.SearchRequest], tuple[grpc.StatusCode, str]]] = {
    "nothing": ([], INVALID),
    "an empty message": ([pb.SearchRequest()], INVALID),
    "vectors first": (query(block()), INVALID),
    "a photo first": (image(), INVALID),
    "an unknown collection": (asked(*query(block()), collection="nobody's"), NOT_FOUND),
    "a name of a megabyte": (asked(*query(block()), collection="x" * (1 << 20)), NOT_FOUND),
    "a header alone": (asked(), INVALID),
    "a header and an empty message": (asked(pb.SearchRequest()), INVALID),
    "a second header": (asked(*asked()), INVALID),
    "a chunk without a photo": (asked(pb.SearchRequest(chunk=GOOD), collection=PHOTOS), INVALID),
    "more matches than are given": (asked(*query(block()), k=10_001), INVALID),
    "all matches that can be said": (asked(*query(block()), k=(1 << 32) - 1), INVALID),
    "a threshold that is none": (asked(*query(block()), threshold=float("nan")), INVALID),
    "vectors of nothing": (asked(*query(pb.VectorBlock())), BAD_VECTOR),
    "vectors of dimension 0": (asked(*query(block(dimension=0))), BAD_VECTOR),
    "vectors of another dimension": (asked(*query(block([[1, 2, 3]]))), BAD_VECTOR),
    "vectors of several dimensions": (asked(*query(block(), block([[1, 2, 3]]))), BAD_VECTOR),
    "NaN": (asked(*query(block([[1, np.nan, 0, 0]]))), BAD_VECTOR),
    "a zero vector": (asked(*query(block(np.zeros((1, 4))))), BAD_VECTOR),
    "too many queries": (asked(*query(block(np.ones((2049, 4))), block(np.ones((2049, 4))))), INVALID),
    "a photo after vectors": (asked(*query(block()), *image()), INVALID),
    "vectors after a photo": (asked(*image(), *query(block()), collection=PHOTOS), INVALID),
    "a photo for vectors": (asked(*image()), INVALID),
    "half a photo": (asked(*image(size_bytes=1 << 20), collection=PHOTOS), INVALID),
    "more than a photo": (asked(*image(size_bytes=10), collection=PHOTOS), INVALID),
    "a huge photo": (asked(*image(size_bytes=1 << 63), collection=PHOTOS), TOO_MUCH),
    "another photo than announced": (asked(*image(sha256=bytes(32)), collection=PHOTOS), INVALID),
    "an empty digest": (asked(*image(sha256=b""), collection=PHOTOS), INVALID),
    "an empty photo": (asked(*image(b""), collection=PHOTOS), BAD_IMAGE),
    "text": (asked(*image(b"no photo"), collection=PHOTOS), BAD_IMAGE),
    "a bomb": (asked(*image(bomb()), collection=PHOTOS), BAD_IMAGE),
    "one flat colour": (asked(*image(FLAT), collection=PHOTOS), BAD_IMAGE),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_hostile_search_is_refused_with_a_reason(stub: Stub, name: str) -> None:
    messages, expected = SEARCHES[name]
    code, reason, message = refusal(lambda: stub.Search(iter(messages), timeout=60))
    assert (code, reason) == expected
    assert message.isprintable()
    assert len(message) < 1000


def test_no_count_of_matches_means_five(stub: Stub) -> None:
    hits, _ = stub.Search(iter(asked(*query(block()), k=0)), timeout=60)
    assert len(hits.hits.hits) == 3


# --- single messages ----------------------------------------------------------------------------------

LONG = "x" * (1 << 20)


def create(**changes: object) -> pb.CreateCollectionRequest:
    return pb.CreateCollectionRequest(**{"name": "new", "embedder": "none", "dimension": 4, **changes})


@dataclass(frozen=True)
class Request:
    """A request that must be refused."""

    rpc: str
    message: object
    expected: tuple[grpc.StatusCode, str]


REQUESTS = {
    "create without a name": Request("CreateCollection", create(name=""), INVALID),
    "create with a long name": Request("CreateCollection", create(name="x" * 129), INVALID),
    "create with a huge name": Request("CreateCollection", create(name=LONG), INVALID),
    "create with two lines": Request("CreateCollection", create(name="a\nb"), INVALID),
    "create with an option": Request("CreateCollection", create(name="--help"), INVALID),
    "create a taken name": Request("CreateCollection", create(name=PHOTOS), TAKEN),
    "create with a scheme": Request("CreateCollection", create(scheme=99), INVALID),
    "create with a scheme for sums": Request("CreateCollection", create(scheme="SCHEME_SCRAMBLE"), INVALID),
    "create with an embedder": Request("CreateCollection", create(embedder="gist"), INVALID),
    "create with a huge embedder": Request("CreateCollection", create(embedder=LONG), INVALID),
    "create with a metric": Request("CreateCollection", create(metric=99), INVALID),
    "create without a dimension": Request("CreateCollection", create(dimension=0), INVALID),
    "create beyond dimensions": Request("CreateCollection", create(dimension=4097), INVALID),
    "create far beyond": Request("CreateCollection", create(dimension=(1 << 32) - 1), INVALID),
    "create huge pixels": Request("CreateCollection", create(embedder="pixels", dimension=65535**2), INVALID),
    "create with a negative norm": Request("CreateCollection", create(max_norm=-1.0), INVALID),
    "create with norm NaN": Request("CreateCollection", create(max_norm=float("nan")), INVALID),
    "create with an infinite norm": Request("CreateCollection", create(max_norm=float("inf")), INVALID),
    "create with the largest norm": Request(
        "CreateCollection", create(metric=pb.METRIC_EUCLIDEAN, max_norm=1e308), INVALID
    ),
    "create with the smallest norm": Request(
        "CreateCollection", create(metric=pb.METRIC_EUCLIDEAN, max_norm=5e-324), INVALID
    ),
    "get nothing": Request("GetCollection", pb.GetCollectionRequest(), NOT_FOUND),
    "get the unknown": Request("GetCollection", pb.GetCollectionRequest(name=LONG), NOT_FOUND),
    "get two lines": Request("GetCollection", pb.GetCollectionRequest(name="\r\n\x1b[2J"), NOT_FOUND),
    "delete nothing": Request("DeleteCollection", pb.DeleteCollectionRequest(), NOT_FOUND),
    "delete the unknown": Request("DeleteCollection", pb.DeleteCollectionRequest(name=LONG), NOT_FOUND),
    "rename nothing": Request("RenameCollection", pb.RenameCollectionRequest(new_name="new"), NOT_FOUND),
    "rename to nothing": Request("RenameCollection", pb.RenameCollectionRequest(name=VECTORS), INVALID),
    "rename to two lines": Request(
        "RenameCollection", pb.RenameCollectionRequest(name=VECTORS, new_name="\r\n\x1b[2J"), INVALID
    ),
    "rename to a name that is too long": Request(
        "RenameCollection", pb.RenameCollectionRequest(name=VECTORS, new_name=LONG), INVALID
    ),
    "rename to the name of another": Request(
        "RenameCollection", pb.RenameCollectionRequest(name=VECTORS, new_name=PHOTOS), TAKEN
    ),
    "an alias that is nothing": Request("SetAlias", pb.SetAliasRequest(collection=VECTORS), INVALID),
    "an alias with a dash": Request("SetAlias", pb.SetAliasRequest(alias="-x", collection=VECTORS), INVALID),
    "an alias of nothing": Request("SetAlias", pb.SetAliasRequest(alias="x"), NOT_FOUND),
    "an alias that is a name": Request(
        "SetAlias", pb.SetAliasRequest(alias=PHOTOS, collection=VECTORS), TAKEN
    ),
    "remove no alias": Request("RemoveAlias", pb.RemoveAliasRequest(), NOT_FOUND),
    "remove a name": Request("RemoveAlias", pb.RemoveAliasRequest(alias=VECTORS), NOT_FOUND),
    "truncate nothing": Request("TruncateCollection", pb.TruncateCollectionRequest(), NOT_FOUND),
    "truncate the unknown": Request("TruncateCollection", pb.TruncateCollectionRequest(name=LONG), NOT_FOUND),
    "planes of nothing": Request("GetPlanes", pb.GetPlanesRequest(), NOT_FOUND),
    "planes of an id with control characters": Request(
        "GetPlanes", pb.GetPlanesRequest(collection=PHOTOS, id="\x00\n"), NOT_FOUND
    ),
    "planes of a vector": Request("GetPlanes", pb.GetPlanesRequest(collection=VECTORS, id="0"), INVALID),
    "an original of nothing": Request("GetOriginal", pb.GetOriginalRequest(), NOT_FOUND),
    "an original that is not there": Request(
        "GetOriginal", pb.GetOriginalRequest(collection=PHOTOS, id="\x00\n"), NOT_FOUND
    ),
    "an original with a huge id": Request(
        "GetOriginal", pb.GetOriginalRequest(collection=PHOTOS, id=LONG), NOT_FOUND
    ),
    "an original of a vector": Request(
        "GetOriginal", pb.GetOriginalRequest(collection=VECTORS, id="0"), NOT_FOUND
    ),
    "delete no items": Request("DeleteItems", pb.DeleteItemsRequest(collection=VECTORS), INVALID),
    "delete too many items": Request(
        "DeleteItems", pb.DeleteItemsRequest(collection=VECTORS, ids=["x"] * 10_001), INVALID
    ),
    "delete items of nothing": Request(
        "DeleteItems", pb.DeleteItemsRequest(collection=LONG, ids=["0"]), NOT_FOUND
    ),
    "repack nothing": Request("Repack", pb.RepackRequest(), NOT_FOUND),
    "repack the unknown": Request("Repack", pb.RepackRequest(collection=LONG), NOT_FOUND),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_a_hostile_request_is_refused_with_a_reason(stub: Stub, name: str) -> None:
    request = REQUESTS[name]
    method: Callable[..., object] = getattr(stub, request.rpc)
    code, reason, message = refusal(lambda: method(request.message, timeout=60))
    assert (code, reason) == request.expected
    assert message.isprintable()
    assert len(message) < 1000


def test_unknown_ids_are_named_and_change_nothing(stub: Stub) -> None:
    unknown = ["", "\x00", "x" * 1000, "nobody"]
    answer = stub.DeleteItems(pb.DeleteItemsRequest(collection=VECTORS, ids=unknown), timeout=60)
    assert (answer.deleted, list(answer.unknown_ids)) == (0, unknown)


# --- bytes --------------------------------------------------------------------------------------------

JUNK = {
    "ones": b"\xff" * 100,
    "a broken text": b"\x0a\x02\xff\xfe",
    "a length beyond the end": b"\x0a\xff\xff\xff\x7f",
    "a group that never ends": b"\x0b" * 100,
    "a picture": GOOD[:1000],
}


def has_text(rpc: str) -> bool:
    """Whether the first field is one that a text can be in; to others it is one of a newer version."""
    first = RPCS[rpc].input_type.fields_by_number.get(1)
    return first is not None and first.type in (first.TYPE_STRING, first.TYPE_BYTES, first.TYPE_MESSAGE)


NO_MESSAGES = [(rpc, junk) for rpc in RPCS for junk in JUNK if has_text(rpc) or junk != "a broken text"]


@pytest.mark.parametrize(("rpc", "junk"), NO_MESSAGES)
def test_bytes_that_are_no_message_are_refused_with_a_reason(
    services: Services, stub: Stub, rpc: str, junk: str
) -> None:
    with grpc.insecure_channel(services.address()) as channel:
        path = f"/{RPCS[rpc].containing_service.full_name}/{rpc}"
        if RPCS[rpc].client_streaming:
            call = channel.stream_stream(path)
            code, reason, message = refusal(lambda: call(iter([JUNK[junk]]), timeout=60))
        else:
            call = channel.unary_stream(path) if RPCS[rpc].server_streaming else channel.unary_unary(path)
            code, reason, message = refusal(lambda: call(JUNK[junk], timeout=60))
    assert (code, reason) == INVALID
    assert message.isprintable()


def test_a_message_over_the_limit_is_refused(stub: Stub) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Ingest(iter([header(), chunk(bytes(5 << 20))]), timeout=60))
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_an_unknown_rpc_is_unimplemented(services: Services, stub: Stub) -> None:
    with grpc.insecure_channel(services.address()) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/blindsight.keyholder.v1.KeyholderService/Decrypt")(b"", timeout=60)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_request_id_that_is_no_word_is_not_taken_over(services: Services, stub: Stub) -> None:
    for request_id in ("x" * 65, 'forged", "event": "ready', "é"):
        metadata = (("x-request-id", request_id.encode("ascii", "replace").decode()),)
        stub.ListCollections(pb.ListCollectionsRequest(), metadata=metadata, timeout=60)
    log = (services.folder / "keyholder.log").read_text()
    assert "forged" not in log
    assert "x" * 65 not in log


def test_nothing_of_all_this_was_unexpected(services: Services) -> None:
    log = (services.folder / "keyholder.log").read_text()
    assert "unexpected_exception" not in log
    assert "Traceback" not in log
