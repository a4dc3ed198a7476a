"""A photo's strongest keypoints: found in its pixels, packed to be sealed, and compared with another photo's.

The keyholder has the pixels when a photo is put in, so nothing is encrypted for this: OpenCV's SIFT finds
them, in a tenth of a second.  `imaging.sift` is for scale spaces that an evaluator computed.

    magic "BSKP", u8 version, u16 count, u16 width, u16 height of the picture that they were found in
    500 places, f32 x and y
    500 descriptors of 128 bytes

Little-endian; what `count` does not reach is zeros, so that all photos' keypoints have one size.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from blindsight.errors import DataLoss
from blindsight.trusted.imaging import matching, opencv
from blindsight.trusted.imaging.matching import Matches
from blindsight.trusted.imaging.sift import Features
from blindsight.trusted.imaging.sift.keypoints import DESCRIPTOR

MOST = 500
# With fewer no match is verified: `Matches.verified` asks for eight inliers.
LEAST = 8
# Larger pictures are made smaller first.
SIDE = 640
# A third of OpenCV's: a hazy photo has few keypoints of more contrast, and of others the strongest count.
_CONTRAST = 0.012

_HEADER = struct.Struct("<4sBHHH")
_MAGIC, _VERSION = b"BSKP", 1
_PLACE = np.dtype("<f4")
PACKED_BYTES = _HEADER.size + MOST * (2 * _PLACE.itemsize + DESCRIPTOR)

Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """Of one photo.

    Attributes:
        size: width and height of the picture that they were found in.
        features: strongest first, at most 500.
    """

    size: tuple[int, int]
    features: Features

    def __len__(self) -> int:
        return len(self.features)


def bounded(image: Image.Image) -> Image.Image:
    """The picture that keypoints are looked for in: no side longer than 640 pixels."""
    smaller = image.copy()
    smaller.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    return smaller


def find(image: Image.Image) -> Keypoints:
    """The strongest keypoints of a picture; there may be none.

    Raises:
        InvalidArgument: when OpenCV is not installed.
    """
    cv2 = opencv.load()
    picture = bounded(image)
    detector = cv2.SIFT_create(nfeatures=MOST, contrastThreshold=_CONTRAST)
    points, descriptors = detector.detectAndCompute(np.asarray(picture.convert("L")), None)
    if not points:
        return Keypoints(picture.size, Features.none())
    # A keypoint with several directions counts once in `nfeatures`.
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


def too_few(keypoints: Keypoints) -> str:
    """What is wrong with fewer than `LEAST`, for people."""
    return f"{len(keypoints)} keypoints, want at least {LEAST}: too little structure, or too little contrast"


def pack(keypoints: Keypoints) -> bytes:
    """Places and descriptors, of the same size for every photo."""
    count = len(keypoints)
    places = np.zeros((MOST, 2), _PLACE)
    places[:count] = keypoints.features.places
    descriptors = np.zeros((MOST, DESCRIPTOR), np.uint8)
    descriptors[:count] = keypoints.features.descriptor_bytes()
    header = _HEADER.pack(_MAGIC, _VERSION, count, *keypoints.size)
    return header + places.tobytes() + descriptors.tobytes()


def unpack(packed: bytes) -> Keypoints:
    """The inverse of `pack`, but for scales, directions and contrasts, which it leaves out.

    Raises:
        DataLoss: when the bytes are something else.
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
    """What two photos have in common.

    Raises:
        InvalidArgument: when OpenCV is not installed.
    """
    nearest = matching.nearest_of_all(first.features.descriptors, second.features.descriptors)
    return matching.match(first.features, second.features, nearest)


def _unit(descriptors: npt.NDArray[np.uint8] | npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    wide = descriptors.astype(np.float32)
    made: npt.NDArray[np.float32] = wide / np.maximum(
        np.linalg.norm(wide, axis=1, keepdims=True), np.float32(1e-9)
    )
    return made
