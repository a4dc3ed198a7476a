"""A photo's strongest keypoints: found, packed, sealed, compared, and added up to one vector."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from support.keysets import shared_key_set
from support.photos import NAMES, encoded, photo

from blindsight.errors import DataLoss, InvalidArgument, InvalidImage
from blindsight.parameters import CKKS_4096
from blindsight.trusted import embedders
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import photos
from blindsight.trusted.imaging import keypoints
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.wire.storage import StoredCollection

FLAT = Image.new("RGB", (300, 200), "crimson")
VIEWS = {
    "turned": lambda image: image.rotate(37, Image.Resampling.BICUBIC, expand=True),
    "upside down": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "half as large": lambda image: image.reduce(2),
    "a part": lambda image: image.crop((image.width // 4, image.height // 4, image.width, image.height)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.4),
}


@pytest.fixture(scope="module")
def found():
    return {name: keypoints.find(photo(name)) for name in NAMES}


# --- finding and packing ------------------------------------------------------------------------------


def test_at_most_500_are_kept_and_the_strongest_first(found):
    of = found["hubble_deep_field"]
    assert len(of) == keypoints.MOST
    assert (np.diff(of.features.responses) <= 0).all()
    assert (of.features.places >= 0).all()
    assert (of.features.places <= np.array(of.size)).all()


def test_a_large_picture_is_made_smaller_first():
    of = keypoints.find(photo("coffee", 900).resize((1200, 800)))
    assert of.size == (640, 427)


def test_a_round_trip_keeps_places_and_descriptors(found):
    for of in found.values():
        again = keypoints.unpack(keypoints.pack(of))
        assert again.size == of.size
        assert np.abs(again.features.places - of.features.places).max() < 1e-3
        cosines = (again.features.descriptors * of.features.descriptors).sum(axis=1)
        assert cosines.min() > 0.999


def test_all_photos_keypoints_have_one_size(found):
    nothing = keypoints.find(FLAT)
    assert len(nothing) == 0
    sizes = {len(keypoints.pack(of)) for of in [*found.values(), nothing]}
    assert sizes == {keypoints.PACKED_BYTES}
    assert len(keypoints.unpack(keypoints.pack(nothing))) == 0


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[:-1],
        lambda packed: packed + b"x",
        lambda packed: b"X" + packed[1:],
        lambda packed: packed[:4] + b"\x02" + packed[5:],
        lambda packed: packed[:5] + (501).to_bytes(2, "little") + packed[7:],
        lambda packed: b"",
    ],
    ids=["short", "long", "magic", "version", "count", "empty"],
)
def test_bytes_that_are_no_keypoints_are_data_loss(found, damage):
    with pytest.raises(DataLoss, match="keypoints"):
        keypoints.unpack(damage(keypoints.pack(found["coins"])))


# --- sealing ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def key_set():
    return shared_key_set()


def collection(key_set, collection_id=b"sixteen bytes id"):
    record = StoredCollection(collection_id, bytes(16), b"", CKKS_4096.name, key_set.key_id, 208, 8)
    return OpenCollection(
        record,
        CollectionConfig("name", "sift", 208, Metric.COSINE, 10, 1.0, record.parameter_set, record.stride),
        key_set,
    )


def test_sealed_keypoints_open_as_those_of_their_own_item_alone(key_set, found):
    own, packed = collection(key_set), keypoints.pack(found["coins"])
    key = ItemKey.new(own.handle("coins"))
    other, again = ItemKey(own.handle("coffee"), key.version), ItemKey.new(key.handle)
    sealed = own.seal_keypoints(key, packed)
    assert own.open_keypoints(key, sealed) == packed
    for opened in (
        lambda: own.open_keypoints(other, sealed),
        lambda: own.open_keypoints(again, sealed),
        lambda: own.open_original(key, sealed),
        lambda: own.open_keypoints(key, own.seal_original(key, packed)),
        lambda: collection(key_set, b"another of 16 id").open_keypoints(key, sealed),
        lambda: own.open_keypoints(key, sealed[:-1] + bytes([sealed[-1] ^ 1])),
    ):
        with pytest.raises(DataLoss, match="belong to another place"):
            opened()


# --- comparing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_another_view_of_a_photo_has_far_more_inliers_than_any_other_photo(found, view):
    for name in ("astronaut", "coffee", "coins"):
        query = keypoints.find(VIEWS[view](photo(name)))
        made = {other: keypoints.compare(query, of) for other, of in found.items()}
        assert made[name].verified
        assert not any(one.verified for other, one in made.items() if other != name)
        unrelated = max(one.inlier_count for other, one in made.items() if other != name)
        assert made[name].inlier_count >= 5 * max(unrelated, 4)


def test_a_comparison_of_sealed_bytes_is_that_of_the_photos(found):
    query = keypoints.find(VIEWS["turned"](photo("coffee")))
    packed = [keypoints.pack(found[name]) for name in ("coins", "coffee")]
    other, same = photos.compare_keypoints(tasks.CompareKeypoints(keypoints.pack(query), tuple(packed)))
    whole = keypoints.compare(query, found["coffee"])
    assert same.verified
    assert not other.verified
    assert abs(same.inliers - whole.inlier_count) <= 0.1 * whole.inlier_count
    assert same.inliers <= same.matches


def test_nothing_matches_a_photo_without_keypoints(found):
    for first, second in ((FLAT, photo("coins")), (photo("coins"), FLAT), (FLAT, FLAT)):
        made = keypoints.compare(keypoints.find(first), keypoints.find(second))
        assert (len(made), made.verified) == (0, False)


# --- one vector ---------------------------------------------------------------------------------------


def test_the_vector_of_a_turned_photo_is_nearer_than_that_of_any_other(found):
    embedder = embedders.create("sift")
    gallery = {name: embedder.vector(of) for name, of in found.items()}
    for name in ("astronaut", "coffee", "rocket", "coins"):
        query = embedder.embed(photo(name).rotate(90, expand=True))
        scores = {other: float(query @ vector) for other, vector in gallery.items()}
        assert max(scores, key=scores.__getitem__) == name


def test_the_vector_does_not_depend_on_the_order_of_keypoints_or_on_their_places(found):
    embedder, of = embedders.create("sift"), found["chelsea"]
    features = of.features.take(np.arange(len(of))[::-1])
    moved = keypoints.Keypoints(of.size, replace(features, places=features.places + 7))
    assert np.allclose(embedder.vector(moved), embedder.vector(of), atol=1e-6)


def test_a_photo_without_keypoints_has_no_vector_and_its_media_type_is_told():
    with pytest.raises(InvalidImage, match="photo has 0 keypoints, want at least 8") as refused:
        photos.embed(tasks.Embed("sift", 208, "", encoded(FLAT, "PNG")))
    assert refused.value.metadata == {"media_type": "image/png"}
    assert len(keypoints.unpack(keypoints.pack(keypoints.Keypoints.none()))) == 0
    with pytest.raises(InvalidImage, match="the same all around"):
        embedders.create("sift").vector(keypoints.Keypoints.none())


def test_another_dimension_is_refused():
    with pytest.raises(InvalidArgument, match="dimension of embedder 'sift': 128, want 208"):
        embedders.create("sift", 128)
