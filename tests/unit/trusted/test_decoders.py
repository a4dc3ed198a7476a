"""Photos are opened in confined processes that have no key, and come out as they would anywhere."""

import asyncio
import contextlib
import io
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from support.keysets import shared_key_set
from support.oddities import heic
from support.photos import photo
from support.processes import pool_workers

from blindsight.errors import InvalidImage
from blindsight.packing.columns import CollectionLayout, Layout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import CKKS_4096
from blindsight.runtime.confinement import has_filters
from blindsight.runtime.processpool import WorkerPool
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import photos
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.imaging import images, keypoints, matching
from blindsight.trusted.imaging.exif import Exif
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.imaging.matching import Matches
from blindsight.trusted.imaging.sift import Features
from blindsight.trusted.secrets import Secret
from services.keyholder import metrics

PHOTO = photo("coins")


def file(picture=PHOTO, form="PNG", **options):
    made = io.BytesIO()
    picture.save(made, form, **options)
    return made.getvalue()


def turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


FILES = {
    "avif": file(form="AVIF"),
    "bmp": file(form="BMP"),
    "gif": file(form="GIF"),
    "heic": heic(PHOTO),
    "damaged heic": heic(PHOTO)[:3000],
    "jpeg 2000": file(form="JPEG2000"),
    "pnm": file(form="PPM"),
    "jpeg": file(form="JPEG"),
    "cmyk jpeg": file(PHOTO.convert("CMYK"), "JPEG"),
    "progressive jpeg": file(form="JPEG", progressive=True, exif=turned()),
    "png": file(exif=turned()),
    "palette": file(PHOTO.quantize(16), transparency=0),
    "alpha": file(PHOTO.convert("RGBA"), "WEBP"),
    "deep": file(PHOTO.convert("L").convert("I;16")),
    "floats": file(PHOTO.convert("F"), "TIFF"),
    "animated gif": file(form="GIF", save_all=True, append_images=[PHOTO.rotate(90)]),
    "animated webp": file(form="WEBP", save_all=True, append_images=[PHOTO.rotate(90)]),
    "xmp": file(form="PNG", pnginfo=None, xmp=b"<x:xmpmeta xmlns:x='adobe:ns:meta/'/>"),
    "webp": file(form="WEBP", lossless=True, exif=turned()),
    **{
        f"tiff {one}": file(form="TIFF", compression=one)
        for one in ("raw", "tiff_lzw", "jpeg", "tiff_deflate")
    },
    "tiff group4": file(PHOTO.convert("1"), "TIFF", compression="group4"),
    "damaged": file(form="JPEG")[:2000],
    "damaged tiff": file(form="TIFF", compression="tiff_lzw")[:9000],
    "nothing": b"",
    "text": b"some text",
}


TURNED = file(PHOTO), file(PHOTO.rotate(90, expand=True))


def embedding(data):
    return tasks.Embed("sift", 208, "", data)


@pytest.fixture(scope="module")
def decoders():
    made = WorkerPool(1, tasks.DECODING, tasks.Confine(), prepare=tasks.PrepareDecoding())
    yield made
    made.close()


def orders(data):
    """Every task with a photo, and the function of it."""
    for embedder, dimension in (("descriptor", 128), ("pixels", 1024), ("sift", 208)):
        yield tasks.Embed(embedder, dimension, "", data), photos.embed
    yield tasks.Embed("pixels", 3 * 32 * 32, "rgb", data), photos.embed
    yield tasks.DrawKeypoints(data), photos.draw_keypoints
    for colours in Colours:
        yield tasks.DecodePixels(data, colours), photos.decode_pixels
        yield tasks.PlaneShape(data, colours), photos.plane_shape
        yield tasks.DecodeImage(data, colours), photos.decode_image


def comparable(result):
    if isinstance(result, np.ndarray):
        return result.shape, result.tobytes()
    if isinstance(result, tuple):
        return tuple(map(comparable, result))
    if isinstance(result, tasks.Embedded):
        return comparable((result.vector, result.media_type, result.keypoints))
    if isinstance(result, images.Pixels):
        return comparable((result.values, result.remark))
    return result


async def came(work):
    try:
        return comparable(await work)
    except InvalidImage as error:
        return error.message


async def here(function, task):
    return function(task)


@pytest.mark.parametrize("name", FILES)
async def test_a_confined_decoder_makes_of_a_photo_what_any_process_makes(decoders, name):
    """Nothing is missing that it imports or opens when a format is first seen."""
    for task, function in orders(FILES[name]):
        assert await came(decoders.run(task)) == await came(here(function, task)), task.__class__


async def test_a_confined_decoder_compares_and_draws(decoders):
    data = FILES["jpeg"]
    packed = (await decoders.run(tasks.Embed("sift", 208, "", data))).keypoints
    (agreement,) = await decoders.run(tasks.CompareKeypoints(packed, (packed,)))
    assert agreement.verified
    drawn = await decoders.run(tasks.DrawAgreement((data, packed), (data, packed)))
    assert drawn == photos.draw_agreement(tasks.DrawAgreement((data, packed), (data, packed)))


async def test_a_confined_decoder_matches_and_draws_what_was_found_elsewhere(decoders):
    found = [keypoints.unpack((await decoders.run(embedding(one))).keypoints).features for one in TURNED]
    nearest = matching.nearest_of_all(*(one.descriptors for one in found))
    for given in (None, nearest):
        task = tasks.Match(*found, given, 0.75)
        matches, same = await decoders.run(task), photos.match(task)
        assert matches.verified
        for name in ("pairs", "distances", "inliers", "homography"):
            np.testing.assert_array_equal(getattr(matches, name), getattr(same, name))
    pictures = tuple(np.asarray(images.decode(one)) for one in TURNED)
    for task, function in (
        (tasks.DrawMatches(pictures, tuple(found), matches), photos.draw_matches),
        (tasks.DrawFeatures(pictures[0], found[0]), photos.draw_features),
    ):
        np.testing.assert_array_equal(await decoders.run(task), function(task))
    nothing = await decoders.run(tasks.Match(Features.none(), found[0], None, 0.75))
    assert (len(nothing), nothing.homography) == (0, None)


# --- no key ---------------------------------------------------------------------------------------------


def secrets_of(key_set):
    return {
        "the master key": key_set.master.reveal_secret(),
        **{name: key.reveal_secret() for name, key in key_set.secret_keys.items()},
    }


def held(process, secrets):
    """Names of secrets of which a part lies in a process's memory."""
    found = set()
    with Path(f"/proc/{process.pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            place, rights = line.split()[:2]
            if rights.startswith("rw"):
                start, stop = (int(one, 16) for one in place.split("-"))
                memory.seek(start)
                found |= among(memory.read(stop - start), secrets)
    return found


def among(data, secrets):
    """Names of secrets of which a part is in some bytes."""
    # The beginnings of serialised keys say what they are, and are no secret.
    return {name for name, value in secrets.items() if value[len(value) // 2 :][:24] in data}


def memory_files_with(process, secrets):
    """Names of secrets that an open memory file of a process holds."""
    found = set()
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            if "memfd" in str(link.readlink()):
                found |= among(link.read_bytes(), secrets)
    return found


def has_opencv(process):
    """Whether a process has loaded OpenCV, and with it the old OpenSSL that its wheel brings."""
    return "/cv2/" in Path(f"/proc/{process.pid}/maps").read_text()


async def run_something(crypto, key_id):
    layout = CollectionLayout(Layout((12,), 2, 4096), Layout((12,), 16, 4096))
    keys = CollectionKeys(Secret(b"the secret of one collection ..."), CKKS_4096, layout, key_id)
    await asyncio.gather(
        crypto.encrypt_batch(keys, Placement(Region.TAIL, 0, 0, 2), np.eye(2, 12)),
        crypto.embed("descriptor", 128, "", FILES["jpeg"]),
    )


async def test_processes_that_open_photos_have_no_key_and_those_with_keys_open_none():
    if os.geteuid():
        pytest.skip("only root reads the memory of shielded processes")
    key_set = shared_key_set()
    secrets = secrets_of(key_set)
    before = {one.pid for one in psutil.Process().children(recursive=True)}
    crypto = Crypto(key_set, 1, metrics.CRYPTO)
    await crypto.warm()
    await run_something(crypto, key_set.key_id)
    workers = [one for one in pool_workers(psutil.Process()) if one.pid not in before]
    assert len(workers) == 2
    found = {one.pid: held(one, secrets) for one in workers}
    decoder, encrypter = sorted(workers, key=lambda one: len(found[one.pid]))
    assert found[encrypter.pid] == set(secrets) - {"the master key"}
    assert found[decoder.pid] == set()
    for worker in workers:
        assert held(worker.parent(), secrets) == set()  # its fork server
    assert held(psutil.Process(), secrets) == set(secrets)
    assert [has_opencv(one) for one in (decoder, encrypter, encrypter.parent())] == [True, False, False]

    status = dict(line.split(":\t") for line in Path(f"/proc/{decoder.pid}/status").read_text().splitlines())
    assert status["Seccomp"] == ("2" if has_filters() else "0")
    open_there = [str(link.readlink()) for link in Path(f"/proc/{decoder.pid}/fd").iterdir()]
    assert {re.sub(r"\d+", "N", one) for one in open_there} == {"/dev/null", "socket:[N]"}
    assert sum("socket" in one for one in open_there) == 1

    # A replacement gets the keys too, and no file keeps them for it.
    encrypter.kill()
    await run_something(crypto, key_set.key_id)
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        assert memory_files_with(process, secrets) == set()
    assert not set(tasks.COMPUTE) & set(tasks.DECODING)
    await asyncio.to_thread(crypto.close)


# --- what a decoder cannot answer -----------------------------------------------------------------------

DATA = FILES["jpeg"]
VECTOR = np.full(128, 0.1, np.float32)
PIXELS = np.zeros((2, 3, 3), np.uint8)
EMBEDDED = tasks.Embedded(VECTOR, "image/png")
GREY, COLOUR = np.zeros((4, 5), np.uint8), np.zeros((4, 5, 3), np.uint8)
PACKED = bytes(keypoints.PACKED_BYTES)
CHANGED = {"nan": np.nan, "infinite": np.inf, "long": 1e30}

FEATURES = Features(
    np.zeros((2, 2)), *(np.zeros(2) for _ in range(3)), np.zeros(2, np.intp), np.zeros((2, 128), np.float32)
)
MATCH = tasks.Match(FEATURES, FEATURES, None, 0.75)
MATCHES = Matches(np.array([[0, 1]]), np.zeros(1), np.ones(1, np.bool_), np.eye(3))

WRONG = {
    **{
        f"a vector with {name}": (
            tasks.Embed("descriptor", 128, "", DATA),
            replace(EMBEDDED, vector=np.append(VECTOR[1:], np.float32(value))),
        )
        for name, value in CHANGED.items()
    },
    "a short vector": (tasks.Embed("descriptor", 128, "", DATA), replace(EMBEDDED, vector=VECTOR[1:])),
    "a media type alone that is another": (tasks.ReadMediaType(DATA), "text/html"),
    "EXIF that may not be kept": (tasks.ReadExif(DATA), Exif(camera="M" * 20_000)),
    "a place that is none": (tasks.ReadExif(DATA), Exif(latitude=np.nan)),
    "another media type": (
        tasks.Embed("descriptor", 128, "", DATA),
        replace(EMBEDDED, media_type="text/html"),
    ),
    "keypoints of no sift": (tasks.Embed("descriptor", 128, "", DATA), replace(EMBEDDED, keypoints=PACKED)),
    "too few keypoints": (tasks.Embed("sift", 128, "", DATA), replace(EMBEDDED, keypoints=PACKED[1:])),
    "a remark that steers": (tasks.DecodePixels(DATA, Colours.RGB), images.Pixels(PIXELS, "\x1b[2J")),
    "a long remark": (tasks.DecodePixels(DATA, Colours.RGB), images.Pixels(PIXELS, "a" * 501)),
    "a comparison too few": (tasks.CompareKeypoints(PACKED, (PACKED,)), []),
    "more inliers than matches": (
        tasks.CompareKeypoints(PACKED, (PACKED,)),
        [tasks.Agreement(2, 1, verified=True)],
    ),
    "more matches than keypoints": (
        tasks.CompareKeypoints(PACKED, (PACKED,)),
        [tasks.Agreement(1, 501, verified=True)],
    ),
    "a drawing that is none": (tasks.DrawKeypoints(DATA), (b"<svg/>", b"<svg/>")),
    "matches that are none": (tasks.DrawAgreement((DATA, b""), (DATA, b"")), (b"\xff\xd8\xff", b"")),
    "colour for grey": (tasks.DecodePixels(DATA, Colours.GREY), images.Pixels(COLOUR, "")),
    "grey for colour": (tasks.DecodePixels(DATA, Colours.RGB), images.Pixels(GREY, "")),
    "no pixel": (tasks.DecodePixels(DATA, Colours.AS_THEY_ARE), images.Pixels(GREY[:0], "")),
    "a row": (tasks.DecodePixels(DATA, Colours.AS_THEY_ARE), images.Pixels(GREY[0], "")),
    "a negative shape": (tasks.PlaneShape(DATA, Colours.AS_THEY_ARE), (1, -4, -5)),
    "a huge shape": (tasks.PlaneShape(DATA, Colours.AS_THEY_ARE), (3, 1 << 40, 1 << 40)),
    "two channels": (tasks.PlaneShape(DATA, Colours.AS_THEY_ARE), (2, 4, 5)),
    "matches of other keypoints": (MATCH, replace(MATCHES, pairs=np.array([[0, 2]]))),
    "matches before the first keypoint": (MATCH, replace(MATCHES, pairs=np.array([[-1, 0]]))),
    "matches without distances": (MATCH, replace(MATCHES, distances=np.zeros(0))),
    "an endless distance": (MATCH, replace(MATCHES, distances=np.full(1, np.inf))),
    "a homography of nothing": (MATCH, replace(MATCHES, homography=np.full((3, 3), np.nan))),
    "a flat homography": (MATCH, replace(MATCHES, homography=np.zeros(9))),
    "an inlier of seven": (MATCH, replace(MATCHES, inliers=np.full(1, 7, np.uint8).view(np.bool_))),
    "grey matches": (tasks.DrawMatches((GREY, GREY), (FEATURES, FEATURES), MATCHES), GREY),
    "grey keypoints": (tasks.DrawFeatures(GREY, FEATURES), GREY),
    "a coloured image for grey": (tasks.DecodeImage(DATA, Colours.GREY), (COLOUR, False)),
    "a grey image for none": (tasks.DecodeImage(DATA, Colours.AS_THEY_ARE), (GREY, True)),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_no_photo_can_give_is_refused(name):
    task, answer = WRONG[name]
    with pytest.raises(ValueError, match=r"\w+"):
        task.check(answer)


def test_every_task_with_a_photo_says_what_is_wrong_for_it():
    without = {tasks.PrepareDecoding, tasks.Confine}
    assert {type(task) for task, _ in WRONG.values()} == set(tasks.DECODING) - without
