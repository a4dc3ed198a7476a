"""Answers of searches while items are replaced: of each item all that is told is of one version."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from support.photos import encoded, photo, small_photo
from support.services import Services

import blindsight
from blindsight.client import Collection, Hit, Photo, PhotoVector, Vault

SECONDS = 4.0
EYE = np.eye(8, dtype=np.float32)
SCENES = [encoded(photo(name).resize((240, 180))) for name in ("coffee", "astronaut")]


def vectors(collection: Collection, version: int) -> None:
    collection.ingest_vectors(EYE[[version]], ["a"], metadata=[{"k": version}], upsert=True)


def photos(collection: Collection, version: int) -> None:
    named = [PhotoVector(EYE[5], "other"), PhotoVector(EYE[version], f"name {version}")]
    photo = Photo(small_photo(version), "a", {"k": version}, vectors=named)
    collection.ingest([photo], upsert=True)


def told(hit: Hit) -> set[int]:
    """The versions that a hit is of: by its score, by its metadata, and by the name of its vector."""
    versions = {0 if hit.score > 0.9 else 1, hit.metadata["k"]}
    if hit.keypoints is not None:
        versions.add(0 if hit.keypoints.verified else 1)
    if hit.vector is not None and hit.vector.name != "other":
        versions.add(int(hit.vector.name.removeprefix("name ")))
    return versions


def scenes(collection: Collection, version: int) -> None:
    collection.ingest([Photo(SCENES[version], "a", {"k": version})], upsert=True)


@pytest.mark.parametrize("where", [None, "k = 0"], ids=["all", "filtered"])
@pytest.mark.parametrize(
    ("replace", "embedder"),
    [(vectors, "none"), (photos, "external"), (scenes, "sift")],
    ids=["vectors", "photos", "keypoints"],
)
def test_a_hit_is_of_one_version_of_its_item(
    vault: Vault,
    services: Services,
    request: pytest.FixtureRequest,
    replace: Callable[[Collection, int], None],
    embedder: str,
    where: str | None,
) -> None:
    shape = {} if embedder == "sift" else {"dimension": 8}
    made = vault.create_collection(request.node.name[:90], embedder=embedder, **shape)
    replace(made, 0)
    stop, writes, searches, failed = time.monotonic() + SECONDS, [0], [0], list[Any]()

    def working(work: Callable[[Collection], None]) -> threading.Thread:
        def run() -> None:
            with blindsight.connect(services.address()) as own:
                collection = own.collection(made.name)
                while time.monotonic() < stop and not failed:
                    try:
                        work(collection)
                    except Exception as error:
                        failed.append(error)

        return threading.Thread(target=run)

    def write(collection: Collection) -> None:
        writes[0] += 1
        replace(collection, writes[0] % 2)

    def search(collection: Collection) -> None:
        if embedder == "sift":
            hits = collection.search(SCENES[0], k=3, where=where).results[0]
        else:
            hits = collection.search_vectors(EYE[0], k=3, where=where).results[0]
        searches[0] += 1
        if any(len(told(hit)) > 1 for hit in hits) or (where and any(hit.metadata["k"] for hit in hits)):
            failed.append(hits)
        if where is None and [hit.id for hit in hits] != ["a"]:
            failed.append(("not found", hits))

    threads = [working(write), working(search), working(search)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert min(writes[0], searches[0]) > 5
    vault.delete_collection(made.name)


@pytest.mark.parametrize("embedder", ["none", "sift"])
def test_as_many_are_found_as_wanted_while_the_best_are_deleted(
    vault: Vault, services: Services, request: pytest.FixtureRequest, embedder: str
) -> None:
    shape = {} if embedder == "sift" else {"dimension": 8}
    made = vault.create_collection(request.node.name[:90], embedder=embedder, **shape)

    def put(ids: list[str], scene: int) -> None:
        if embedder == "sift":
            made.ingest([Photo(SCENES[scene], one) for one in ids])
        else:
            made.ingest_vectors(EYE[[scene] * len(ids)], ids)

    put(["stays", "stays, too"], 1)
    put(["stays as a model"], 0)
    stop, rounds = time.monotonic() + SECONDS, 0

    def write() -> None:
        nonlocal rounds
        while time.monotonic() < stop:
            rounds += 1
            ids = [f"goes {rounds} {one}" for one in range(3)]
            put(ids, 0)
            for one in ids:
                made.delete([one])

    thread = threading.Thread(target=write)
    thread.start()
    with blindsight.connect(services.address()) as own:
        collection, found = own.collection(made.name), list[int]()
        while time.monotonic() < stop:
            if embedder == "sift":
                found.append(len(collection.search(SCENES[0], k=3).results[0]))
            else:
                found.append(len(collection.search_vectors(EYE[0], k=3).results[0]))
            found.append(1 + len(collection.search_like("stays as a model", k=2).results[0]))
    thread.join()
    assert set(found) == {3}
    assert min(len(found), rounds) > 5
    vault.delete_collection(made.name)
