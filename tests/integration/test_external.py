"""Photos with vectors of their owner's (embedder external): kept together, found by the vector."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from support.damage import FLIPPED, change_database, forget_copies
from support.photos import encoded, small_photo
from support.services import Services

import blindsight
from blindsight.client import Collection, Photo, Vault
from blindsight.errors import InvalidArgument, InvalidVector

DIMENSION = 16
COUNT = 6
VECTORS = np.random.default_rng(15).normal(size=(COUNT, DIMENSION)).astype(np.float32)
LOSE_BATCHES = f"UPDATE blobs SET bytes = {FLIPPED} WHERE number IN (SELECT block FROM batches)"
FLAT = encoded(Image.new("L", (40, 40)), "PNG")  # of which no embedder could make anything


def files() -> list[tuple[str, bytes]]:
    return [(f"{number}.png", small_photo(number)) for number in range(COUNT)]


@pytest.fixture(scope="module", params=["cosine", "euclidean", "dot"])
def faces(request: pytest.FixtureRequest, services: Services) -> Iterator[Collection]:
    with blindsight.connect(services.address()) as vault:
        made = vault.create_collection(
            f"faces {request.param}", embedder="external", dimension=DIMENSION, metric=request.param
        )
        assert made.ingest(files(), vectors=VECTORS).stored == COUNT
        yield made


def test_a_photo_is_found_by_its_vector_and_comes_back_as_it_was(faces: Collection) -> None:
    for hits, (name, data) in zip(faces.search_vectors(VECTORS, k=COUNT).results, files(), strict=True):
        assert {hit.name for hit in hits} == {name for name, _ in files()}
        nearest = (
            hits[0] if faces.describe().metric != "dot" else next(hit for hit in hits if hit.name == name)
        )
        assert nearest.name == name
        assert faces.get(nearest.id).data == data


def test_what_no_embedder_could_describe_or_decode_is_found_too(faces: Collection) -> None:
    odd = np.eye(2, DIMENSION, 3, dtype=np.float32)
    report = faces.ingest([("flat.png", FLAT), ("words.txt", b"no picture")], vectors=odd, any=True)
    assert [item.outcome for item in report.items] == ["stored", "stored"]
    assert "no search will find it" not in " ".join(item.remark for item in report.items)
    assert faces.describe().undescribed_items == 0
    hits = faces.search_vectors(odd, k=COUNT + 2).results
    assert {"flat.png", "words.txt"} <= {hit.name for hit in hits[0]}
    types = {item.name: item.media_type for item in faces.items()}
    assert (types["flat.png"], types["words.txt"]) == ("image/png", "text/plain")
    faces.delete([item.id for item in report.items])


def test_a_photo_may_have_an_id_and_a_vector_of_its_own_and_take_anothers_place(faces: Collection) -> None:
    one, other = np.eye(2, DIMENSION, 5, dtype=np.float32)
    faces.ingest([Photo(small_photo(40), id="mine", vector=one, name="old.png")])
    faces.ingest([Photo(small_photo(41), id="mine", vector=other, name="new.png")], upsert=True)
    (hits,) = faces.search_vectors(other, k=COUNT + 1).results
    assert [hit.name for hit in hits if hit.id == "mine"] == ["new.png"]
    assert faces.get("mine").data == small_photo(41)
    assert faces.verify("mine", other).verified if faces.describe().metric != "dot" else True
    faces.delete("mine")


def test_a_photo_that_comes_again_with_another_vector_keeps_the_first_and_says_so(faces: Collection) -> None:
    one, other = np.eye(2, DIMENSION, 7, dtype=np.float32)
    given = small_photo(42)
    try:
        for vector, said in ((one, ""), (one, ""), (other, "what is said of it now was not kept")):
            (item,) = faces.ingest([Photo(given, id="again", vector=vector)]).items
            assert said in item.remark
            assert bool(said) == bool(item.remark)
        (item,) = faces.ingest([Photo(given, id="again", vector=other)], upsert=True).items
        assert (item.outcome, item.remark) == ("stored", "")
        (item,) = faces.ingest([Photo(given, id="again", vector=other)]).items
        assert (item.outcome, item.remark) == ("duplicate", "")
        faces.update("again", set={"a": 1})
        (item,) = faces.ingest([Photo(given, id="again", vector=one)]).items
        assert "was not kept" in item.remark
    finally:
        faces.delete("again")


@pytest.mark.parametrize(
    ("vectors", "why"),
    [
        (VECTORS[:2], "2 rows of vectors for 1 photos"),
        (VECTORS[:1, :5], "dimension 5, want 16"),
        (np.full((1, DIMENSION), np.nan), "row 0 has a NaN"),
        (None, "without its vector"),
    ],
)
def test_a_vector_that_does_not_fit_its_photo_is_refused_in_one_line(
    faces: Collection, vectors: np.ndarray | None, why: str
) -> None:
    before = faces.count()
    try:
        report = faces.ingest([("x.png", small_photo(50))], vectors=vectors)
    except (InvalidArgument, InvalidVector) as error:
        message = error.message
    else:
        (item,) = report.items
        assert (item.outcome, item.reason) == ("rejected", "INVALID_VECTOR")
        message = item.message
    assert why in message
    assert "\n" not in message
    assert faces.count() == before


def test_photos_alone_vectors_alone_and_bulk_are_refused_in_one_line(faces: Collection) -> None:
    with pytest.raises(InvalidArgument, match="searched by vectors, got a photo"):
        faces.search(small_photo(1))
    with pytest.raises(InvalidArgument, match="takes photos, got vectors"):
        faces.ingest_vectors(VECTORS)


def test_a_vector_is_refused_where_the_embedder_makes_them(vault: Vault) -> None:
    own = vault.create_collection("described", embedder="pixels", dimension=64)
    (item,) = own.ingest([Photo(small_photo(1), vector=np.ones(64))]).items
    assert (item.outcome, item.reason) == ("rejected", "INVALID_VECTOR")
    assert own.count() == 0


def test_an_item_whose_vector_storage_lost_is_quarantined_and_its_photo_stays(own_services: Services) -> None:
    with blindsight.connect(own_services.address()) as vault:
        faces = vault.create_collection("lost", embedder="external", dimension=DIMENSION)
        faces.ingest(files()[:3], vectors=VECTORS[:3])
        change_database(own_services, LOSE_BATCHES)
        forget_copies(own_services)
        checked = faces.check()
        assert (checked.rebuildable, checked.losing) == (0, 3)
        assert faces.check(repair=True).quarantined == 3
        assert sorted(faces.get(item.id).data for item in faces.items()) == sorted(
            data for _, data in files()[:3]
        )
        assert faces.search_vectors(VECTORS[:1]).results == [[]]
