"""Decoding, embedding, comparison and drawing of photos in a worker process, confined and without a key."""

from __future__ import annotations

import io
from importlib.util import find_spec

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from blindsight.errors import InvalidImage
from blindsight.runtime import host
from blindsight.runtime.confinement import confine as confine_process
from blindsight.trusted import embedders
from blindsight.trusted.crypto import tasks
from blindsight.trusted.embedders.sift import Sift
from blindsight.trusted.imaging import drawing, exif, heif, images, keypoints, matching
from blindsight.trusted.imaging.matching import Matches
from blindsight.trusted.keyring.shield import raise_shield

# The largest photo takes less than half of this to decode, whatever its format.
_ROOM_BYTES = 2 << 30


def prepare(_: tasks.PrepareDecoding) -> None:
    """Does once what workers do, so that whatever it imports is there when they are confined."""
    # With some eighty keypoints: noise of half the size has at times hardly as many as are wanted.
    picture = Image.linear_gradient("L").resize((192, 128)).effect_spread(20).convert("RGB")
    # An encoder of HEIF would leave threads behind; its decoder needs nothing but its library.
    files = [_encoded(picture, name) for name in images.MEDIA_TYPES if name != heif.FORMAT]
    if heif.is_installed():
        heif.require()
    for one in files:
        decode_pixels(tasks.DecodePixels(one, images.Colours.GREY))
    read_exif(tasks.ReadExif(_with_exif(picture)))
    data = files[0]
    for name in embedders.EMBEDDERS.keys() - {embedders.NONE, embedders.EXTERNAL, embedders.SIFT}:
        embed(tasks.Embed(name, embedders.create(name).dimension, "", data))
    if find_spec("cv2") is not None:
        packed = embed(tasks.Embed(embedders.SIFT, Sift.dimension, "", data)).keypoints
        draw_agreement(tasks.DrawAgreement((data, packed), (data, packed)))


def _encoded(picture: Image.Image, format_name: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, format_name)
    return file.getvalue()


def _with_exif(picture: Image.Image) -> bytes:
    said = Image.Exif()
    said.update({ExifTags.Base.DateTime: "2000:01:01 00:00:00", ExifTags.Base.Model: "none"})
    file = io.BytesIO()
    picture.save(file, "JPEG", exif=said)
    return file.getvalue()


def confine(_: tasks.Confine) -> None:
    """Confines this process, and keeps others from reading the photos in its memory."""
    host.keep_photos()
    raise_shield()
    confine_process(_ROOM_BYTES)


def embed(task: tasks.Embed) -> tasks.Embedded:
    """Decodes a photo and computes its vector; for sift its keypoints, too.

    Raises:
        InvalidImage: if the data are not a decodable image, see `images.decode`, or the embedder cannot
            describe it; then `metadata` has its media type.
    """
    made = embedders.create(task.embedder, task.dimension, task.channels)
    image = images.decode(task.data, at_least=made.at_least)
    media_type = images.media_type(task.data)
    try:
        if not isinstance(made, Sift):
            return tasks.Embedded(made.embed(image), media_type)
        found = keypoints.enough(image)
        return tasks.Embedded(made.vector(found), media_type, keypoints.pack(found))
    except InvalidImage as error:
        raise InvalidImage(error.message, media_type=media_type) from None


def read_media_type(task: tasks.ReadMediaType) -> str:
    """Reads the media type of a photo; see `images.media_type`."""
    return images.media_type(task.data)


def read_exif(task: tasks.ReadExif) -> exif.Exif:
    """Reads what a photo's EXIF says; see `exif.read`."""
    return exif.read(task.data)


def compare_keypoints(task: tasks.CompareKeypoints) -> list[tasks.Agreement]:
    """Compares packed keypoints with those of other photos.

    Raises:
        DataLoss: if the bytes are not packed keypoints.
    """
    first = keypoints.unpack(task.query)
    made = [keypoints.compare(first, keypoints.unpack(other)) for other in task.others]
    return [tasks.Agreement(one.inlier_count, len(one), one.verified) for one in made]


def draw_keypoints(task: tasks.DrawKeypoints) -> tuple[bytes, bytes]:
    """Draws a photo's keypoints; see `tasks.DrawKeypoints`."""
    picture = _bounded(task.data)
    drawn = drawing.draw_keypoints(np.asarray(picture), keypoints.find(picture).features)
    return drawing.jpeg(picture), drawing.jpeg(drawn)


def draw_agreement(task: tasks.DrawAgreement) -> tuple[bytes, bytes]:
    """Draws two photos' matches; see `tasks.DrawAgreement`."""
    both = task.query, task.other
    pictures = [_bounded(data) for data, _ in both]
    found = [keypoints.unpack(packed) for _, packed in both]
    first, second = (np.asarray(picture) for picture in pictures)
    features = found[0].features, found[1].features
    drawn = drawing.draw_matches(first, second, features, keypoints.compare(*found))
    return drawing.jpeg(pictures[1]), drawing.jpeg(drawn)


def _bounded(data: bytes) -> Image.Image:
    """Decodes a photo at the size at which its keypoints were found."""
    return keypoints.bounded(images.decode(data, at_least=Sift.at_least))


def decode_pixels(task: tasks.DecodePixels) -> images.Pixels:
    """Decodes a photo for planes; see `images.pixels`."""
    return images.pixels(task.data, task.colours)


def plane_shape(task: tasks.PlaneShape) -> tuple[int, int, int]:
    """Reads the shape of a photo's planes from its header; see `images.plane_shape`."""
    return images.plane_shape(task.data, task.colours)


def decode_image(task: tasks.DecodeImage) -> tuple[npt.NDArray[np.uint8], bool]:
    """Decodes an image: [height, width] if grey is asked for, else [height, width, 3].

    Also returns whether the image has no colour; always False if RGB is asked for.

    Raises:
        InvalidImage: if the data are not a decodable image, see `images.decode`.
    """
    image = images.decode(task.data)
    grey = task.colours is not images.Colours.RGB and images.is_grey(image)
    return np.asarray(image.convert("L") if task.colours is images.Colours.GREY else image), grey


def match(task: tasks.Match) -> Matches:
    """Matches the keypoints of two pictures; see `tasks.Match`."""
    nearest = task.nearest
    if nearest is None:
        nearest = matching.nearest_by_flann(task.first.descriptors, task.second.descriptors)
    return matching.match(task.first, task.second, nearest, task.ratio)


def draw_features(task: tasks.DrawFeatures) -> npt.NDArray[np.uint8]:
    """Draws a picture's keypoints; see `tasks.DrawFeatures`."""
    return np.asarray(drawing.draw_keypoints(task.picture, task.features))


def draw_matches(task: tasks.DrawMatches) -> npt.NDArray[np.uint8]:
    """Draws two pictures' matches; see `tasks.DrawMatches`."""
    return np.asarray(drawing.draw_matches(*task.pictures, task.features, task.matches))
