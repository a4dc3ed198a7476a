"""Raw pixels by colour channel through the three real services."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.photos import NAMES, encoded, photo

from blindsight.errors import InvalidArgument, InvalidVector
from blindsight.parameters import PARAMETER_SETS

SIZE = 16
ONES = (1.0, 1.0, 1.0)


def small(image):
    return image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BOX)


def png(image):
    return encoded(image, "PNG")


def plain(first, second):
    """Squared cosine of each channel."""
    a, b = (np.asarray(image, np.float64).reshape(-1, 3) for image in (first, second))
    return np.square((a * b).sum(0)) / (np.square(a).sum(0) * np.square(b).sum(0))


def pictures():
    made = {name: small(photo(name)) for name in NAMES}
    made["mirrored"] = ImageOps.mirror(made["coffee"])
    made["dark"] = made["coffee"].point(lambda value: value // 40 + 1)
    return made


PICTURES = pictures()


def check(hits, query):
    """Every hit's values and score against numpy, and their order."""
    for hit in hits:
        want = plain(PICTURES[hit.name], query)
        np.testing.assert_allclose(hit.channels, want, atol=1e-3)
        assert hit.score == pytest.approx(np.linalg.norm(1 - np.array(hit.channels)), abs=2e-6)
    assert [hit.score for hit in hits] == sorted(hit.score for hit in hits)


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def album(request, services):
    import blindsight

    parameters = request.param
    with blindsight.connect(services.address()) as vault:
        collection = vault.create_collection(
            f"channels-{parameters.name}",
            scheme=parameters.scheme.name.lower(),
            parameter_set=parameters.name,
            embedder="pixels",
            channels="rgb",
            size=SIZE,
            expected_size=100,
        )
        names = list(PICTURES)
        # One by one to the tail, the others to a main segment of their own.
        collection.ingest([(name, png(PICTURES[name])) for name in names[2:]])
        for name in names[:2]:
            collection.ingest([(name, png(PICTURES[name]))])
        yield collection


def test_the_answer_carries_three_values_that_are_numpys(album):
    about = album.describe()
    assert (about.metric, about.channels, about.dimension) == ("squared-cosine", "rgb", 3 * SIZE * SIZE)
    assert (
        (about.score_error_bound == 0) == ("nothing is rounded" in about.precision) == (about.scheme == "bfv")
    )
    (hits,) = album.search(png(PICTURES["coffee"]), k=len(PICTURES)).results
    assert len(hits) == len(PICTURES)
    check(hits, PICTURES["coffee"])
    assert hits[0].name in ("coffee", "dark")
    assert {hit.name: hit.channels for hit in hits}["coffee"] == pytest.approx(ONES, abs=1e-3)


def test_a_near_duplicate_that_is_not_there_finds_its_original(album):
    picture = np.array(PICTURES["astronaut"])
    picture[3, 4, 1] ^= 1
    query = Image.fromarray(picture)
    (hits,) = album.search(png(query), k=3).results
    assert hits[0].name == "astronaut"
    assert hits[0].channels == pytest.approx(ONES, abs=1e-3)
    check(hits, query)


def test_a_repack_changes_no_value(album):
    query = PICTURES["chelsea"]
    (before,) = album.search(png(query), k=len(PICTURES)).results
    album.delete([before[-1].id])
    album.repack()
    (after,) = album.search(png(query), k=len(PICTURES)).results
    check(after, query)
    assert [hit.name for hit in after] == [hit.name for hit in before[:-1]]
    album.ingest([(before[-1].name, png(PICTURES[before[-1].name]))])


def test_a_threshold_is_the_largest_distance_that_is_still_a_match(album):
    (hits,) = album.search(png(PICTURES["rocket"]), k=len(PICTURES), threshold=0.01).results
    assert [hit.name for hit in hits] == ["rocket"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"embedder": "pixels", "channels": "cmyk"}, "channels 'cmyk', want one of grey, rgb"),
        ({"embedder": "pixels", "channels": "rgb", "size": 65}, "want squares of 2 to 64 pixels a side"),
        ({"embedder": "pixels", "channels": "rgb", "metric": "cosine"}, "want squared-cosine"),
        ({"embedder": "pixels", "metric": "squared-cosine"}, "want channels grey or rgb"),
        ({"embedder": "descriptor", "channels": "rgb"}, "want embedder 'pixels'"),
        ({"embedder": "none", "channels": "rgb", "dimension": 12}, "want embedder 'pixels'"),
        ({"embedder": "descriptor", "size": 64}, "want embedder pixels for it"),
        ({"embedder": "pixels", "size": 8, "dimension": 65}, "dimension 65 with size 8, want 64 or none"),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else "",
)
def test_settings_that_do_not_fit_are_one_clear_line(vault, settings, message):
    with pytest.raises(InvalidArgument, match=message):
        vault.create_collection("never", **settings)
    assert "never" not in {one.name for one in vault.collections()}


def test_a_query_of_values_that_are_no_pixels_is_refused(vault):
    collection = vault.create_collection("grey pixels", embedder="pixels", channels="grey", size=4)
    collection.ingest([("coffee", png(PICTURES["coffee"]))])
    with pytest.raises(InvalidVector, match="whole numbers from 0 to 255"):
        collection.search_vectors(np.full((1, 16), 255.5))
    (hits,) = collection.search(png(PICTURES["coffee"])).results
    assert len(hits[0].channels) == 1


def test_a_collection_of_channels_cannot_verify_and_says_what_could(vault):
    collection = vault.create_collection("no distance", embedder="pixels", channels="rgb", size=4)
    collection.ingest([("coffee", png(PICTURES["coffee"]))])
    (hits,) = collection.search(png(PICTURES["coffee"])).results
    with pytest.raises(InvalidArgument, match="metric squared-cosine, want cosine or euclidean"):
        collection.verify(hits[0].id, png(PICTURES["coffee"]))
