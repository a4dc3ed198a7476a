"""Vectors of items, read from their columns, and searches for what is like an item or like several photos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from support.photos import encoded, photo, small_photo
from support.services import Services

import blindsight
from blindsight.client import Collection, Photo, Vault
from blindsight.errors import InvalidArgument, InvalidImage, NotFound

DIMENSION, COUNT = 24, 40
VECTORS = np.random.default_rng(31).normal(size=(COUNT, DIMENSION)).astype(np.float32)
IDS = [f"v{number}" for number in range(COUNT)]
METRICS: dict[str, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    "cosine": lambda vectors: vectors / np.linalg.norm(vectors, axis=-1, keepdims=True),
    "euclidean": lambda vectors: vectors,
    "dot": lambda vectors: vectors,
}
KINDS = [(scheme, metric) for scheme in ("ckks", "bfv", "paillier") for metric in METRICS]
MOTIFS = ("coffee", "rocket", "astronaut", "chelsea")


@pytest.fixture(scope="module")
def connected(services: Services) -> Iterator[Vault]:
    with blindsight.connect(services.address()) as vault:
        yield vault


@pytest.fixture(scope="module", params=KINDS, ids=" ".join)
def table(request: pytest.FixtureRequest, connected: Vault) -> tuple[Collection, dict[str, bool]]:
    scheme, metric = request.param
    count = COUNT if scheme != "paillier" else 6
    made = connected.create_collection(
        f"{scheme} {metric}",
        scheme=scheme,
        metric=metric,
        embedder="none",
        dimension=DIMENSION,
        expected_size=count,
    )
    made.ingest_vectors(VECTORS[:count], IDS[:count])
    return made, {"query_visible_to_server": True} if scheme == "paillier" else {}


def test_a_vector_comes_back_as_its_metric_keeps_it(table: tuple[Collection, dict[str, bool]]) -> None:
    collection, _ = table
    about = collection.describe()
    for number in (0, 3):
        found = collection.vector(IDS[number])
        assert found.values.dtype == np.float32
        np.testing.assert_allclose(found.values, METRICS[about.metric](VECTORS[number]), atol=2e-3)
        assert found.precision.startswith(about.precision)
        assert ("length 1" in found.precision) == (about.metric == "cosine")


def test_what_is_like_an_item_is_what_is_like_its_vector_without_itself(
    table: tuple[Collection, dict[str, bool]],
) -> None:
    collection, agreed = table
    if agreed:
        with pytest.raises(InvalidArgument, match="would be shown to the server"):
            collection.search_like(IDS[0], **agreed)
        return
    wanted = collection.search_vectors(VECTORS[:3], k=5, **agreed).results
    found = collection.search_like(IDS[:3], k=4, **agreed).results
    for number, (like, hits) in enumerate(zip(found, wanted, strict=True)):
        others = [hit for hit in hits if hit.id != IDS[number]][:4]
        assert [hit.id for hit in like] == [hit.id for hit in others]
        np.testing.assert_allclose(
            [one.score for one in like], [one.score for one in others], rtol=1e-2, atol=2e-2
        )


def test_pages_and_thresholds_go_on_where_the_item_was_left_out(
    table: tuple[Collection, dict[str, bool]],
) -> None:
    collection, agreed = table
    if agreed:
        return  # such a search is refused
    (every,) = collection.search_like(IDS[1], k=5, **agreed).results
    (first,) = collection.search_like(IDS[1], k=2, **agreed).results
    (second,) = collection.search_like(IDS[1], k=2, offset=2, **agreed).results
    assert [hit.id for hit in first + second] == [hit.id for hit in every[:4]]
    (best,) = collection.search_like(IDS[1], k=5, threshold=every[0].score, **agreed).results
    assert every[0].id in [hit.id for hit in best]
    assert IDS[1] not in [hit.id for hit in best]


def test_an_item_that_is_not_there_is_refused_by_its_name(table: tuple[Collection, dict[str, bool]]) -> None:
    collection, agreed = table
    if not agreed:
        with pytest.raises(NotFound, match="no item 'nobody'"):
            collection.search_like(["v0", "nobody"])
    with pytest.raises(NotFound, match="no item 'nobody'"):
        collection.vector("nobody")
    with pytest.raises(InvalidArgument, match="no id to look for"):
        collection.search_like([])


@pytest.fixture(scope="module", params=["descriptor", "pixels", "sift", "channels ckks", "channels bfv"])
def album(request: pytest.FixtureRequest, connected: Vault) -> Collection:
    kind, _, scheme = request.param.partition(" ")
    settings: dict[str, Any] = {"embedder": kind}
    if kind == "channels":
        settings = {"embedder": "pixels", "channels": "rgb", "size": 16, "scheme": scheme}
    made = connected.create_collection(f"album {request.param}", **settings)
    views = [
        Photo(encoded(photo(name, 320).rotate(turn), "PNG"), id=f"{name} {turn}")
        for name in MOTIFS
        for turn in (0, 2)
    ]
    flat = Photo(encoded(Image.new("L", (90, 90)), "PNG"), id="flat")
    assert made.ingest([*views, flat]).stored == len(views) + 1
    return made


def test_the_photo_most_like_a_photo_is_another_view_of_it(album: Collection) -> None:
    results = album.search_like([f"{name} 0" for name in MOTIFS], k=3).results
    assert [hits[0].id for hits in results] == [f"{name} 2" for name in MOTIFS]


def test_several_photos_are_looked_for_at_once(album: Collection) -> None:
    views = [encoded(photo(name, 320), "PNG") for name in MOTIFS]
    together = album.search(views, k=2).results
    alone = [album.search(view, k=2).results[0] for view in views]
    assert [[hit.id for hit in hits] for hits in together] == [[hit.id for hit in hits] for hits in alone]
    assert [hits[0].id for hits in together] == [f"{name} 0" for name in MOTIFS]


def test_the_photo_that_is_none_is_named(album: Collection) -> None:
    good = encoded(photo("coffee", 320), "PNG")
    with pytest.raises(InvalidImage, match=r"second\.png"):
        album.search([("first.png", good), ("second.png", b"no image at all"), ("third.png", good)])


def test_an_item_that_nothing_could_be_made_of_is_like_nothing(album: Collection) -> None:
    if album.describe().undescribed_items:
        with pytest.raises(NotFound, match="has no vector"):
            album.search_like("flat")
        with pytest.raises(NotFound, match="has no vector"):
            album.vector("flat")


def test_pictures_of_matches_are_for_one_photo(connected: Vault) -> None:
    drawn = connected.create_collection("drawn", embedder="sift")
    view = encoded(photo("coffee", 320), "PNG")
    drawn.ingest([("a.png", view)])
    assert len(drawn.search([view], k=1, draw=True).drawings) == 2
    with pytest.raises(InvalidArgument, match="want one photo"):
        drawn.search([view, view], k=1, draw=True)


def test_more_photos_than_a_search_takes_are_refused(connected: Vault) -> None:
    few = connected.create_collection("few", embedder="pixels", dimension=64)
    few.ingest([("a.png", small_photo(1))])
    assert len(few.search([small_photo(1)] * 256, k=1).results) == 256
    with pytest.raises(InvalidArgument, match="want at most 256"):
        few.search([small_photo(1)] * 257, k=1)
    with pytest.raises(InvalidArgument, match="want at most 256"):
        few.search_like([few.search(small_photo(1)).results[0][0].id] * 257, k=1)
    with pytest.raises(InvalidArgument, match="no photo to look for"):
        few.search([])


def test_vectors_are_read_while_others_write_and_repack(connected: Vault) -> None:
    busy = connected.create_collection("busy", embedder="none", dimension=DIMENSION)
    busy.ingest_vectors(VECTORS, IDS)

    def write(number: int) -> None:
        busy.ingest_vectors(VECTORS[:4], [f"w{number} {one}" for one in range(4)])
        busy.delete([f"w{number} 0", f"w{number} 1"])
        busy.repack()

    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(write, number) for number in range(8)]
        for number in range(COUNT):
            np.testing.assert_allclose(
                busy.vector(IDS[number]).values, METRICS["cosine"](VECTORS[number]), atol=2e-3
            )
            assert busy.search_like(IDS[number], k=1).results[0][0].id != IDS[number]
        for one in writing:
            one.result()
