import io
import math
from random import Random

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from blindsight.errors import InvalidArgument, InvalidImage
from blindsight.trusted import embedders
from blindsight.trusted.imaging import images
from demo import views

IMAGE_EMBEDDERS = sorted(set(embedders.EMBEDDERS) - {embedders.EXTERNAL, embedders.NONE})


@pytest.fixture(scope="module")
def photos():
    return views.photos()


@pytest.fixture(params=IMAGE_EMBEDDERS)
def embedder(request):
    return embedders.create(request.param)


@pytest.fixture(scope="module")
def descriptor():
    return embedders.create("descriptor")


# --- every embedder ------------------------------------------------------------------------------


def test_a_vector_has_length_one_and_the_dimension_promised(embedder, photos):
    for photo in photos.values():
        vector = embedder.embed(photo)
        assert vector.dtype == np.float32
        assert vector.shape == (embedder.dimension,)
        assert np.linalg.norm(vector.astype(np.float64)) == pytest.approx(1, abs=1e-6)


def test_the_same_pixels_give_the_same_vector(embedder, photos):
    first = embedder.embed(photos["coffee"])
    again = embedders.create(embedder.name, embedder.dimension).embed(photos["coffee"].copy())
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("colour", ["black", "white", "crimson"])
def test_one_flat_colour_is_refused(embedder, colour):
    with pytest.raises(InvalidImage, match=r"image has no contrast|photo has 0 keypoints"):
        embedder.embed(Image.new("RGB", (300, 200), colour))


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 900), (900, 1), (3, 3)], ids=str)
@pytest.mark.parametrize("name", sorted({*IMAGE_EMBEDDERS} - {embedders.SIFT}))  # they have no keypoints
def test_the_smallest_pictures_have_a_vector(name, size):
    embedder = embedders.create(name)
    values = np.random.default_rng(7).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    assert np.isfinite(embedder.embed(Image.fromarray(values))).all()


def test_a_grey_picture_may_come_in_any_mode(embedder, photos):
    grey = photos["camera"].convert("L")
    np.testing.assert_allclose(embedder.embed(grey), embedder.embed(grey.convert("RGB")), atol=1e-6)


def test_a_reduced_decoding_gives_nearly_the_same_vector(embedder, photos):
    file = io.BytesIO()
    photos["rocket"].resize((2560, 1708), Image.Resampling.LANCZOS).save(file, "JPEG", quality=92)
    small = images.decode(file.getvalue(), at_least=embedder.at_least)
    full = images.decode(file.getvalue())
    assert small.width < full.width
    # Which keypoints are among the strongest is decided by little.
    least = 0.97 if embedder.name == embedders.SIFT else 0.998
    assert float(embedder.embed(small) @ embedder.embed(full)) > least


# --- the registry --------------------------------------------------------------------------------


def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(
        InvalidArgument, match="'resnet', want one of descriptor, external, none, pixels, sift"
    ):
        embedders.create("resnet")


def test_the_default_is_one_of_them():
    assert embedders.create(embedders.DEFAULT).name == embedders.DEFAULT


@pytest.mark.parametrize("name", embedders.EMBEDDERS)
def test_a_row_makes_the_embedder_of_its_name(name):
    made = embedders.create(name, None if name in ("descriptor", "sift") else 1024)
    assert made.name == name


@pytest.mark.parametrize(
    ("name", "dimension"),
    [
        ("descriptor", 127),
        ("descriptor", 0),
        ("pixels", 1000),
        ("pixels", 1),
        ("pixels", 0),
        ("pixels", -4),
        ("none", None),
        ("none", 0),
        ("external", None),
        ("external", 0),
    ],
)
def test_a_wrong_dimension_is_refused(name, dimension):
    with pytest.raises(InvalidArgument, match=f"dimension of embedder '{name}': {dimension}, want"):
        embedders.create(name, dimension)


def test_none_takes_any_dimension_and_no_image(photos):
    made = embedders.create("none", 300)
    assert made.dimension == 300
    with pytest.raises(InvalidArgument, match="vectors only: got an image, want a vector of dimension 300"):
        made.embed(photos["coffee"])


def test_external_takes_any_dimension_and_makes_no_vector(photos):
    made = embedders.create("external", 300)
    assert made.dimension == 300
    with pytest.raises(InvalidArgument, match="got an image, want a vector of dimension 300"):
        made.embed(photos["coffee"])


# --- pixels --------------------------------------------------------------------------------------


def test_pixels_correlate_thumbnails(photos):
    made = embedders.create("pixels", 256)
    grey = [
        np.asarray(photos[name].convert("L").resize((16, 16), Image.Resampling.BOX))
        for name in ("moon", "page")
    ]
    wanted = np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1]
    assert float(made.embed(photos["moon"]) @ made.embed(photos["page"])) == pytest.approx(wanted, abs=1e-6)


def test_pixels_tell_a_photo_from_its_negative(photos):
    made = embedders.create("pixels")
    assert float(made.embed(photos["moon"]) @ made.embed(ImageOps.invert(photos["moon"]))) < -0.99


# --- descriptor ----------------------------------------------------------------------------------


def cropped(photo, area):
    random = Random(f"{photo.size}{area}")
    width, height = (round(side * math.sqrt(area)) for side in photo.size)
    left, top = random.randint(0, photo.width - width), random.randint(0, photo.height - height)
    return photo.crop((left, top, left + width, top + height))


def turned(photo, degrees):
    """Turned and cut to the part without empty corners."""
    lean = math.tan(math.radians(abs(degrees))) / 2
    across, down = math.ceil(photo.height * lean), math.ceil(photo.width * lean)
    inside = (across, down, photo.width - across, photo.height - down)
    return photo.rotate(degrees, Image.Resampling.BICUBIC).crop(inside)


def compressed(photo, quality):
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=quality)
    return Image.open(file)


# The floor is for the worst of twenty photos, among them grass, gravel and stars.
CHANGES = {
    "crop to 80 %": (lambda photo: cropped(photo, 0.8), 0.7),
    "crop to 60 %": (lambda photo: cropped(photo, 0.6), 0.2),
    "mirror": (ImageOps.mirror, 0.999),
    "brighter by 35 %": (lambda photo: ImageEnhance.Brightness(photo).enhance(1.35), 0.85),
    "darker by 35 %": (lambda photo: ImageEnhance.Brightness(photo).enhance(0.65), 0.98),
    "more contrast": (lambda photo: ImageEnhance.Contrast(photo).enhance(1.3), 0.95),
    "less contrast": (lambda photo: ImageEnhance.Contrast(photo).enhance(0.7), 0.98),
    "blur": (lambda photo: photo.filter(ImageFilter.GaussianBlur(2)), 0.93),
    "jpeg": (lambda photo: compressed(photo, 20), 0.95),
    "turn by 5 degrees": (lambda photo: turned(photo, 5), 0.65),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_photo_stays_near_and_finds_its_original(descriptor, photos, change):
    alter, floor = CHANGES[change]
    originals = np.stack([descriptor.embed(photo) for photo in photos.values()])
    altered = np.stack([descriptor.embed(alter(photo)) for photo in photos.values()])
    cosines = altered @ originals.T
    found = cosines.argmax(axis=1) == np.arange(len(photos))
    assert found.mean() >= 0.95
    assert cosines.diagonal().min() >= floor, dict(zip(photos, cosines.diagonal().round(3), strict=True))


def test_unrelated_photos_are_far_apart(descriptor, photos):
    vectors = np.stack([descriptor.embed(photo) for photo in photos.values()])
    cosines = (vectors @ vectors.T)[np.triu_indices(len(photos), 1)]
    assert cosines.mean() < 0.1
    assert np.quantile(cosines, 0.9) < 0.35
    assert cosines.max() < 0.6


def test_a_negative_of_the_colours_is_another_picture(descriptor, photos):
    red, green, blue = photos["coffee"].split()
    swapped = Image.merge("RGB", (blue, green, red))
    assert float(descriptor.embed(photos["coffee"]) @ descriptor.embed(swapped)) < 0.9


# --- the demo's views ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def gallery():
    return list(views.gallery())


@pytest.fixture(scope="module")
def queries():
    return list(views.queries())


def test_the_demo_has_enough_views_and_every_photo_on_both_sides(gallery, queries, photos):
    assert len(gallery) >= 400
    assert len(queries) >= 40
    assert {view.photo for view in gallery} == {view.photo for view in queries} == set(photos)
    assert len({view.name for view in gallery + queries}) == len(gallery) + len(queries)


def test_no_query_lies_in_the_gallery(gallery, queries):
    assert not {view.data for view in gallery} & {view.data for view in queries}


def test_views_are_the_same_on_every_run(queries):
    assert list(views.queries()) == queries


def test_unseen_views_find_their_photo(descriptor, gallery, queries):
    def embed(some):
        return np.stack(
            [descriptor.embed(images.decode(view.data, at_least=descriptor.at_least)) for view in some]
        )

    best = (embed(queries) @ embed(gallery).T).argmax(axis=1)
    found = [gallery[place].photo == query.photo for place, query in zip(best, queries, strict=True)]
    assert np.mean(found) >= 0.97
