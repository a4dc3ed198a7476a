"""The user's own vectors through the three real services, against numpy."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from support.services import wait_until

from blindsight.errors import AlreadyExists, InvalidArgument, InvalidVector, NotFound
from blindsight.parameters import PARAMETER_SETS

RNG = np.random.default_rng(11)
DEFINITIONS = {
    "cosine": lambda g, q: g @ q / np.linalg.norm(g, axis=1) / np.linalg.norm(q),
    "dot": lambda g, q: g @ q,
    "euclidean": lambda g, q: np.square(g - q).sum(axis=1),
}


def expected(metric, gallery, query, k):
    """Row numbers and scores, best first."""
    scores = DEFINITIONS[metric](gallery.astype(np.float64), query.astype(np.float64))
    order = np.argsort(scores if metric == "euclidean" else -scores, kind="stable")[:k]
    return order, scores[order]


@pytest.mark.parametrize("metric", DEFINITIONS)
@pytest.mark.parametrize("parameter_set", PARAMETER_SETS)
def test_matches_and_scores_are_those_of_numpy(vault, parameter_set, metric):
    gallery = RNG.normal(size=(1300, 96)).astype(np.float32)
    queries = gallery[[5, 1200]] + 0.2 * RNG.normal(size=(2, 96)).astype(np.float32)
    collection = vault.create_collection(
        f"numpy-{parameter_set}-{metric}",
        scheme=PARAMETER_SETS[parameter_set].scheme.name.lower(),
        parameter_set=parameter_set,
        embedder="none",
        dimension=96,
        metric=metric,
        expected_size=1000,
    )
    assert collection.ingest_vectors(gallery).stored == 1300
    answer = collection.search_vectors(queries, k=10)
    bound = collection.describe().score_error_bound * max(1, np.linalg.norm(gallery, axis=1).max() ** 2)
    for query, hits in zip(queries, answer.results, strict=True):
        order, scores = expected(metric, gallery, query, 10)
        np.testing.assert_allclose([hit.score for hit in hits], scores, atol=2 * bound)
        assert hits[0].id == str(order[0])
        assert len({hit.id for hit in hits} & {str(row) for row in order}) >= 9


def test_recall_at_ten_on_random_unit_vectors_is_at_least_99_percent(vault):
    gallery = RNG.normal(size=(9000, 128)).astype(np.float32)
    gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    queries = RNG.normal(size=(24, 128)).astype(np.float32)
    collection = vault.create_collection("recall", embedder="none", dimension=128, expected_size=9000)
    collection.ingest_vectors(gallery)
    found = 0
    for query, hits in zip(queries, collection.search_vectors(queries, k=10).results, strict=True):
        order, _ = expected("cosine", gallery, query, 10)
        found += len({hit.id for hit in hits} & {str(row) for row in order})
    assert found >= 0.99 * 240


@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_own_ids_small_appends_deletes_and_a_repack_leave_every_answer_right(vault, scheme):
    gallery = RNG.normal(size=(700, 40)).astype(np.float32)
    ids = [f"item {row:03}" for row in range(700)]
    collection = vault.create_collection(
        f"life-{scheme}", scheme=scheme, embedder="none", dimension=40, expected_size=100_000
    )
    for start in (0, 1, 2, 40, 300, 690):  # pieces of 1, 1, 38, 260, 390 and 10
        stop = {0: 1, 1: 2, 2: 40, 40: 300, 300: 690, 690: 700}[start]
        collection.ingest_vectors(gallery[start:stop], ids[start:stop])
    alive = np.ones(700, bool)

    def check():
        for row in (0, 1, 39, 150, 299, 300, 650, 699):
            hits = collection.search_vectors(gallery[row], k=700).results[0]
            assert {hit.id for hit in hits} == {ids[r] for r in np.flatnonzero(alive)}
            assert (hits[0].id == ids[row]) == alive[row]

    check()
    assert collection.delete([ids[1], ids[150], ids[650], "nobody"]).unknown_ids == ("nobody",)
    alive[[1, 150, 650]] = False
    check()
    before = collection.describe()
    assert (before.items, before.deleted_items) == (697, 3)
    report = collection.repack()
    assert report.items_done == report.items_total > 0
    after = collection.describe()
    assert (after.items, after.deleted_items) == (697, 0)
    assert after.size_bytes < before.size_bytes
    check()
    collection.ingest_vectors(gallery[[1, 150]], [ids[1], ids[150]])  # a deleted id may come back
    alive[[1, 150]] = True
    check()


def test_a_tail_of_which_little_is_left_is_repacked_without_being_asked(vault):
    gallery = RNG.normal(size=(480, 40)).astype(np.float32)
    ids = [f"item {row:03}" for row in range(480)]
    collection = vault.create_collection("little", embedder="none", dimension=40, expected_size=1_000_000)
    for start in range(0, 480, 60):
        collection.ingest_vectors(gallery[start : start + 60], ids[start : start + 60])
    before = collection.describe()
    assert before.tail_items == 480
    collection.delete([ids[row] for row in range(480) if row % 8])
    wait_until(lambda: not collection.describe().deleted_items, what="the repack")
    after = collection.describe()
    assert after.tail_items == after.items == 60
    # Eight segments of 64 slots became one.
    assert after.size_bytes < before.size_bytes / 6
    for row in (0, 8, 472):
        hits = collection.search_vectors(gallery[row], k=100).results[0]
        assert {hit.id for hit in hits} == set(ids[::8])
        assert hits[0].id == ids[row]


def test_vectors_without_ids_are_numbered_on(vault):
    collection = vault.create_collection("numbers", embedder="none", dimension=4)
    collection.ingest_vectors(np.eye(4)[:2])
    collection.ingest_vectors(np.eye(4)[2:])
    assert collection.search_vectors(np.eye(4)[3], k=1).results[0][0].id == "3"


def test_k_beyond_the_collection_gives_all_and_an_empty_collection_gives_none(vault):
    collection = vault.create_collection("few", embedder="none", dimension=3)
    assert collection.search_vectors([1, 0, 0], k=10).results == [[]]
    collection.ingest_vectors(np.eye(3))
    assert len(collection.search_vectors([1, 0, 0], k=10).results[0]) == 3


def test_a_threshold_cuts_on_the_right_side_for_both_kinds_of_metric(vault):
    points = np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float32)
    near = vault.create_collection("near", embedder="none", dimension=2)
    far = vault.create_collection("far", embedder="none", dimension=2, metric="euclidean")
    near.ingest_vectors(points)
    far.ingest_vectors(points)
    assert [hit.id for hit in near.search_vectors([1, 0], threshold=0.5).results[0]] == ["0", "1"]
    assert [hit.id for hit in far.search_vectors([1, 0], threshold=1.0).results[0]] == ["0", "1"]


@pytest.mark.parametrize("parameter_set", PARAMETER_SETS)
def test_a_threshold_of_one_finds_every_exact_copy_and_no_cosine_is_larger(vault, parameter_set):
    rng = np.random.default_rng(17)
    rows = rng.normal(size=(60, 32))
    collection = vault.create_collection(
        f"copies-{parameter_set}",
        scheme=PARAMETER_SETS[parameter_set].scheme.name.lower(),
        parameter_set=parameter_set,
        embedder="none",
        dimension=32,
    )
    collection.ingest_vectors(rows, [str(number) for number in range(len(rows))])
    answer = collection.search_vectors(rows, k=3, threshold=1.0)
    assert [[hit.id for hit in hits] for hits in answer.results] == [[str(n)] for n in range(len(rows))]
    opposite = collection.search_vectors(-rows, k=len(rows))
    scores = [hit.score for found in (*answer.results, *opposite.results) for hit in found]
    assert min(scores) >= -1
    assert max(scores) <= 1


@pytest.mark.parametrize("parameter_set", PARAMETER_SETS)
def test_a_distance_of_zero_finds_exact_copies_and_nothing_else(vault, parameter_set):
    rows = RNG.normal(size=(60, 24)).astype(np.float32)
    collection = vault.create_collection(
        f"at zero-{parameter_set}",
        scheme=PARAMETER_SETS[parameter_set].scheme.name.lower(),
        parameter_set=parameter_set,
        embedder="none",
        dimension=24,
        metric="euclidean",
    )
    collection.ingest_vectors(rows)
    answer = collection.search_vectors(rows, k=3, threshold=0)
    assert [[hit.id for hit in hits] for hits in answer.results] == [[str(n)] for n in range(len(rows))]


def test_many_queries_in_one_call_are_answered_in_order(vault):
    gallery = RNG.normal(size=(100, 16)).astype(np.float32)
    collection = vault.create_collection("batch", embedder="none", dimension=16)
    collection.ingest_vectors(gallery)
    answer = collection.search_vectors(gallery, k=1)
    assert [hits[0].id for hits in answer.results] == [str(row) for row in range(100)]


def test_two_long_imports_at_once_put_every_vector_under_its_own_id(vault):
    collection = vault.create_collection("two imports", embedder="none", dimension=48, expected_size=2000)
    imports = {name: RNG.normal(size=(1500, 48)).astype(np.float32) for name in ("left", "right")}

    def run(name):
        ids = [f"{name} {row}" for row in range(1500)]
        return collection.ingest_vectors(imports[name], ids).stored

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, imports)) == [1500, 1500]
    for name, gallery in imports.items():
        rows = RNG.choice(1500, 40, replace=False)
        answer = collection.search_vectors(gallery[rows], k=1)
        assert [hits[0].id for hits in answer.results] == [f"{name} {row}" for row in rows]


def test_a_duplicate_id_is_refused_with_its_row_and_loses_nothing(vault):
    collection = vault.create_collection("twice", embedder="none", dimension=2)
    collection.ingest_vectors(np.eye(2), ["a", "b"])
    with pytest.raises(AlreadyExists, match="row 1"):
        collection.ingest_vectors(np.ones((2, 2)), ["c", "a"])
    assert {hit.id for hit in collection.search_vectors([1, 1], k=9).results[0]} == {"a", "b"}


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        ([[1, 2, 3]], "dimension"),
        ([[1, np.nan]], "row 0"),
        ([[1, 1], [0, 0]], "row 1"),
    ],
    ids=["wrong dimension", "NaN", "zero"],
)
def test_bad_vectors_are_refused_with_one_line_and_nothing_is_stored(vault, matrix, message):
    name = f"bad-{message}"
    collection = vault.create_collection(name, embedder="none", dimension=2)
    with pytest.raises(InvalidVector, match=message) as caught:
        collection.ingest_vectors(np.array(matrix, np.float32))
    assert "\n" not in str(caught.value)
    assert collection.describe().items == 0


def test_a_vector_longer_than_the_collection_takes_is_refused_with_both_lengths(vault):
    collection = vault.create_collection(
        "norms", embedder="none", dimension=2, metric="euclidean", max_norm=5
    )
    with pytest.raises(InvalidVector, match="want at most 5"):
        collection.ingest_vectors([[3.0, 4.1]])
    collection.ingest_vectors([[3.0, 4.0]])
    assert collection.search_vectors([3.0, 4.0]).results[0][0].score == pytest.approx(0, abs=0.01)


def test_a_query_of_zeros_is_refused_with_its_row(vault):
    collection = vault.create_collection("directions", embedder="none", dimension=2)
    collection.ingest_vectors(np.eye(2))
    with pytest.raises(InvalidVector, match="query row 1"):
        collection.search_vectors(np.array([[1.0, 0.0], [0.0, 0.0]]))


def test_names_are_unique_and_unknown_ones_are_named(vault):
    vault.create_collection("taken", embedder="none", dimension=2)
    with pytest.raises(AlreadyExists, match="'taken' exists"):
        vault.create_collection("taken", embedder="none", dimension=2)
    with pytest.raises(NotFound, match="no collection 'missing'"):
        vault.collection("missing").search_vectors([1.0, 2.0])


@pytest.mark.parametrize(
    "wrong",
    [
        {"scheme": "rot13"},
        {"scheme": "bfv", "parameter_set": "ckks-4096"},
        {"parameter_set": "bfv-1"},
        {"embedder": "gist"},
        {"metric": "manhattan"},
        {"embedder": "none"},
        {"embedder": "none", "dimension": 4097},
        {"embedder": "pixels", "dimension": 50},
    ],
    ids=str,
)
def test_a_collection_that_cannot_be_is_refused_with_what_can(vault, wrong):
    with pytest.raises(InvalidArgument, match="want") as caught:
        vault.create_collection("wrong", **wrong)
    assert "\n" not in str(caught.value)


def test_a_deleted_collection_is_gone_and_its_name_is_free(vault):
    collection = vault.create_collection("gone", embedder="none", dimension=2)
    collection.ingest_vectors(np.eye(2))
    collection.search_vectors([1, 0])
    vault.delete_collection("gone")
    with pytest.raises(NotFound):
        collection.search_vectors([1, 0])
    again = vault.create_collection("gone", embedder="none", dimension=2)
    assert again.search_vectors([1, 0]).results == [[]]


@pytest.mark.parametrize("parameter_set", PARAMETER_SETS)
def test_the_longest_vectors_are_stored_found_and_verified(vault, parameter_set):
    dimension = 4096
    scheme = {"scheme": PARAMETER_SETS[parameter_set].scheme.name.lower(), "parameter_set": parameter_set}
    gallery = RNG.normal(size=(300, dimension)).astype(np.float32)
    query = gallery[7] + 0.5 * RNG.normal(size=dimension).astype(np.float32)
    collection = vault.create_collection(
        f"long-{parameter_set}", embedder="none", dimension=dimension, expected_size=300, **scheme
    )
    collection.ingest_vectors(gallery[:297])
    collection.ingest_vectors(gallery[297:])
    order, scores = expected("cosine", gallery, query, 5)
    (hits,) = collection.search_vectors(query[None], k=5).results
    assert hits[0].id == str(order[0]) == "7"
    bound = collection.describe().score_error_bound
    np.testing.assert_allclose([hit.score for hit in hits], scores, atol=2 * bound)
    alone = vault.verify(gallery[7], query, **scheme).distance
    assert alone == pytest.approx(1 - scores[0], abs=1e-5)
    assert collection.verify("7", query).distance == pytest.approx(1 - scores[0], abs=2 * bound)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda one: one.search_vectors(np.eye(3), k=2**70),
            "k is 1180591620717411303424, want 1 to 4294967295",
        ),
        (lambda one: one.search_vectors(np.eye(3), k="a"), "k is of type str, want a whole number"),
        (lambda one: one.search_vectors(np.eye(3), threshold="x"), "threshold is of type str, want a number"),
        (
            lambda one: one.ingest_vectors(np.eye(3), ids=[1, True, 3]),
            "id 1 is of type bool, want a text or a whole number",
        ),
        (
            lambda one: one.ingest_vectors(np.eye(3), ids=["a", "\ud800", "c"]),
            "id 1 is no UTF-8 text from character 0 on",
        ),
        (lambda one: one.delete([1.5]), "id is of type float, want a text or a whole number"),
        (lambda one: one.get(5.0), "id is of type float, want a text or a whole number"),
        (lambda one: one.planes("\udcff"), "id is no UTF-8 text from character 0 on"),
        (lambda one: one.verify(True, [1, 0, 0]), "id is of type bool, want a text or a whole number"),
    ],
)
def test_what_is_of_another_type_is_one_clear_line(vault, call, said):
    names = {one.name for one in vault.collections()}
    collection = vault.collection("of types")
    if "of types" not in names:
        vault.create_collection("of types", embedder="none", dimension=3)
    with pytest.raises(InvalidArgument, match=said):
        call(collection)
    for name in (3, "\ud800", None):
        with pytest.raises(InvalidArgument, match="collection name"):
            vault.collection(name)


@pytest.mark.parametrize("metric", ["dot", "euclidean"])
@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_scores_of_short_vectors_have_as_many_digits_as_those_of_long_ones(vault, scheme, metric):
    long = RNG.normal(size=(50, 16)).astype(np.float32)
    scores = []
    for number, size in enumerate((1.0, 1e-5)):
        name = f"short-{scheme}-{metric}-{number}"
        collection = vault.create_collection(
            name, scheme=scheme, embedder="none", dimension=16, metric=metric
        )
        collection.ingest_vectors(long * size)
        [hits] = collection.search_vectors(long[:1] * size, k=50).results
        order = sorted(hits, key=lambda hit: int(hit.id))
        scores.append(np.array([hit.score for hit in order]) / size**2)
    np.testing.assert_allclose(scores[1], scores[0], atol=0.02)
    assert np.count_nonzero(scores[1]) >= 49


def test_ten_thousand_long_ids_are_found_and_deleted(vault):
    collection = vault.create_collection("long-ids", embedder="none", dimension=2)
    ids = [f"{number:05}".ljust(256, "x") for number in range(10_000)]
    collection.ingest_vectors(RNG.normal(size=(10_000, 2)), ids)
    first, second = collection.search_vectors(np.eye(2), k=10_000).results
    assert {hit.id for hit in first} == {hit.id for hit in second} == set(ids)
    unknown = [f"{number:05}".ljust(512, "y") for number in range(10_000)]
    deletion = collection.delete([*unknown, *ids])
    assert (deletion.deleted, deletion.unknown_ids) == (10_000, tuple(unknown))
    assert collection.describe().items == 0


def test_a_name_is_the_same_however_its_letters_are_composed(vault):
    one, two = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    assert vault.create_collection(two, embedder="none", dimension=2).name == one
    assert vault.collection(two).ingest_vectors(np.eye(2)).stored == 2
    assert vault.collection(one).describe() == vault.collection(two).describe()
    with pytest.raises(AlreadyExists):
        vault.create_collection(one, embedder="none", dimension=2)
    vault.delete_collection(two)
    with pytest.raises(NotFound):
        vault.collection(one).describe()


@pytest.mark.parametrize("name", ["..", ".", "a/b", "/", "two words"])
def test_a_name_is_no_path(vault, name):
    assert vault.create_collection(name, embedder="none", dimension=2).describe().name == name
    vault.delete_collection(name)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "-a", "a\nb", "a\N{ZERO WIDTH SPACE}b", "n" * 129])
def test_a_name_that_people_cannot_tell_is_refused(vault, name):
    with pytest.raises(InvalidArgument, match="collection name"):
        vault.create_collection(name, embedder="none", dimension=2)
