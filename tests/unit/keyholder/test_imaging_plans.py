"""Jobs of image processing are planned before a picture is decoded: sizes, refusals and memory."""

from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support.keysets import shared_key_set
from support.photos import encoded

from blindsight.errors import InvalidArgument, InvalidImage
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import PlaneLayout
from blindsight.parameters import BFV_4096, CKKS_4096
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging.filters import Operation
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.imaging.morphology import MOST_LEVELS
from blindsight.wire.planes import StoredPlanes
from services.keyholder.imaging import difference, keypoints
from services.keyholder.imaging.difference import DifferenceSettings
from services.keyholder.imaging.engines import scheme
from services.keyholder.imaging.filter import Filter, FilterSettings
from services.keyholder.imaging.keypoints import DetectionSettings
from services.keyholder.imaging.ring_engine import RingScheme
from services.keyholder.imaging.sources import Encrypted, Pictures
from services.keyholder.metrics import CRYPTO


@pytest.fixture(scope="module")
def crypto():
    made = Crypto(shared_key_set(), 1, CRYPTO)
    yield made
    made.close()


class Photos(Pictures):
    """Files, and photos that are stored: what storage and the vault would say of them."""

    def __init__(self, crypto, **stored):
        super().__init__(None, None, crypto)
        self._stored = stored

    async def look(self, source, colours):
        return self._stored[source] if isinstance(source, str) else await super().look(source, colours)


def stored(parameters, width=100, height=60, channels=1, halo=2):
    layout = PlaneLayout(width, height, channels, parameters.ring_degree, halo)
    planes = StoredPlanes(bytes(16), bytes(16))
    return Encrypted(None, "photo", parameters, layout, planes, Colours.AS_THEY_ARE)


def settings(*operations, **options):
    return FilterSettings(tuple(map(Operation, operations)), **options)


def cut_short(image):
    """A file whose header is right and whose pixels cannot be decoded."""
    data = encoded(image, "PNG")
    return data[: len(data) // 2]


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (settings("box:31", "box:31", "box:31"), "reach 45 pixels together"),
        (settings("dilate:31"), "too small for dilate with an element of size 31"),
        (settings("threshold"), "Otsu's threshold of a picture in colour"),
        (settings("box:31", "box:31", "box:31", scheme="paillier"), "reach 45 pixels together"),
    ],
    ids=["reach", "element", "colour", "paillier"],
)
async def test_what_cannot_be_done_is_refused_before_the_picture_is_decoded(crypto, asked, said):
    job = Filter(Photos(crypto), None)
    with pytest.raises(InvalidArgument, match=said):
        await job.plan(asked, cut_short(NOISE.crop((0, 0, 120, 30))))


async def test_pictures_of_different_sizes_are_refused_before_they_are_decoded(crypto):
    job = difference.Difference(Photos(crypto), None)
    with pytest.raises(InvalidArgument, match="A is 120 x 90 pixels and B is 100 x 90"):
        await job.plan(DifferenceSettings(), (cut_short(NOISE), cut_short(NOISE.crop((0, 0, 100, 90)))))


async def test_a_plan_never_changes(crypto):
    plan = await Filter(Photos(crypto), None).plan(settings("sobel", "erode:3"), encoded(NOISE))
    for part in (plan, *plan.steps, plan.steps[0].trip, plan.scheme, plan.picture):
        with pytest.raises(FrozenInstanceError):
            setattr(part, fields(part)[0].name, None)


async def test_a_plan_says_how_many_ciphertexts_go_out_and_come_back(crypto):
    plan = await Filter(Photos(crypto), None).plan(settings("sobel"), encoded(NOISE))
    (step,) = plan.steps
    # Tiles of 64 x 64 pixels with a halo of one: 62 of each are its own.
    assert step.trip.ciphertexts == 3 * 2 * 2
    assert step.trip.results == 2 * step.trip.ciphertexts


async def test_a_stored_photo_is_planned_under_its_own_parameters_where_they_are(crypto):
    photos = Photos(crypto, bfv=stored(BFV_4096), ckks=stored(CKKS_4096))
    job = Filter(photos, None)
    for name in ("bfv", "ckks"):
        plan = await job.plan(settings("box:3"), name)
        assert plan.scheme.name == name
        assert not plan.steps[0].decrypted
        assert plan.steps[0].trip.layout == plan.picture.layout
    plan = await job.plan(settings("box:7", "box:3"), "bfv")
    assert "a halo of 2 pixels" in plan.steps[0].decrypted
    plan = await job.plan(settings("box:3", scheme="paillier"), "bfv")
    assert "the job is under paillier" in plan.steps[0].decrypted


async def test_counts_of_a_large_picture_are_cut_into_calls_that_the_estimate_knows(crypto):
    large = Image.new("L", (1024, 1024))
    plan = await Filter(Photos(crypto), None).plan(settings("erode:3"), encoded(large))
    (step,) = plan.steps
    parts = [part for batch in step.batches for part in batch]
    assert parts == [(0, group) for group in range(step.packing.groups)]
    assert max(map(len, step.batches)) == 8192 // 32**2
    assert step.packing.levels == MOST_LEVELS
    assert step.memory_bytes > len(step.batches[0]) * 1024**2 * 4 * 2  # planes, and as many results


async def test_a_difference_is_planned_where_both_photos_are_stored_alike(crypto):
    photos = Photos(
        crypto,
        one=stored(BFV_4096),
        two=stored(BFV_4096),
        wide=stored(BFV_4096, halo=5),
        ckks=stored(CKKS_4096),
    )
    job = difference.Difference(photos, None)
    plan = await job.plan(DifferenceSettings(), ("one", "two"))
    assert (plan.base, plan.decrypted) == (photos._stored["one"], ("", ""))
    plan = await job.plan(DifferenceSettings(), ("one", "wide"))
    assert plan.decrypted == ("", "stored planes have a halo of 5 pixels, and the other photo's of 2")
    plan = await job.plan(DifferenceSettings(), ("ckks", "one"))
    assert plan.scheme == RingScheme(CKKS_4096)
    assert "stored planes are of bfv-4096" in plan.decrypted[1]
    plan = await job.plan(DifferenceSettings("scramble"), ("one", "two"))
    assert plan.base is None
    assert all(plan.decrypted)


async def test_a_picture_that_is_not_as_its_header_says_is_refused(crypto):
    photos = Photos(crypto)
    known = await photos.look(encoded(NOISE), Colours.AS_THEY_ARE)
    other = type(known)(encoded(NOISE.crop((0, 0, 50, 50))), known.colours, known.shape)
    with pytest.raises(InvalidImage, match="as in its header"):
        await photos.open(other)


@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1600))
def test_a_picture_is_made_as_small_as_pillow_makes_a_thumbnail(height, width, side):
    image = Image.new("1", (width, height))
    image.thumbnail((side, side), Image.Resampling.NEAREST)
    assert keypoints.reduced_size(height, width, side) == (image.height, image.width)


async def test_octaves_of_stored_planes_begin_with_their_tiles(crypto):
    photos = Photos(crypto, photo=stored(CKKS_4096, 120, 90, halo=12))
    plan = await keypoints.Keypoints(photos, None).plan(DetectionSettings(), "photo")
    (picture,) = plan.pictures
    assert picture.stored is photos._stored["photo"]
    first, *later = picture.octaves
    assert first.trip.layout == picture.stored.layout
    assert [one.bits for one in later] == [keypoints.FRACTION_BITS] * len(later)
    assert first.bits == 0
    assert (first.plan.height, first.plan.width) == (180, 240)
    assert plan.memory_bytes > 180 * 240 * first.plan.levels * 4


@pytest.mark.parametrize("name", ["bfv", "ckks", "paillier"])
def test_kernels_that_reach_farther_than_a_scheme_has_room_for_are_no_trip(name):
    with pytest.raises(InvalidArgument):
        scheme(name).trip((1, 50, 50), 600, [PlaneKernel(1, 1, 0, 0, (1,))])
