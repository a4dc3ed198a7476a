"""Photos with several vectors, as one of each face: one item each, found by the best of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from support.damage import FLIPPED, change_database, forget_copies
from support.photos import small_photo
from support.services import Services

import blindsight
from blindsight.client import Box, Collection, Photo, PhotoVector, Vault, VectorLabel
from blindsight.errors import InvalidArgument, InvalidVector, NotFound

DIMENSION = 16
# Vectors of each photo.
COUNTS = (3, 1, 5, 1, 2, 40)
TOTAL = sum(COUNTS)
VECTORS = np.random.default_rng(16).normal(size=(TOTAL, DIMENSION)).astype(np.float32)
STARTS = np.cumsum((0, *COUNTS[:-1]))
OWNERS = np.repeat(np.arange(len(COUNTS)), COUNTS)
LOSE_BATCHES = f"UPDATE blobs SET bytes = {FLIPPED} WHERE number IN (SELECT block FROM batches)"


def photo(number: int, rows: np.ndarray | None = None) -> Photo:
    """Photo n of the gallery, whose vectors have names and every second one a box."""
    chosen = VECTORS[number == OWNERS] if rows is None else rows
    vectors = [
        PhotoVector(row, f"face {index}", Box(index, 2, 30, 40.5) if index % 2 else None)
        for index, row in enumerate(chosen)
    ]
    return Photo(small_photo(number), f"photo-{number}", {"number": number}, vectors=vectors)


def gallery() -> list[Photo]:
    return [photo(number) for number in range(len(COUNTS))]


def scores(queries: np.ndarray, rows: np.ndarray, metric: str) -> np.ndarray:
    if metric == "cosine":
        return unit(queries) @ unit(rows).T
    if metric == "dot":
        return queries @ rows.T
    return -((queries[:, None] - rows[None]) ** 2).sum(axis=2)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ranking(
    query: np.ndarray, metric: str, owners: np.ndarray = OWNERS, rows: np.ndarray = VECTORS
) -> list[int]:
    """The photos in the order in which a search should find them: by the best of their vectors."""
    best = scores(query[None], rows, metric)[0]
    return sorted(set(owners.tolist()), key=lambda one: -best[owners == one].max())


def found(collection: Collection, query: np.ndarray, **options: object) -> list[int]:
    (hits,) = collection.search_vectors(query, **{"k": len(COUNTS), **options}).results
    return [int(hit.id.removeprefix("photo-")) for hit in hits]


@pytest.fixture(scope="module", params=["cosine", "euclidean", "dot"])
def faces(request: pytest.FixtureRequest, services: Services) -> Iterator[Collection]:
    with blindsight.connect(services.address()) as vault:
        made = vault.create_collection(
            f"several {request.param}", embedder="external", dimension=DIMENSION, metric=request.param
        )
        report = made.ingest(gallery())
        assert (report.stored, report.rejected) == (len(COUNTS), 0)
        yield made


@pytest.fixture
def own(vault: Vault, request: pytest.FixtureRequest) -> Iterator[Collection]:
    made = vault.create_collection(request.node.name[:60], embedder="external", dimension=DIMENSION)
    made.ingest(gallery())
    yield made
    vault.delete_collection(made.name)


def test_a_photo_is_one_item_found_by_its_best_vector(faces: Collection) -> None:
    metric = faces.describe().metric
    for row in range(0, TOTAL, 3):
        assert found(faces, VECTORS[row]) == ranking(VECTORS[row], metric)


def test_a_hit_says_which_vector_it_was(faces: Collection) -> None:
    best = scores(VECTORS, VECTORS, faces.describe().metric).argmax(axis=1)
    for row, (hit,) in zip(best.tolist(), faces.search_vectors(VECTORS, k=1).results, strict=True):
        index = row - STARTS[OWNERS[row]]
        assert hit.id == f"photo-{OWNERS[row]}"
        assert hit.vector is not None
        assert (hit.vector.index, hit.vector.name) == (index, f"face {index}")
        assert hit.vector.box == (Box(index, 2, 30, 40.5) if index % 2 else None)


def test_fewer_hits_are_the_best_ones_and_pages_go_on(faces: Collection) -> None:
    metric = faces.describe().metric
    wanted = ranking(VECTORS[5], metric)
    assert found(faces, VECTORS[5], k=2) == wanted[:2]
    assert found(faces, VECTORS[5], k=2, offset=2) == wanted[2:4]


def test_items_are_counted_and_listed_once(faces: Collection) -> None:
    assert faces.count() == len(COUNTS)
    assert faces.describe().items == len(COUNTS)
    listed = list(faces.items())
    assert {item.id: len(item.vectors) for item in listed} == {
        f"photo-{number}": count for number, count in enumerate(COUNTS)
    }
    assert [one.id for one in faces.items(order="id")] == sorted(one.id for one in listed)


def test_a_filter_passes_all_vectors_of_an_item_or_none(faces: Collection) -> None:
    kept = np.isin(OWNERS, (2, 4))
    wanted = ranking(VECTORS[0], faces.describe().metric, OWNERS[kept], VECTORS[kept])
    assert found(faces, VECTORS[0], where="number in (2, 4)") == wanted
    assert faces.count(where="number in (2, 4)") == 2


def test_every_vector_can_be_read(faces: Collection) -> None:
    metric = faces.describe().metric
    for index in range(COUNTS[2]):
        row = VECTORS[STARTS[2] + index]
        read = faces.vector("photo-2", index)
        np.testing.assert_allclose(read.values, unit(row[None])[0] if metric == "cosine" else row, atol=2e-3)
        assert read.label is not None
        assert read.label.name == f"face {index}"
    with pytest.raises(NotFound, match=r"vector 5 of item 'photo-2', want 0 to 4"):
        faces.vector("photo-2", 5)


def test_a_verification_is_against_the_nearest_vector(faces: Collection) -> None:
    metric = faces.describe().metric
    if metric == "dot":
        with pytest.raises(InvalidArgument, match="dot"):
            faces.verify("photo-5", VECTORS[0])
        return
    row = STARTS[5] + 17
    made = faces.verify("photo-5", VECTORS[row])
    assert made.distance < 1e-2
    assert made.vector == VectorLabel(17, "face 17", Box(17, 2, 30, 40.5))
    best = scores(VECTORS[:1], VECTORS[OWNERS == 5], metric).argmax()
    assert faces.verify("photo-5", VECTORS[0]).vector.index == best
    wanted = -scores(VECTORS[:1], VECTORS[OWNERS == 5], metric).max()
    distance = faces.verify("photo-5", VECTORS[0]).distance
    assert distance == pytest.approx(1 + wanted if metric == "cosine" else wanted, rel=1e-2, abs=1e-2)


def test_more_like_an_item_leaves_out_all_its_vectors(faces: Collection) -> None:
    (hits,) = faces.search_like("photo-2", k=len(COUNTS)).results
    wanted = ranking(VECTORS[STARTS[2]], faces.describe().metric)
    assert [hit.id for hit in hits] == [f"photo-{one}" for one in wanted if one != 2]


def test_a_photo_comes_back_and_is_known_again(faces: Collection) -> None:
    assert faces.get("photo-5").data == small_photo(5)
    again = faces.ingest(gallery())
    assert (again.stored, again.duplicates) == (0, len(COUNTS))
    assert faces.describe().items == len(COUNTS)


def test_vectors_of_one_name_can_be_searched_alone(own: Collection) -> None:
    names = np.concatenate([np.arange(count) for count in COUNTS])
    for query in (VECTORS[2], VECTORS[STARTS[5] + 30]):
        for index in (0, 1, 4):
            kept = names == index
            wanted = ranking(query, "cosine", OWNERS[kept], VECTORS[kept])
            assert found(own, query, vector_name=f"face {index}") == wanted
    like = own.search_like("photo-2", vector_name="face 1", where="number != 4").results[0]
    assert {hit.id for hit in like} == {"photo-0", "photo-5"}
    assert {hit.vector.name for hit in like if hit.vector} == {"face 1"}
    assert found(own, VECTORS[0], vector_name="nobody") == []
    own.ingest([photo(2, VECTORS[:1]), photo(7, VECTORS[:2])], upsert=True)
    own.delete("photo-0")
    assert sorted(found(own, VECTORS[0], vector_name="face 1")) == [4, 5, 7]


def test_only_photos_with_vectors_of_their_owners_have_names(vault: Vault) -> None:
    made = vault.create_collection("no names", embedder="none", dimension=4)
    made.ingest_vectors(np.eye(4))
    with pytest.raises(InvalidArgument, match="want embedder external for names"):
        made.search_vectors(np.eye(4)[0], vector_name="face 1")


def test_deleted_is_deleted_with_all_vectors(own: Collection) -> None:
    before = own.describe()
    assert own.delete(["photo-5", "photo-0"]).deleted == 2
    assert own.describe().items == before.items - 2
    assert own.describe().deleted_items == COUNTS[5] + COUNTS[0]
    kept = ~np.isin(OWNERS, (5, 0))
    query = VECTORS[STARTS[5]]
    assert found(own, query) == ranking(query, "cosine", OWNERS[kept], VECTORS[kept])
    assert own.ingest([photo(5)]).stored == 1
    assert found(own, VECTORS[STARTS[5] + 39], k=1) == [5]


def test_an_upsert_replaces_all_vectors(own: Collection) -> None:
    fewer, more = VECTORS[:2] * -1, np.vstack([VECTORS[:6] * -1, VECTORS[7:9] * -2])
    for rows in (fewer, more, fewer[:1]):
        assert own.ingest([photo(2, rows)], upsert=True).stored == 1
        assert own.describe().items == len(COUNTS)
        (item,) = (one for one in own.items() if one.id == "photo-2")
        assert len(item.vectors) == len(rows)
        owners = np.concatenate([OWNERS[OWNERS != 2], np.full(len(rows), 2)])
        gallery_rows = np.vstack([VECTORS[OWNERS != 2], rows])
        for query in (VECTORS[STARTS[2] + 4], rows[-1]):
            assert found(own, query) == ranking(query, "cosine", owners, gallery_rows)
    slots = own.describe()
    assert slots.items == len(COUNTS)


def test_metadata_changes_leave_vectors_alone(own: Collection) -> None:
    assert own.update(["photo-2"], set={"number": 77}).updated == 1
    assert own.item("photo-2").metadata == {"number": 77}
    assert len(own.item("photo-2").vectors) == COUNTS[2]
    assert found(own, VECTORS[STARTS[2] + 3], where="number = 77") == [2]


def test_a_repack_and_a_restart_change_nothing(own_services: Services) -> None:
    with blindsight.connect(own_services.address()) as vault:
        made = vault.create_collection("several", embedder="external", dimension=DIMENSION)
        made.ingest(gallery())
        made.delete(["photo-5"])
        made.repack()
        assert made.describe().deleted_items == 0
        own_services["keyholder"].stop()
        (own_services.folder / "keyholder" / "catalog.db").unlink()
        own_services["keyholder"].start()
        kept = OWNERS != 5
        for row in range(0, TOTAL, 5):
            assert found(made, VECTORS[row]) == ranking(VECTORS[row], "cosine", OWNERS[kept], VECTORS[kept])
        assert found(made, VECTORS[0], where="number = 4") == [4]
        assert vault.status().services[0].items == len(COUNTS) - 1


def test_a_lost_vector_is_told_and_the_others_still_find_the_photo(own_services: Services) -> None:
    with blindsight.connect(own_services.address()) as vault:
        made = vault.create_collection("several damaged", embedder="external", dimension=DIMENSION)
        made.ingest([photo(0)])
        change_database(own_services, LOSE_BATCHES)
        forget_copies(own_services)
        made.ingest([photo(4)])
        checked = made.check()
        assert (checked.lost_ids, checked.losing) == (("photo-0",), COUNTS[0])
        assert made.check(repair=True).quarantined == COUNTS[0]
        assert found(made, VECTORS[STARTS[4] + 1]) == [4]
        assert made.get("photo-0").data == small_photo(0)
        assert made.describe().items == 2


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        ([np.ones(DIMENSION), np.ones(DIMENSION - 1)], "vector 1 of dimension 15, want 16"),
        ([], "without its vector"),
    ],
)
def test_what_does_not_fit_is_refused_and_the_rest_kept(
    faces: Collection, vectors: list[np.ndarray], said: str
) -> None:
    wrong = Photo(small_photo(90), "wrong", vectors=vectors)
    right = replace(photo(0), id="right")
    report = faces.ingest([wrong, right])
    try:
        assert (report.rejected, report.stored) == (1, 1)
        item = next(one for one in report.items if one.outcome == "rejected")
        assert said in item.message
    finally:
        faces.delete(["right"])


@pytest.mark.parametrize(
    "vectors",
    [
        [PhotoVector([1.0] * DIMENSION, "x" * 300)],
        [PhotoVector([1.0] * DIMENSION, "two\nlines")],
        [PhotoVector([1.0] * DIMENSION, box=Box(0, 0, 0, 5))],
        [PhotoVector([1.0] * DIMENSION, box=Box(0, float("nan"), 1, 5))],
        [[1.0] * DIMENSION] * 257,
    ],
    ids=["a long name", "a name of two lines", "an empty box", "no number in a box", "too many"],
)
def test_what_is_wrong_of_itself_is_refused_before_anything_is_sent(
    faces: Collection, vectors: list[object]
) -> None:
    with pytest.raises(InvalidVector):
        faces.ingest([Photo(small_photo(91), "wrong", vectors=vectors)])


def test_a_vector_without_a_direction_is_named(own: Collection) -> None:
    (item,) = own.ingest([Photo(small_photo(92), vectors=[np.ones(DIMENSION), np.zeros(DIMENSION)])]).items
    assert "its vector 1 is all zeros" in item.message


def test_one_way_of_giving_vectors(faces: Collection) -> None:
    with pytest.raises(InvalidArgument, match="want one of them"):
        faces.ingest([Photo(small_photo(92), vector=VECTORS[0], vectors=[VECTORS[1]])])


def test_more_vectors_than_an_append_takes_are_stored_photo_by_photo(vault: Vault) -> None:
    made = vault.create_collection("many vectors", embedder="external", dimension=128)
    counts = (256, 1, 256, 90, 200, 1)
    rows = np.random.default_rng(17).normal(size=(sum(counts), 128)).astype(np.float32)
    owners = np.repeat(np.arange(len(counts)), counts)
    photos = [
        Photo(small_photo(one), f"photo-{one}", vectors=rows[owners == one]) for one in range(len(counts))
    ]
    assert made.ingest(photos).stored == len(counts)
    (again, *_) = photos
    assert made.ingest([again], upsert=True).stored == 1
    assert (made.describe().items, made.describe().deleted_items) == (len(counts), counts[0])
    for row in (0, 255, 256, 512, 600, len(rows) - 1):
        assert found(made, rows[row]) == ranking(rows[row], "cosine", owners, rows)
    assert made.delete([f"photo-{one}" for one in (0, 2, 4)]).deleted == 3
    kept = np.isin(owners, (1, 3, 5))
    assert found(made, rows[0]) == ranking(rows[0], "cosine", owners[kept], rows[kept])
    assert (made.truncate(), made.count()) == (3, 0)
    vault.delete_collection(made.name)
