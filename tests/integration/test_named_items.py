"""Every error of an operation on an item names the item's id and its collection, in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from support.photos import small_photo
from support.services import Services, wait_until

import blindsight
from blindsight.client import Collection, Photo, StoredPhoto, Vault
from blindsight.errors import (
    AlreadyExists,
    BlindsightError,
    DataLoss,
    InvalidArgument,
    InvalidVector,
    NotFound,
    Unavailable,
)

PHOTO, FLAT = small_photo(1), b"\xff\xd8\xff a photo by its first bytes"
MUCH = {f"key{number}": number for number in range(64)}


@dataclass
class World:
    """What the operations are on."""

    services: Services
    vault: Vault
    photos: Collection
    vectors: Collection
    album: Collection


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Services of which the keyholder does not wait for those that are gone."""
    running = Services(tmp_path_factory.mktemp("own"), {"keyholder": {"retry_seconds": "0.5"}})
    try:
        yield running.start()
    finally:
        running.stop()


@pytest.fixture(scope="module")
def world(impatient: Services) -> Iterator[World]:
    with blindsight.connect(impatient.address(), retry_seconds=0.5) as vault:
        photos = vault.create_collection("photos", embedder="pixels", dimension=64)
        photos.ingest([Photo(PHOTO, id="bare", metadata={"a": 1})])
        photos.ingest([Photo(PHOTO, id="planes")], planes=True)
        photos.ingest([Photo(FLAT, id="flat")])
        vectors = vault.create_collection("vectors", embedder="none", dimension=4)
        vectors.ingest_vectors(np.eye(4), ["a", "b", "c", "d"])
        album = vault.create_collection("album", embedder="sift")
        album.ingest([Photo(FLAT, id="flat")])
        yield World(impatient, vault, photos, vectors, album)


# By what is done: the call, the collection and the id that its error names, and the error.
Case = tuple[Callable[[World], Any], str, str, type[BlindsightError]]
NOBODY: Mapping[str, Case] = {
    "get": (lambda w: w.photos.get("nobody"), "photos", "nobody", NotFound),
    "get of a vector": (lambda w: w.vectors.get("a"), "vectors", "a", NotFound),
    "planes": (lambda w: w.photos.planes("nobody"), "photos", "nobody", NotFound),
    "planes of a photo without": (lambda w: w.photos.planes("bare"), "photos", "bare", NotFound),
    "planes of a vector": (lambda w: w.vectors.planes("a"), "vectors", "a", InvalidArgument),
    "item": (lambda w: w.photos.item("nobody"), "photos", "nobody", NotFound),
    "vector": (lambda w: w.photos.vector("nobody"), "photos", "nobody", NotFound),
    "vector of none": (lambda w: w.photos.vector("flat"), "photos", "flat", NotFound),
    "like": (lambda w: w.photos.search_like("nobody"), "photos", "nobody", NotFound),
    "like several": (lambda w: w.photos.search_like(["bare", "nobody"]), "photos", "nobody", NotFound),
    "like none": (lambda w: w.photos.search_like("flat"), "photos", "flat", NotFound),
    "like, by keypoints": (lambda w: w.album.search_like("nobody"), "album", "nobody", NotFound),
    "like none, by keypoints": (lambda w: w.album.search_like("flat"), "album", "flat", NotFound),
    "verify": (lambda w: w.photos.verify("nobody", PHOTO), "photos", "nobody", NotFound),
    "verify of none": (lambda w: w.photos.verify("flat", PHOTO), "photos", "flat", NotFound),
    "verify, dimension": (lambda w: w.vectors.verify("a", np.ones(3)), "vectors", "a", InvalidVector),
    "verify by keypoints": (lambda w: w.album.verify("flat", PHOTO), "album", "flat", InvalidArgument),
    "filter": (
        lambda w: w.vault.filter(StoredPhoto("photos", "nobody"), "box"),
        *("photos", "nobody", NotFound),
    ),
    "filter without planes": (
        lambda w: w.vault.filter(StoredPhoto("photos", "bare"), "box"),
        *("photos", "bare", NotFound),
    ),
    "filter of a vector": (
        lambda w: w.vault.filter(StoredPhoto("vectors", "a"), "box"),
        *("vectors", "a", InvalidArgument),
    ),
    "diff": (
        lambda w: w.vault.diff(PHOTO, StoredPhoto("photos", "nobody")),
        *("photos", "nobody", NotFound),
    ),
    "diff of other sizes": (
        lambda w: w.vault.diff(StoredPhoto("photos", "planes"), np.zeros((3, 5), np.uint8)),
        *("photos", "planes", InvalidArgument),
    ),
    "keypoints": (
        lambda w: w.vault.keypoints(StoredPhoto("photos", "nobody"), octaves=1, side=64),
        *("photos", "nobody", NotFound),
    ),
    "match": (
        lambda w: w.vault.match(PHOTO, StoredPhoto("photos", "nobody"), octaves=1, side=64),
        *("photos", "nobody", NotFound),
    ),
    "update with too much": (lambda w: w.photos.update("bare", set=MUCH), "photos", "bare", InvalidArgument),
    "update of all with too much": (
        lambda w: w.photos.update(where="a = 1", set=MUCH),
        *("photos", "bare", InvalidArgument),
    ),
    "a vector's id again": (
        lambda w: w.vectors.ingest_vectors(np.eye(4)[:2], ["e", "b"]),
        *("vectors", "b", AlreadyExists),
    ),
}


def named(error: BlindsightError, collection: str, item_id: str) -> None:
    assert repr(item_id) in error.message
    assert repr(collection) in error.message
    assert error.message.count(repr(item_id)) == 1
    assert "\n" not in error.message


@pytest.mark.parametrize("what", NOBODY)
def test_an_error_names_the_item_and_its_collection(world: World, what: str) -> None:
    call, collection, item_id, kind = NOBODY[what]
    with pytest.raises(kind) as caught:
        call(world)
    named(caught.value, collection, item_id)


def test_what_is_no_error_says_the_ids_by_itself(world: World) -> None:
    assert world.photos.update(["nobody", "bare"], set={"a": 1}).unknown_ids == ("nobody",)
    assert world.photos.delete("nobody").unknown_ids == ("nobody",)
    assert not world.photos.exists("nobody")
    report = world.photos.ingest([Photo(PHOTO, id="bare"), Photo(b"", id="empty", name="e.jpg")])
    assert [(item.id, item.outcome) for item in report.items if item.outcome == "rejected"] == [
        ("empty", "rejected")
    ]
    assert report.duplicates == 1
    with pytest.raises(InvalidArgument, match="id 1 is the same as id 0: 'x'"):
        world.vectors.ingest_vectors(np.eye(4)[:2], ["x", "x"])


def test_a_collection_that_is_not_there_is_named_alone(world: World) -> None:
    for call in (
        lambda: world.vault.collection("none").get("bare"),
        lambda: world.vault.collection("none").vector("bare"),
        lambda: world.vault.filter(StoredPhoto("none", "bare"), "box"),
    ):
        with pytest.raises(NotFound, match="no collection 'none'") as caught:
            call()
        assert "'bare'" not in caught.value.message


READS: Mapping[str, Callable[[World], Any]] = {
    "get": lambda w: w.photos.get("planes"),
    "planes": lambda w: w.photos.planes("planes"),
    "vector": lambda w: w.photos.vector("planes"),
    "like": lambda w: w.photos.search_like("planes"),
    "verify": lambda w: w.photos.verify("planes", PHOTO),
    "filter": lambda w: w.vault.filter(StoredPhoto("photos", "planes"), "box"),
    "update": lambda w: w.photos.update("planes", set={"b": 2}),
    "delete": lambda w: w.photos.delete("planes"),
}


def test_an_error_of_a_service_behind_it_names_the_item_too(world: World) -> None:
    # Their state is at hand, so that the call itself meets the service that is gone.
    world.photos.describe()
    for name in ("storage", "evaluator"):
        world.services[name].kill()
    try:
        for what, call in READS.items():
            with pytest.raises((Unavailable, DataLoss)) as caught:
                call(world)
            assert "'planes'" in caught.value.message, what
            assert "'photos'" in caught.value.message, what
    finally:
        for name in ("storage", "evaluator"):
            world.services[name].start()
    wait_until(lambda: world.vault.status().reachable, what="the services to be there again")
    assert world.photos.get("planes").data == PHOTO
