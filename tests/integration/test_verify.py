"""1:1 verification through the three real services, against numpy."""

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.photos import bomb, encoded, jpeg, photo

from blindsight.errors import InvalidArgument, InvalidImage, InvalidVector, NotFound
from blindsight.parameters import PARAMETER_SETS, Scheme
from blindsight.trusted import similarity
from blindsight.trusted.similarity import linear

RNG = np.random.default_rng(31)
PAIRS_EACH = 6


def plain(metric, a, b):
    """The distance, in double precision."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if metric == "euclidean":
        return float(np.square(a - b).sum())
    return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def pair_bound(parameters, metric, a, b):
    """How far a distance may be from `plain`."""
    vectors = np.stack([a, b]).astype(np.float64)
    norm = float(np.linalg.norm(vectors, axis=1).max())
    made = similarity.make(linear.Metric(metric), vectors.shape[1], norm)
    row = float(np.linalg.norm(made.rows(vectors[:1])))
    return parameters.pair_error_bound(row) * made.form(vectors[1]).reading.multiplier


def faces(dimension=128):
    """Two embeddings of one face, about as Facenet makes them: long about 10, apart by 3 to 11."""
    first = RNG.normal(size=dimension)
    first *= 10 / np.linalg.norm(first)
    second = first + RNG.uniform(0.3, 1.0) * RNG.normal(size=dimension)
    return first.astype(np.float32), second.astype(np.float32)


def strangers(dimension=128):
    first, second = RNG.normal(size=(2, dimension)).astype(np.float32)
    return first, second


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_distances_are_those_of_numpy_within_the_bound_of_the_parameter_set(vault, name, metric):
    parameters = PARAMETER_SETS[name]
    scheme = parameters.scheme.name.lower()
    for a, b in [make() for make in (faces, strangers) for _ in range(PAIRS_EACH)]:
        answer = vault.verify(a, b, metric=metric, scheme=scheme, parameter_set=name)
        assert abs(answer.distance - plain(metric, a, b)) <= pair_bound(parameters, metric, a, b)
        assert (answer.metric, answer.scheme, answer.parameter_set) == (metric, scheme, name)


@pytest.mark.parametrize("name", PARAMETER_SETS)
def test_squared_euclidean_of_128_values_is_within_a_ten_thousandth(vault, name):
    scheme = PARAMETER_SETS[name].scheme.name.lower()
    for a, b in [make() for make in (faces, strangers) for _ in range(2 * PAIRS_EACH)]:
        answer = vault.verify(a, b, metric="euclidean", scheme=scheme, parameter_set=name)
        assert answer.distance == pytest.approx(plain("euclidean", a, b), rel=1e-4)


@pytest.mark.parametrize("dimension", [1, 3, 129, 2048])
@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_every_dimension_is_compared_right(vault, scheme, dimension):
    a, b = RNG.normal(size=(2, dimension)).astype(np.float32)
    answer = vault.verify(a, b, metric="euclidean", scheme=scheme)
    parameters = PARAMETER_SETS[answer.parameter_set]
    assert abs(answer.distance - plain("euclidean", a, b)) <= pair_bound(parameters, "euclidean", a, b)


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1e4, 1e18])
@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_short_and_long_vectors_keep_their_precision(vault, scheme, scale):
    a, b = (RNG.normal(size=(2, 64)) * scale).astype(np.float32)
    answer = vault.verify(a, b, metric="euclidean", scheme=scheme)
    assert answer.distance == pytest.approx(plain("euclidean", a, b), rel=1e-4)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_a_vector_is_the_same_as_itself_and_never_nearer_than_nothing(vault, scheme, metric):
    a, _ = faces()
    answer = vault.verify(a, a, metric=metric, scheme=scheme)
    parameters = PARAMETER_SETS[answer.parameter_set]
    assert 0 <= answer.distance <= pair_bound(parameters, metric, a, a)
    assert answer.verified


def test_two_vectors_of_zeros_are_the_same_under_euclidean(vault):
    assert vault.verify([0.0] * 8, [0.0] * 8, metric="euclidean").distance < 1e-4


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_a_threshold_on_either_side_of_the_distance_decides(vault, metric):
    a, b = faces()
    distance = plain(metric, a, b)
    below, above = (vault.verify(a, b, metric=metric, threshold=share * distance) for share in (0.99, 1.01))
    assert (below.verified, above.verified) == (False, True)
    assert above.threshold == pytest.approx(1.01 * distance)
    assert above.threshold_source == "given"


def test_without_a_threshold_vectors_get_facenets_and_the_answer_says_so(vault):
    a, b = faces()
    for metric, wanted in (("cosine", 0.40), ("euclidean", 100.0)):
        answer = vault.verify(a, b, metric=metric)
        assert answer.threshold == pytest.approx(wanted)
        assert "Facenet-128" in answer.threshold_source
        assert "DeepFace" in answer.threshold_source


def view(name):
    image = photo(name)
    width, height = image.size
    return ImageEnhance.Brightness(image.crop((width // 10, height // 10, width, height))).enhance(1.2)


@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket"])
def test_an_altered_view_is_verified_and_another_photo_is_not(vault, name, scheme):
    mirrored = view(name).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    same = vault.verify(jpeg(name), encoded(mirrored, quality=50), scheme=scheme)
    other = vault.verify(jpeg(name), jpeg("camera"), scheme=scheme)
    assert (same.verified, other.verified) == (True, False)
    assert same.distance < same.threshold == other.threshold < other.distance
    assert "descriptor" in same.threshold_source
    timings = same.timings.seconds()
    assert min(timings.values()) > 0
    assert sum(timings[stage] for stage in ("embed", "encrypt", "compare", "decrypt")) <= timings["total"]


def test_the_two_metrics_agree_on_photos(vault):
    cosine = vault.verify(jpeg("coffee"), jpeg("coins"), embedder="pixels")
    euclidean = vault.verify(jpeg("coffee"), jpeg("coins"), embedder="pixels", metric="euclidean")
    assert euclidean.distance == pytest.approx(2 * cosine.distance, abs=1e-5)
    assert euclidean.threshold == pytest.approx(2 * cosine.threshold)


def test_photos_are_taken_in_every_form(vault, tmp_path):
    path = tmp_path / "coffee.png"
    photo("coffee").save(path)
    forms = [path, str(path), path.read_bytes(), photo("coffee"), np.asarray(photo("coffee"))]
    for form in forms:
        assert vault.verify(form, jpeg("coffee")).verified


def test_vectors_are_taken_in_every_form(vault):
    values = [1, 2, 3, 4]
    for form in (values, np.array(values), np.array([values], np.float32), np.array(values, np.uint8)):
        assert vault.verify(form, [1.0, 2.0, 3.0, 4.0], metric="euclidean").distance < 1e-3


# --- against an item ---------------------------------------------------------------------------


def check_items(collection, gallery, ids, rows, tolerance):
    about = collection.describe()
    for row in rows:
        query = gallery[row] + 0.3 * RNG.normal(size=gallery.shape[1]).astype(np.float32)
        answer = collection.verify(ids[row], query)
        assert answer.distance == pytest.approx(plain(about.metric, gallery[row], query), abs=tolerance)
        assert (answer.scheme, answer.parameter_set) == (about.scheme, about.parameter_set)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("scheme", ["ckks", "bfv"])
def test_items_of_main_and_tail_are_compared_right_through_deletes_and_a_repack(vault, scheme, metric):
    gallery = RNG.normal(size=(700, 40)).astype(np.float32)
    ids = [f"item {row:03}" for row in range(700)]
    collection = vault.create_collection(
        f"enrolled-{scheme}-{metric}", scheme=scheme, embedder="none", dimension=40, metric=metric,
        expected_size=10_000, max_norm=0 if metric == "cosine" else 12,
    )  # fmt: skip
    for start, stop in ((0, 1), (1, 40), (40, 690), (690, 700)):
        collection.ingest_vectors(gallery[start:stop], ids[start:stop])
    about = collection.describe()
    assert 0 < about.tail_items < about.items
    tolerance = 2 * about.score_error_bound * (1 if metric == "cosine" else 3 * 12**2)
    rows = (0, 1, 39, 40, 300, 689, 699)
    check_items(collection, gallery, ids, rows, tolerance)
    collection.delete([ids[1], ids[300]])
    for gone in (ids[1], ids[300]):
        with pytest.raises(NotFound, match=gone):
            collection.verify(gone, gallery[0])
    alive = [row for row in rows if row not in (1, 300)]
    check_items(collection, gallery, ids, alive, tolerance)
    assert collection.repack().segments_retired > 0
    check_items(collection, gallery, ids, alive, tolerance)
    collection.ingest_vectors(gallery[[1]], [ids[1]])  # a deleted id may come back
    check_items(collection, gallery, ids, [1, 0], tolerance)


def test_an_enrolled_photo_knows_its_own_view(vault):
    collection = vault.create_collection("enrolled photos")
    report = collection.ingest([("coffee.jpg", jpeg("coffee")), ("rocket.jpg", jpeg("rocket"))])
    coffee, rocket = (item.id for item in report.items)
    same, other = (collection.verify(one, encoded(view("coffee"))) for one in (coffee, rocket))
    assert (same.verified, other.verified) == (True, False)
    assert same.threshold_source == "default for photos, descriptor"
    assert same.timings.embed_seconds > 0
    assert not collection.verify(coffee, encoded(view("coffee")), threshold=0.0).verified


def test_verifying_stores_nothing(vault):
    collection = vault.create_collection("untouched", embedder="none", dimension=4)
    collection.ingest_vectors(np.eye(4), ["a", "b", "c", "d"])

    def state():
        (stored,) = (service for service in vault.status().services if service.name == "storage")
        return stored.items, stored.collections, collection.describe()

    before = state()
    vault.verify([1, 2], [3, 4])
    collection.verify("a", [1, 0, 0, 0])
    assert state() == before


# --- bad input ---------------------------------------------------------------------------------

GOOD = [1.0, 2.0, 3.0]
BAD_PAIRS = {
    "one photo and one vector": ((jpeg("coffee"), GOOD), {}, InvalidArgument, "one photo and one vector"),
    "different dimensions": ((GOOD, GOOD[:2]), {}, InvalidVector, "dimension 3 and 2"),
    "too many dimensions": (
        (np.ones(4097), np.ones(4097)),
        {},
        InvalidVector,
        "dimension 4097, want 1 to 4096",
    ),
    "NaN": ((GOOD, [1, np.nan, 3]), {}, InvalidVector, "NaN"),
    "a value beyond float32": ((GOOD, [1, 1e39, 3]), {}, InvalidVector, "float32"),
    "zeros under cosine": ((GOOD, [0, 0, 0]), {}, InvalidVector, "second vector is all zeros"),
    "several vectors": ((GOOD, np.ones((2, 3))), {}, InvalidVector, "2 vectors in one input"),
    "text": ((GOOD, ["a", "b", "c"]), {}, InvalidVector, "want floats"),
    "no photo": ((jpeg("coffee"), b"text"), {}, InvalidImage, "image"),
    "an empty photo": ((b"", jpeg("coffee")), {}, InvalidImage, "image"),
    "a bomb": ((bomb(), jpeg("coffee")), {}, InvalidImage, "pixels"),
    "a missing file": (("no/such.jpg", jpeg("coffee")), {}, InvalidArgument, "no such file"),
    "an unknown scheme": ((GOOD, GOOD), {"scheme": "rot13"}, InvalidArgument, "want one of ckks, bfv"),
    "an unknown set": ((GOOD, GOOD), {"parameter_set": "ckks-1"}, InvalidArgument, "want one of ckks-4096"),
    "a set of another scheme": ((GOOD, GOOD), {"parameter_set": "bfv-4096"}, InvalidArgument, "want ckks"),
    "an unknown metric": ((GOOD, GOOD), {"metric": "manhattan"}, InvalidArgument, "want one of cosine"),
    "a metric that is no distance": ((GOOD, GOOD), {"metric": "dot"}, InvalidArgument, "cosine or euclidean"),
    "an unknown embedder": ((jpeg("coffee"),) * 2, {"embedder": "gist"}, InvalidArgument, "want one of"),
    "no embedder for photos": ((jpeg("coffee"),) * 2, {"embedder": "none"}, InvalidArgument, "got photos"),
    "an embedder for vectors": ((GOOD, GOOD), {"embedder": "pixels"}, InvalidArgument, "got vectors"),
    "a negative threshold": ((GOOD, GOOD), {"threshold": -0.1}, InvalidArgument, "threshold -0.1"),
    "a threshold that is none": ((GOOD, GOOD), {"threshold": np.nan}, InvalidArgument, "threshold nan"),
    "a threshold without end": ((GOOD, GOOD), {"threshold": np.inf}, InvalidArgument, "threshold inf"),
}


PAIRS = {
    "verify": lambda vault, a, b: vault.verify(a, b),
    "combine": lambda vault, a, b: vault.combine([a, b], weights=[1, -1], scheme="scramble"),
    "diff": lambda vault, a, b: vault.diff(a, b),
    "match": lambda vault, a, b: vault.match(a, b),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("in_memory", [False, True], ids=["files", "bytes"])
def test_of_two_photos_the_one_that_cannot_be_used_is_named(vault, tmp_path, name, in_memory):
    whole = jpeg("coffee")
    bad = (
        encoded(Image.new("RGB", (64, 64), (9, 9, 9)), "PNG")
        if name == "verify"
        else whole[: len(whole) // 2]
    )
    (tmp_path / "good.jpg").write_bytes(whole)
    (tmp_path / "bad.jpg").write_bytes(bad)
    good, bad = (whole, bad) if in_memory else (tmp_path / "good.jpg", tmp_path / "bad.jpg")
    for number, pair in enumerate([(bad, good), (good, bad)], 1):
        named = f"photo {number}" if in_memory else str(bad)
        with pytest.raises(InvalidImage, match=f"^{named}: "):
            PAIRS[name](vault, *pair)


@pytest.mark.parametrize("name", BAD_PAIRS)
def test_a_pair_that_cannot_be_compared_is_one_clear_line(vault, name):
    pair, options, error, said = BAD_PAIRS[name]
    with pytest.raises(error, match=said) as caught:
        vault.verify(*pair, **options)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def table(services):
    import blindsight

    with blindsight.connect(services.address()) as connected:
        collection = connected.create_collection("table", embedder="none", dimension=3)
        collection.ingest_vectors([GOOD], ["one"])
        inner = connected.create_collection("inner", embedder="none", dimension=3, metric="dot")
        inner.ingest_vectors([GOOD], ["one"])
        yield connected


BAD_ITEMS = {
    "an unknown collection": ("nowhere", "one", GOOD, NotFound, "no collection 'nowhere'"),
    "an unknown id": ("table", "two", GOOD, NotFound, "no item 'two' in collection 'table'"),
    "no id": ("table", "", GOOD, InvalidArgument, "want both"),
    "another dimension": ("table", "one", GOOD[:2], InvalidVector, "dimension 2, want 3"),
    "NaN": ("table", "one", [1, np.nan, 3], InvalidVector, "NaN"),
    "zeros": ("table", "one", [0, 0, 0], InvalidVector, "zeros"),
    "a photo": ("table", "one", jpeg("coffee"), InvalidArgument, "vectors only"),
    "a metric that is no distance": ("inner", "one", GOOD, InvalidArgument, "metric dot, want cosine"),
}


@pytest.mark.parametrize("name", BAD_ITEMS)
def test_an_item_that_cannot_be_compared_is_one_clear_line(table, name):
    collection, item, compared, error, said = BAD_ITEMS[name]
    with pytest.raises(error, match=said) as caught:
        table.collection(collection).verify(item, compared)
    assert "\n" not in str(caught.value)


def test_the_default_set_of_every_scheme_has_room_for_the_widest_vector():
    for parameters in PARAMETER_SETS.values():
        assert parameters.max_batches(1) >= 1
        assert parameters.pair_balance == (8 if parameters.scheme is Scheme.CKKS else 1)
