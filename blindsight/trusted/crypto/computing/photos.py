"""Decoding, embedding, comparison and drawing of photos in a worker process."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.trusted import embedders
from blindsight.trusted.crypto import tasks
from blindsight.trusted.embedders.sift import Sift
from blindsight.trusted.imaging import drawing, images, keypoints


def embed(task: tasks.Embed) -> tasks.Embedded:
    """Decodes a photo and computes its vector; for sift its keypoints, too.

    Raises:
        InvalidImage: if the data are not a decodable image, see `images.decode`.
    """
    made = embedders.create(task.embedder, task.dimension, task.channels)
    image = images.decode(task.data, at_least=made.at_least)
    media_type = images.media_type(task.data)
    if not isinstance(made, Sift):
        return tasks.Embedded(made.embed(image), media_type)
    found = keypoints.find(image)
    remark = f"no search will find it: {keypoints.too_few(found)}" if len(found) < keypoints.LEAST else ""
    return tasks.Embedded(made.vector(found), media_type, keypoints.pack(found), remark)


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
