"""Collections under Paillier through the three real services: the gallery is encrypted, the query is not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.photos import jpeg
from support.services import Process

import blindsight
from blindsight.client import StoredPhoto
from blindsight.errors import InvalidArgument, KeyFileError
from blindsight.parameters import PAILLIER_3072
from blindsight.trusted.keyring import keyfile, passphrase

RNG = np.random.default_rng(5)
SLOTS = PAILLIER_3072.slots
VISIBLE = {"query_visible_to_server": True}
METRICS = ("cosine", "dot", "euclidean")
VECTORS = RNG.normal(size=(SLOTS + 6, 10)).astype(np.float32)
QUERIES = RNG.normal(size=(2, 10)).astype(np.float32)


@pytest.fixture(scope="module")
def services(own_services):
    """Tests here end them."""
    return own_services


def plain(metric, vectors, queries):
    """[queries, vectors] scores."""
    vectors, queries = vectors.astype(np.float64), queries.astype(np.float64)
    if metric == "euclidean":
        return np.square(queries[:, None] - vectors).sum(axis=2)
    if metric == "cosine":
        vectors, queries = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (vectors, queries))
    return queries @ vectors.T


def check(collection, metric, live):
    """Every live item's score against numpy, best first."""
    answer = collection.search_vectors(QUERIES, k=len(VECTORS) + 1, **VISIBLE)
    assert answer.query_visible_to_server
    want = plain(metric, VECTORS, QUERIES)
    for hits, of_query in zip(answer.results, want, strict=True):
        assert {int(hit.id) for hit in hits} == set(live)
        scores = [hit.score for hit in hits]
        np.testing.assert_allclose(scores, [of_query[int(hit.id)] for hit in hits], atol=2e-3)
        assert scores == sorted(scores, reverse=metric != "euclidean")


def create(vault, name, **settings):
    wanted = {"scheme": "paillier", "embedder": "none", "dimension": 10, **settings}
    return vault.create_collection(name, **wanted)


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_answers_as_numpy_through_appends_deletions_and_a_repack(vault, metric):
    collection = create(vault, metric, metric=metric, max_norm=None if metric == "cosine" else 8.0)
    about = collection.describe()
    assert (about.scheme, about.parameter_set, about.stride) == ("paillier", "paillier-3072", 1)
    assert about.query_visible_to_server
    assert "shows the query to the server" in about.security
    ids = [str(number) for number in range(len(VECTORS))]
    for start, stop in ((0, 1), (1, 40), (40, len(VECTORS))):
        collection.ingest_vectors(VECTORS[start:stop], ids[start:stop])
    check(collection, metric, range(len(VECTORS)))
    before = collection.describe()
    assert before.tail_items == 0
    collection.delete(["2", str(SLOTS + 1)])
    live = set(range(len(VECTORS))) - {2, SLOTS + 1}
    check(collection, metric, live)
    assert collection.repack().items_done == len(live)
    after = collection.describe()
    assert (after.items, after.deleted_items) == (len(live), 0)
    check(collection, metric, live)
    # Four appends to two segments became two: a ciphertext of each column for each.
    columns = 10 + (metric == "euclidean")
    assert before.size_bytes - after.size_bytes >= 2 * columns * PAILLIER_3072.number_bytes
    assert collection.repack().segments_retired == 0


def test_photos_are_found_and_come_back(vault):
    album = vault.create_collection("album", scheme="paillier", embedder="pixels", dimension=64)
    names = ("astronaut", "coffee", "chelsea")
    album.ingest([(name, jpeg(name)) for name in names])
    answer = album.search(jpeg("coffee"), k=2, **VISIBLE)
    first, _ = answer.results[0]
    assert first.name == "coffee"
    assert first.score == pytest.approx(1, abs=album.describe().score_error_bound)
    assert album.get(first.id).data == jpeg("coffee")
    assert answer.timings.kernel_seconds > 0
    assert answer.timings.scanned_bytes == 64 * PAILLIER_3072.number_bytes + 64


def test_channels_of_raw_pixels_are_fields_that_are_summed_one_by_one(vault):
    options = {"embedder": "pixels", "channels": "rgb", "size": 4}
    album = vault.create_collection("channels", scheme="paillier", **options)
    exact = vault.create_collection("channels-bfv", scheme="bfv", **options)
    photos = [(name, jpeg(name)) for name in ("astronaut", "coffee", "rocket")]
    for collection in (album, exact):
        collection.ingest(photos)
    (hits,) = album.search(jpeg("rocket"), k=3, **VISIBLE).results
    (want,) = exact.search(jpeg("rocket"), k=3).results
    assert [(hit.name, hit.score, hit.channels) for hit in hits] == [
        (hit.name, hit.score, hit.channels) for hit in want
    ]
    assert (hits[0].name, hits[0].score) == ("rocket", 0)
    about = album.describe()
    assert about.score_error_bound == 0
    assert about.precision == "exact integers in slots of 47 bits, nothing is rounded"


def test_nothing_is_shown_to_the_server_that_nobody_agreed_to_show(vault):
    create(vault, "careful").ingest_vectors(VECTORS[:2])
    with pytest.raises(
        InvalidArgument, match=r"server would see the query's numbers.*--query-visible-to-server"
    ):
        vault.collection("careful").search_vectors(QUERIES)
    hiding = create(vault, "hiding", scheme="ckks")
    hiding.ingest_vectors(VECTORS[:2])
    assert not hiding.describe().query_visible_to_server
    with pytest.raises(InvalidArgument, match="hides the query from the server; leave"):
        hiding.search_vectors(QUERIES, **VISIBLE)
    assert not hiding.search_vectors(QUERIES).query_visible_to_server


def test_verification_is_refused_where_it_would_show_one_side(vault):
    collection = create(vault, "faces")
    collection.ingest_vectors(VECTORS[:1], ["one"])
    for refused in (
        lambda: collection.verify("one", VECTORS[0]),
        lambda: vault.verify(VECTORS[0], VECTORS[1], scheme="paillier"),
    ):
        with pytest.raises(InvalidArgument, match="would show one side to the server; want ckks or bfv"):
            refused()


def test_planes_are_refused_and_nothing_is_stored(vault):
    album = vault.create_collection("without planes", scheme="paillier", embedder="pixels", dimension=16)
    with pytest.raises(InvalidArgument, match="planes under paillier, want ckks or bfv for that"):
        album.ingest([("coffee", jpeg("coffee"))], planes=True)
    assert album.describe().items == 0
    stored = album.ingest([("coffee", jpeg("coffee"))]).items[0]
    said = "collection 'without planes' is under paillier, which keeps no planes, want one under ckks or bfv"
    with pytest.raises(InvalidArgument, match=said):
        album.planes(stored.id)
    with pytest.raises(InvalidArgument, match=said):
        vault.filter(StoredPhoto("without planes", stored.id), "box:3", scheme="bfv")


def test_many_queries_are_answered_in_order(vault):
    collection = create(vault, "many")
    collection.ingest_vectors(VECTORS[:20])
    answer = collection.search_vectors(VECTORS[:20], k=1, **VISIBLE)
    assert [hits[0].id for hits in answer.results] == [str(number) for number in range(20)]


def test_a_restart_of_every_service_loses_nothing(services):
    with blindsight.connect(services.address()) as vault:
        collection = create(vault, "kept")
        collection.ingest_vectors(VECTORS, [str(number) for number in range(len(VECTORS))])
    for name in ("keyholder", "evaluator", "storage"):
        services[name].kill()
    for name in ("storage", "evaluator", "keyholder"):
        services[name].start()
    with blindsight.connect(services.address()) as vault:
        check(vault.collection("kept"), "cosine", range(len(VECTORS)))
        assert {one.name for one in vault.status().services if one.reachable} == set(services.processes)


def test_an_evaluator_worker_that_dies_is_replaced(services, vault):
    collection = create(vault, "fallen")
    collection.ingest_vectors(VECTORS, [str(number) for number in range(len(VECTORS))])
    for worker in services["evaluator"].workers():
        worker.kill()
    check(collection, "cosine", range(len(VECTORS)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"scheme": "paillier", "parameter_set": "ckks-4096"}, "ckks-4096 is of ckks, want paillier"),
        ({"scheme": "rsa"}, "want one of ckks, bfv, paillier"),
    ],
    ids=["another scheme's set", "no scheme"],
)
def test_settings_that_do_not_fit_are_refused(vault, settings, said):
    with pytest.raises(InvalidArgument, match=said):
        create(vault, "refused", **settings)


@pytest.fixture
def older(services):
    """A keyholder whose key file was made before there was Paillier."""
    made = shared_key_set(1)
    others = {name: key for name, key in made.secret_keys.items() if name != PAILLIER_3072.name}
    settings = services.keyholder_settings("older")
    path = services.folder / "older" / "keys.bsky"
    secret = passphrase.from_file(Path(settings["passphrase_file"]))
    keyfile.write(path, dataclasses.replace(made, secret_keys=others), secret)
    process = Process("keyholder", settings, services.folder / "older.log")
    try:
        process.start()
        yield process
    finally:
        process.stop()


def test_a_key_file_from_before_says_what_is_missing_and_serves_the_others(older):
    with blindsight.connect(older.address) as vault:
        with pytest.raises(KeyFileError, match=r"no key for paillier-3072.*keys create"):
            create(vault, "without a key")
        assert vault.collections() == []
        create(vault, "with a key", scheme="ckks").ingest_vectors(VECTORS[:1], ["one"])
        assert vault.collection("with a key").search_vectors(VECTORS[0]).results[0][0].id == "one"
