"""Searches and photos of one message each way: as by streams, for clients of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import grpc
import numpy as np
import pytest
from google.protobuf.message import Message
from support.photos import encoded, photo, small_photo
from support.services import Services

import blindsight
from blindsight.client import Vault
from blindsight.errors import BlindsightError, InvalidArgument, InvalidVector, NotFound, ResourceExhausted
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.rpc.keyholder.v1.keyholder_pb2_grpc import KeyholderServiceStub
from blindsight.runtime.status import from_rpc_error

VECTORS = np.random.default_rng(23).normal(size=(40, 8)).astype(np.float32)
LONG_IDS = [f"{number} ".ljust(250, "x") + "." for number in range(len(VECTORS))]
QUERIES = VECTORS[:3] + np.float32(0.01)


@pytest.fixture
def stub(services: Services) -> Iterator[KeyholderServiceStub]:
    with grpc.insecure_channel(services.address()) as channel:
        yield KeyholderServiceStub(channel)


@pytest.fixture(scope="module")
def filled(services: Services) -> Iterator[Vault]:
    with blindsight.connect(services.address()) as vault:
        numbers = vault.create_collection("numbers", embedder="none", dimension=8)
        numbers.ingest_vectors(VECTORS, ids=LONG_IDS, metadata=[{"row": row} for row in range(len(VECTORS))])
        vault.create_collection("visible", scheme="paillier", embedder="none", dimension=8).ingest_vectors(
            VECTORS[:4]
        )
        for embedder in ("pixels", "sift"):
            album = vault.create_collection(embedder, embedder=embedder)
            album.ingest([(name, encoded(photo(name, 160))) for name in ("coffee", "rocket", "chelsea")])
        yield vault


def rows(vectors: np.ndarray) -> list[pb.Vector]:
    return [pb.Vector(values=row.tolist()) for row in vectors]


def error(call: Callable[[], Message]) -> BlindsightError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return from_rpc_error(caught.value, "the keyholder")


def streamed(stub: KeyholderServiceStub, *parts: pb.SearchRequest) -> list[pb.SearchResponse]:
    return list(stub.Search(iter(parts), timeout=60))


SETTINGS = {
    "as it is": {},
    "few": {"k": 2},
    "beyond the first": {"k": 3, "offset": 2},
    "near": {"k": 40, "threshold": 0.5},
    "of some rows": {
        "where": {"comparison": {"key": "row", "operator": pb.OPERATOR_GREATER, "value": {"number": 20.0}}}
    },
}


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_vectors_have_the_hits_that_a_stream_gives_them(
    stub: KeyholderServiceStub, settings: dict[str, object]
) -> None:
    header = pb.SearchHeader(collection="numbers", **settings)
    block = pb.VectorBlock(values=QUERIES.astype("<f4").tobytes(), dimension=8)
    *parts, last = streamed(stub, pb.SearchRequest(header=header), pb.SearchRequest(vectors=block))
    wanted = [part.hits for part in parts if part.WhichOneof("part") == "hits"]
    answer = stub.SearchVectors(pb.SearchVectorsRequest(settings=header, vectors=rows(QUERIES)), timeout=60)
    assert [[hit.id for hit in hits.hits] for hits in answer.results] == [
        [hit.id for hit in hits.hits] for hits in wanted
    ]
    for ours, theirs in zip(answer.results, wanted, strict=True):
        assert [hit.score for hit in ours.hits] == pytest.approx([hit.score for hit in theirs.hits], abs=1e-3)
        assert [hit.metadata for hit in ours.hits] == [hit.metadata for hit in theirs.hits]
    assert sum(len(hits.hits) for hits in answer.results)
    assert answer.timings.total_seconds > 0
    assert (answer.query_visible_to_server, answer.quarantined_items) == (False, last.quarantined_items)


@pytest.mark.usefixtures("filled")
def test_a_query_in_the_clear_wants_its_owners_agreement(stub: KeyholderServiceStub) -> None:
    def search(**agreed: bool) -> pb.SearchVectorsResponse:
        header = pb.SearchHeader(collection="visible", k=1, **agreed)
        return stub.SearchVectors(
            pb.SearchVectorsRequest(settings=header, vectors=rows(VECTORS[2:3])), timeout=60
        )

    assert "would see the query's numbers" in error(search).message
    answer = search(query_visible_to_server=True)
    assert answer.query_visible_to_server
    assert [hit.id for hit in answer.results[0].hits] == ["2"]


@pytest.mark.usefixtures("filled")
def test_a_photo_is_found_with_its_pictures_if_they_are_wanted(stub: KeyholderServiceStub) -> None:
    def search(collection: str, **settings: object) -> pb.SearchImageResponse:
        header = pb.SearchHeader(collection=collection, k=1, **settings)
        image = encoded(photo("rocket", 160))
        return stub.SearchImage(pb.SearchImageRequest(settings=header, image=image), timeout=60)

    for collection in ("pixels", "sift"):
        answer = search(collection)
        assert [hit.name for hit in answer.hits] == ["rocket"]
        assert not answer.drawings
        assert answer.timings.embed_seconds > 0
    drawn = search("sift", draw=True)
    assert sorted(one.rank for one in drawn.drawings) == [0, 1]
    assert all(one.drawn.startswith(b"\xff\xd8") for one in drawn.drawings)
    assert drawn.hits[0].keypoints.verified


@pytest.mark.usefixtures("filled")
def test_an_answer_that_one_message_does_not_hold_is_for_the_stream(stub: KeyholderServiceStub) -> None:
    many = np.repeat(VECTORS, 16, axis=0)
    header = pb.SearchHeader(collection="numbers", k=40)
    request = pb.SearchVectorsRequest(settings=header, vectors=rows(many))
    raised = error(lambda: stub.SearchVectors(request, timeout=60))
    assert type(raised) is ResourceExhausted
    assert "an answer of over 4194304 bytes, want fewer hits or pictures, or Search" in raised.message
    block = pb.VectorBlock(values=many.astype("<f4").tobytes(), dimension=8)
    parts = streamed(stub, pb.SearchRequest(header=header), pb.SearchRequest(vectors=block))
    assert sum(len(part.hits.hits) for part in parts) == 40 * len(many)


def wrong() -> dict[str, tuple[pb.SearchVectorsRequest, type[BlindsightError]]]:
    there = pb.SearchHeader(collection="numbers")
    return {
        "nothing": (pb.SearchVectorsRequest(), NotFound),
        "an unknown collection": (
            pb.SearchVectorsRequest(settings={"collection": "nobody's"}, vectors=rows(QUERIES)),
            NotFound,
        ),
        "no vectors": (pb.SearchVectorsRequest(settings=there), InvalidArgument),
        "too many vectors": (
            pb.SearchVectorsRequest(settings=there, vectors=rows(np.tile(VECTORS, (103, 1)))),
            InvalidArgument,
        ),
        "an empty vector": (pb.SearchVectorsRequest(settings=there, vectors=[pb.Vector()]), InvalidVector),
        "several dimensions": (
            pb.SearchVectorsRequest(settings=there, vectors=[*rows(QUERIES), pb.Vector(values=[1])]),
            InvalidVector,
        ),
        "another dimension": (
            pb.SearchVectorsRequest(settings=there, vectors=rows(QUERIES[:, :7])),
            InvalidVector,
        ),
        "NaN": (
            pb.SearchVectorsRequest(settings=there, vectors=[pb.Vector(values=[float("nan")] * 8)]),
            InvalidVector,
        ),
        "pictures of vectors": (
            pb.SearchVectorsRequest(
                settings=pb.SearchHeader(collection="numbers", draw=True), vectors=rows(QUERIES)
            ),
            InvalidArgument,
        ),
        "vectors for keypoints": (
            pb.SearchVectorsRequest(settings={"collection": "sift"}, vectors=rows(QUERIES)),
            InvalidArgument,
        ),
    }


@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize("name", wrong())
def test_vectors_that_cannot_be_searched_for_are_refused(stub: KeyholderServiceStub, name: str) -> None:
    request, expected = wrong()[name]
    assert type(error(lambda: stub.SearchVectors(request, timeout=60))) is expected


def test_a_photo_is_stored_with_what_is_said_of_it_and_replaced_on_demand(
    stub: KeyholderServiceStub, filled: Vault
) -> None:
    album = filled.create_collection("one by one", embedder="pixels")

    def ingest(seed: int, **given: object) -> pb.IngestImageResponse:
        settings = pb.IngestHeader(collection="one by one", upsert=bool(given.pop("upsert", False)))
        settings.metadata.values["year"].number = 2020
        request = pb.IngestImageRequest(
            settings=settings, name=f"{seed}.png", image=small_photo(seed), **given
        )
        return stub.IngestImage(request, timeout=60)

    metadata = pb.Metadata(values={"place": pb.Value(text="Bonn")})
    first = ingest(1, id="mine", metadata=metadata)
    assert (first.id, first.outcome, first.remark) == ("mine", pb.OUTCOME_STORED, "")
    kept = album.item("mine")
    assert (kept.name, dict(kept.metadata)) == ("1.png", {"place": "Bonn", "year": 2020.0})
    assert album.get("mine").data == small_photo(1)
    assert ingest(1, id="mine").outcome == pb.OUTCOME_DUPLICATE
    assert ingest(2, id="mine", upsert=True).outcome == pb.OUTCOME_STORED
    assert album.get("mine").data == small_photo(2)
    hashed = ingest(3)
    assert (hashed.outcome, album.count()) == (pb.OUTCOME_STORED, 2)
    assert album.search(small_photo(3), k=1).results[0][0].id == hashed.id


def test_a_photo_that_is_rejected_is_an_error_and_one_that_is_kept_all_the_same_has_a_remark(
    stub: KeyholderServiceStub, filled: Vault
) -> None:
    filled.create_collection("odd", embedder="pixels")
    filled.create_collection("faces", embedder="external", dimension=4)

    def ingest(image: bytes, collection: str = "odd", **given: object) -> pb.IngestImageResponse:
        request = pb.IngestImageRequest(settings={"collection": collection}, image=image, **given)
        return stub.IngestImage(request, timeout=60)

    assert "no search will find it" in ingest(small_photo(5)[:200]).remark
    assert ingest(small_photo(6), "faces", vectors=[{"values": [1, 0, 0, 0]}]).outcome == pb.OUTCOME_STORED
    refused = {
        "no file": (lambda: ingest(b""), "InvalidImage"),
        "a long id": (lambda: ingest(small_photo(7), id="x" * 513), "InvalidArgument"),
        "no collection": (lambda: ingest(small_photo(7), "nobody's"), "NotFound"),
        "vectors only": (lambda: ingest(small_photo(7), "numbers"), "InvalidArgument"),
        "no vector": (lambda: ingest(small_photo(7), "faces"), "InvalidVector"),
        "too large": (lambda: ingest(bytes(4 << 20)), "ResourceExhausted"),
    }
    assert {name: type(error(call)).__name__ for name, (call, _) in refused.items()} == {
        name: wanted for name, (_, wanted) in refused.items()
    }
