"""A photo's strongest keypoints: detection, packing for sealing, and comparison with another photo's.

The keyholder has the pixels when a photo is stored, so nothing is encrypted for this: OpenCV's SIFT finds
keypoints in a tenth of a second.  `imaging.sift` is for scale spaces that an evaluator computed.

    magic "BSKP", u8 version, u16 count, u16 width, u16 height of the image that they were found in
    500 positions, f32 x and y
    500 descriptors of 128 bytes

Little-endian; entries from `count` on are zeros, so that all photos' keypoints have one size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.errors import DataLoss, InvalidImage
from blindsight.trusted.imaging import matching, opencv
from blindsight.trusted.imaging.matching import Matches
from blindsight.trusted.imaging.sift import Features
from blindsight.trusted.imaging.sift.keypoints import DESCRIPTOR

MOST = 500
# With fewer keypoints no match is verified: `Matches.verified` takes at least eight inliers.
LEAST = 8
# Longest side in pixels: larger images are scaled down first.
SIDE = 640
# A third of OpenCV's default: a hazy photo has few keypoints of more contrast, and in other photos only the
# strongest are kept.
_CONTRAST = 0.012

_HEADER = struct.Struct("<4sBHHH")
_MAGIC, _VERSION = b"BSKP", 1
_PLACE = np.dtype("<f4")
PACKED_BYTES = _HEADER.size + MOST * (2 * _PLACE.itemsize + DESCRIPTOR)

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """The keypoints of one photo.

    Attributes:
        size: width and height of the image that they were found in.
        features: strongest first, at most 500.
    """

    size: tuple[int, int]
    features: Features

    @classmethod
    def none(cls) -> Keypoints:
        """Returns those of a file of which nothing could be made."""
        return cls((0, 0), Features.none())

    def __len__(self) -> int:
        return len(self.features)


def bounded(image: Image.Image) -> Image.Image:
    """Returns the image in which keypoints are searched: no side is longer than 640 pixels."""
    smaller = image.copy()
    smaller.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return smaller


def find(image: Image.Image) -> Keypoints:
    """Finds the strongest keypoints of an image; there may be none.

    Raises:
        InvalidArgument: if OpenCV is not installed.
    """
    cv2 = opencv.load()
    picture = bounded(image)
    detector = cv2.SIFT_create(nfeatures=MOST, contrastThreshold=_CONTRAST)
    points, descriptors = detector.detectAndCompute(np.asarray(picture.convert("L")), None)
    if not points:
        return Keypoints(picture.size, Features.none())
    # OpenCV may return more: a keypoint with several directions counts once in `nfeatures`.
    order = np.argsort([-point.response for point in points], kind="stable")[:MOST]
    chosen = [points[index] for index in order]
    places = np.array([point.pt for point in chosen], np.float64)
    features = Features(
        places,
        np.array([point.size / 2 for point in chosen]),
        np.radians([point.angle for point in chosen]),
        np.array([point.response for point in chosen]),
        np.zeros(len(chosen), np.intp),
        _unit(descriptors[order]),
    )
    return Keypoints(picture.size, features)


def enough(image: Image.Image) -> Keypoints:
    """Finds the strongest keypoints of an image, at least `LEAST`.

    Raises:
        InvalidImage: if it has fewer.
        InvalidArgument: if OpenCV is not installed.
    """
    found = find(image)
    if len(found) < LEAST:
        raise InvalidImage(
            f"photo has {len(found)} keypoints, want at least {LEAST}: "
            "too little structure, or too little contrast"
        )
    return found


def pack(keypoints: Keypoints) -> bytes:
    """Packs positions and descriptors, to the same size for every photo."""
    count = len(keypoints)
    places = np.zeros((MOST, 2), _PLACE)
    places[:count] = keypoints.features.places
    descriptors = np.zeros((MOST, DESCRIPTOR), np.uint8)
    descriptors[:count] = keypoints.features.descriptor_bytes()
    header = _HEADER.pack(_MAGIC, _VERSION, count, *keypoints.size)
    return header + places.tobytes() + descriptors.tobytes()


def unpack(packed: bytes) -> Keypoints:
    """Unpacks what `pack` wrote; scales, directions and contrasts, which it leaves out, are 0.

    Raises:
        DataLoss: if the bytes are not packed keypoints.
    """
    if len(packed) != PACKED_BYTES:
        raise DataLoss(f"keypoints of {len(packed)} bytes, want {PACKED_BYTES}")
    magic, version, count, width, height = _HEADER.unpack_from(packed)
    if magic != _MAGIC or version != _VERSION or count > MOST:
        raise DataLoss("keypoints of a photo are damaged, or of another version")
    start = _HEADER.size
    places = np.frombuffer(packed, _PLACE, 2 * count, start).reshape(-1, 2)
    start += 2 * MOST * _PLACE.itemsize
    descriptors = np.frombuffer(packed, np.uint8, DESCRIPTOR * count, start).reshape(-1, DESCRIPTOR)
    unknown = np.zeros(count)
    features = Features(
        places.astype(np.float64), unknown, unknown, unknown, np.zeros(count, np.intp), _unit(descriptors)
    )
    return Keypoints((width, height), features)


def compare(first: Keypoints, second: Keypoints) -> Matches:
    """Matches the keypoints of two photos.

    Raises:
        InvalidArgument: if OpenCV is not installed.
    """
    nearest = matching.nearest_of_all(first.features.descriptors, second.features.descriptors)
    return matching.match(first.features, second.features, nearest)


def _unit(descriptors: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    wide = descriptors.astype(np.float32)
    made: npt.NDArray[np.float32] = wide / np.maximum(
        np.linalg.norm(wide, axis=1, keepdims=True), np.float32(1e-9)
    )
    return made
