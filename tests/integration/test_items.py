"""What is said of items: kept, found again, filtered, changed, through the three real services."""

from __future__ import annotations

import io
import json
from base64 import urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import ExifTags, Image
from support.metadata import FILTERS, drawn
from support.photos import encoded, small_photo
from support.twin import passes

import blindsight
from blindsight.client import Photo, Vault
from blindsight.errors import InvalidArgument, NotFound
from blindsight.wire.metadata import checked

RNG = np.random.default_rng(13)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


def picture(seed: int) -> bytes:
    squares = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8)
    return encoded(Image.fromarray(np.kron(squares, np.ones((8, 8, 1), np.uint8))), "PNG")


@pytest.fixture(scope="module")
def album(services):
    with blindsight.connect(services.address()) as vault:
        album = vault.create_collection("album", scheme="ckks")
        for number in range(12):
            said = {
                "year": 2015 + number,
                "place": ("Rome", "Paris")[number % 2],
                "tags": ["a", f"t{number}"],
            }
            photo = Photo(picture(number), id=f"photo{number:02}", metadata=said, name=f"{number}.png")
            report = album.ingest([photo], metadata={"owner": "me", "year": 1})
            assert report.stored == 1
        yield album


def ids(items) -> list[str]:
    return [item.id for item in items]


def test_what_a_camera_said_is_kept_where_it_is_asked_for_and_nothing_else_is_said(services):
    made = Image.Exif()
    made.update({ExifTags.Base.Make: "Maker", ExifTags.Base.Model: "One"})
    file = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (40, 40, 3), np.uint8)).save(file, "JPEG", exif=made)
    with blindsight.connect(services.address()) as vault:
        shots = vault.create_collection("shots", embedder="pixels", dimension=64)
        shots.ingest([Photo(file.getvalue(), id="plain")])
        shots.ingest([Photo(file.getvalue(), id="read")], exif=True)
        shots.ingest([Photo(file.getvalue(), id="said", metadata={"camera": "mine"})], exif=True)
        said = {item.id: item.metadata for item in shots.items()}
        assert said == {"plain": {}, "read": {"camera": "Maker One"}, "said": {"camera": "mine"}}


def test_what_was_said_of_a_photo_comes_back(album):
    item = album.item("photo03")
    assert item.metadata == {"owner": "me", "place": "Paris", "tags": ("a", "t3"), "year": 2018}
    assert (item.name, item.media_type, item.size_bytes) == ("3.png", "image/png", len(picture(3)))
    assert abs((item.added - datetime.now(UTC)).total_seconds()) < 600
    assert album.get("photo03").data == picture(3)
    assert album.exists("photo03")
    assert not album.exists("nobody")
    with pytest.raises(NotFound, match="nobody"):
        album.item("nobody")


def test_lists_go_page_by_page_in_every_order(album):
    everyone = [f"photo{number:02}" for number in range(12)]
    for order in ("added", "id"):
        for size in (1, 5, 12, 1000):
            assert ids(album.items(order=order, page_size=size)) == everyone
            assert ids(album.items(order=order, page_size=size, descending=True)) == everyone[::-1]
    for said in ("nonsense", *map(token_of, WRONG_TOKENS)):
        with pytest.raises(InvalidArgument, match="page_token"):
            album.page(page_token=said)
    token = album.page(page_size=5).next_page_token
    with pytest.raises(InvalidArgument, match="order"):
        album.page(page_token=token, order="id")


def test_lists_by_time_are_in_the_order_in_which_items_were_given(vault):
    shuffled = [int(number) for number in np.random.default_rng(4).permutation(150)]
    given = [f"id {number}" for number in shuffled]
    photos = vault.create_collection("in order", embedder="pixels", dimension=64)
    photos.ingest([Photo(picture(number), id=f"id {number}") for number in shuffled])
    rows = vault.create_collection("rows in order", embedder="none", dimension=4)
    rows.ingest_vectors(RNG.standard_normal((150, 4)), given, metadata={"a": 1})
    for collection in (photos, rows):
        for size in (1, 7, 1000):
            assert ids(collection.items(page_size=size)) == given
            assert ids(collection.items("not has(b)", page_size=size, descending=True)) == given[::-1]
    photos.ingest([Photo(picture(1000), id=given[0])], upsert=True)
    photos.update(given[3], set={"a": 1})
    assert ids(photos.items()) == given


@pytest.mark.parametrize("descending", [False, True])
def test_a_list_gives_out_each_item_once_whatever_is_upserted_meanwhile(vault, descending):
    given = [f"id {number}" for number in range(12)]
    photos = vault.create_collection(f"upserted {descending}", embedder="pixels", dimension=64)
    photos.ingest([Photo(picture(number), id=one) for number, one in enumerate(given)])
    rows = vault.create_collection(f"rows upserted {descending}", embedder="none", dimension=4)
    rows.ingest_vectors(RNG.standard_normal((12, 4)), given, metadata={"a": 1})
    bare = vault.create_collection(f"bare rows upserted {descending}", embedder="none", dimension=4)
    bare.ingest_vectors(RNG.standard_normal((12, 4)), [*given[:8], *"1234"])

    def store(item_id: str) -> None:
        photos.ingest([Photo(picture(RNG.integers(1 << 30)), id=item_id)], upsert=True)
        for collection, said in ((rows, None), (bare, {"a": 1})):
            collection.ingest_vectors(RNG.standard_normal(4), [item_id], metadata=said, upsert=True)

    for collection in (photos, rows, bare):
        before = ids(collection.items(descending=descending))
        given_out = []
        for item in islice(collection.items(page_size=3, descending=descending), 40):
            given_out.append(item.id)
            store(item.id)
            store(before[-1])
        assert given_out == before
        assert ids(collection.items(descending=descending)) == before


def token_of(said: object) -> str:
    return urlsafe_b64encode((said if isinstance(said, str) else json.dumps(said)).encode()).decode()


HANDLE = "00" * 16
WRONG_TOKENS = [
    "[" * 5000,
    "x" * 9000,
    {},
    ["added", False, 1 << 70, HANDLE],
    ["added", False, -1, HANDLE],
    ["added", False, True, HANDLE],
    ["added", False, "id", HANDLE],
    ["added", False, 1, "00"],
    ["id", False, "\ud800", HANDLE],
]


def test_what_is_too_much_in_all_is_refused_alone(vault):
    heap = vault.create_collection("heap", embedder="pixels", dimension=64)
    own = {f"own{number}": 1 for number in range(40)}
    report = heap.ingest(
        [Photo(picture(1), metadata=own), Photo(picture(2))],
        metadata={f"all{number}": 1 for number in range(40)},
    )
    assert (report.rejected, report.stored) == (1, 1)
    assert "80 keys" in report.items[0].message
    largest = {"text": "\x01" * 2700}  # six bytes each, as it is sealed
    assert heap.ingest([Photo(picture(3), id="largest", metadata=largest)]).stored == 1
    assert heap.item("largest").metadata == largest


def test_every_search_finds_an_item_that_is_replaced_again_and_again(vault):
    busy = vault.create_collection("busy", embedder="none", dimension=4)
    busy.ingest_vectors(np.eye(4)[:1], ["the one"], metadata={"n": 0})

    def replace_it() -> None:
        for number in range(1, 40):
            busy.ingest_vectors(np.eye(4)[:1], ["the one"], metadata={"n": number}, upsert=True)

    with ThreadPoolExecutor(1) as pool:
        replacing = pool.submit(replace_it)
        seen = []
        while not replacing.done():
            (hit,) = busy.search_vectors(np.eye(4)[0], k=1, where="has(n)").results[0]
            seen.append(hit.metadata["n"])
        replacing.result()
    assert seen == sorted(seen)
    assert len(set(seen)) > 5


def test_only_what_passes_is_listed_counted_and_ranked(album):
    where = 'year >= 2018 and place = "Rome" and not tags = "t9"'
    wanted = [f"photo{number:02}" for number in range(12) if number >= 3 and number % 2 == 0]
    assert ids(album.items(where)) == wanted
    assert album.count(where) == len(wanted)
    answer = album.search(picture(5), k=12, where=where)
    assert sorted(hit.id for hit in answer.results[0]) == wanted
    best = album.search(picture(6), k=1, where=where).results[0][0]
    assert (best.id, best.name, best.metadata["place"]) == ("photo06", "6.png", "Rome")
    assert album.search(picture(6), k=5, where="has(nothing)").results == [[]]


def test_pages_of_hits_follow_each_other(album):
    whole = ids(album.search(picture(1), k=12).results[0])
    paged = [hit.id for at in range(0, 12, 5) for hit in album.search(picture(1), k=5, offset=at).results[0]]
    assert paged == whole


def test_metadata_are_changed_by_id_and_by_filter(vault):
    shelf = vault.create_collection("shelf", embedder="none", dimension=4)
    shelf.ingest_vectors(RNG.normal(size=(6, 4)), [f"v{n}" for n in range(6)])
    assert shelf.update(["v1", "nobody"], set={"year": 2020, "when": MAY}).unknown_ids == ("nobody",)
    assert shelf.item("v1").metadata == {"when": MAY, "year": 2020}
    assert shelf.item("v2").metadata == {}
    assert shelf.update(where="not has(year)", set={"year": 1999}).updated == 5
    assert shelf.update(where="year = 1999", set={"seen": True}, remove=["year"]).updated == 5
    assert [item.metadata for item in shelf.items(order="id")] == [
        {"seen": True} if n != 1 else {"when": MAY, "year": 2020} for n in range(6)
    ]
    for wrong in ({"ids": ["v1"], "where": "has(a)"}, {}):
        with pytest.raises(InvalidArgument, match="want one of them"):
            shelf.update(**wrong, set={"a": 1})
    with pytest.raises(InvalidArgument, match="no metadata"):
        shelf.update("v1")
    assert shelf.delete(where="seen = true").deleted == 5
    assert ids(shelf.items()) == ["v1"]


def test_an_item_with_an_id_that_is_there_takes_its_place(vault):
    diary = vault.create_collection("diary")
    diary.ingest([Photo(picture(1), id="day", metadata={"a": 1}), Photo(picture(2), id="night")])
    assert diary.ingest([Photo(picture(3), id="day")]).rejected == 1
    assert diary.ingest([Photo(picture(1), id="day")]).duplicates == 1
    assert diary.get("day").data == picture(1)
    assert (
        diary.ingest(
            [Photo(picture(3), id="day", metadata={"b": 2}), Photo(picture(4), id="new")], upsert=True
        ).stored
        == 2
    )
    assert (diary.get("day").data, diary.item("day").metadata) == (picture(3), {"b": 2})
    assert (diary.get("night").data, diary.get("new").data) == (picture(2), picture(4))
    best = diary.search(picture(3), k=3).results[0]
    assert best[0].id == "day"
    assert best[0].score > 0.999
    assert sorted(ids(best)) == ["day", "new", "night"]
    assert diary.describe().items == 3


def test_vectors_take_places_too(vault):
    rows = np.eye(4)
    kept = vault.create_collection("kept", embedder="none", dimension=4)
    kept.ingest_vectors(rows, ["a", "b", "c", "d"], metadata=[{"n": n} for n in range(4)])
    kept.ingest_vectors(rows[::-1][:2], ["a", "e"], upsert=True, metadata={"new": True})
    assert ids(kept.search_vectors(rows[3], k=2).results[0])[:2] in (["a", "d"], ["d", "a"])
    assert ids(kept.search_vectors(rows[0], k=1, where="not has(new)").results[0])[0] != "a"
    assert kept.count() == 5
    assert kept.item("a").metadata == {"new": True}


def test_vectors_that_are_nothing_but_an_id_are_listed_with_the_others(vault):
    mixed = vault.create_collection("mixed", embedder="none", dimension=4)
    mixed.ingest_vectors(RNG.normal(size=(12, 4)))
    mixed.ingest_vectors(RNG.normal(size=(3, 4)), ["longer than nine bytes", "z", "10b"], metadata={"a": 1})
    everyone = [str(n) for n in range(12)]
    assert ids(mixed.items(page_size=4))[:12] == everyone
    assert sorted(ids(mixed.items(page_size=4))[12:]) == ["10b", "longer than nine bytes", "z"]
    by_id = sorted([*everyone, "longer than nine bytes", "z", "10b"])
    for size in (1, 4, 100):
        assert ids(mixed.items(order="id", page_size=size)) == by_id
        assert ids(mixed.items(order="id", page_size=size, descending=True)) == by_id[::-1]
    assert ids(mixed.items("not has(a)")) == everyone
    assert mixed.count("not has(a)") == 12


@pytest.fixture(scope="module")
def many(services):
    """Vectors with all sorts of metadata, and what was said of each."""
    import blindsight

    said = {f"id{number}": checked(values) for number, values in enumerate(drawn(60, seed=1))}
    with blindsight.connect(services.address()) as vault:
        many = vault.create_collection("many", embedder="none", dimension=4)
        many.ingest_vectors(RNG.normal(size=(60, 4)), list(said), metadata=list(said.values()))
        yield many, said


@given(FILTERS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_filter_means_the_same_in_lists_counts_and_searches(many, wanted):
    collection, said = many
    expected = sorted(item_id for item_id, values in said.items() if passes(wanted, values))
    assert sorted(ids(collection.items(wanted))) == expected
    assert collection.count(wanted) == len(expected)
    found = collection.search_vectors(np.ones(4), k=100, where=wanted).results[0]
    assert sorted(ids(found)) == expected
    assert all(hit.metadata == said[hit.id] for hit in found)


def test_another_photo_with_a_known_id_is_refused_and_the_same_one_a_duplicate(vault: Vault) -> None:
    album = vault.create_collection("one id, one photo", embedder="pixels", dimension=64)
    first, other = small_photo(80), small_photo(81)
    twice = album.ingest([Photo(first, id="x"), Photo(other, id="x"), Photo(first, id="x")])
    assert [item.outcome for item in twice.items] == ["stored", "rejected", "duplicate"]
    for data, outcome in ((first, "duplicate"), (other, "rejected")):
        (item,) = album.ingest([Photo(data, id="x")]).items
        assert item.outcome == outcome
    assert item.reason == "ALREADY_EXISTS"
    assert item.message.startswith("id 'x' is another photo's")
    assert album.get("x").data == first
    (item,) = album.ingest([Photo(first, id="x", metadata={"a": 1})]).items
    assert (item.outcome, album.item("x").metadata) == ("duplicate", {})
    assert "what is said of it now was not kept" in item.remark
    album.update("x", set={"a": 1})
    (item,) = album.ingest([Photo(first, id="x", metadata={"a": 1})]).items
    assert (item.outcome, item.remark) == ("duplicate", "")
    album.ingest([Photo(other, id="x")], upsert=True)
    (item,) = album.ingest([Photo(other, id="x")]).items
    assert (item.outcome, album.get("x").data) == ("duplicate", other)
    vault.delete_collection(album.name)
