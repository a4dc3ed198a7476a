"""Tasks for the worker processes of the trusted zone, as plain data, and the functions that run them.

There are two kinds of processes.  Those of `DECODING` open photos, which may come from anybody, with native
decoders; they have no key and are confined, and each of their tasks checks what they answer.  Those of
`COMPUTE` have the owner's keys and see no file.

A new task is a class here, a function in `blindsight.trusted.crypto.computing`, and a row of one of the
tables.  Tasks have no `repr`, because they carry secret keys, photos and vectors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.schemes import AdditiveScheme
from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidArgument
from blindsight.packing.columns import CollectionLayout, Floats, Layout
from blindsight.packing.planes import Integers, PlaneLayout
from blindsight.packing.segments import Placement, Region
from blindsight.packing.tiling import MAX_PIXELS as MAX_PLANE_PIXELS
from blindsight.runtime.processpool import Compute, Task, compute_table
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.imaging import images, keypoints
from blindsight.trusted.imaging.exif import Exif
from blindsight.trusted.imaging.matching import Matches, Nearest
from blindsight.trusted.imaging.sift import Features
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.schemes.sampling import Words
from blindsight.wire.metadata import checked


@dataclass(frozen=True, slots=True, repr=False)
class Start(Task[None]):
    """The transfer of the owner's keys to a new worker.

    Attributes:
        secret_keys: by the name of a parameter set.
    """

    key_id: bytes
    secret_keys: dict[str, bytes]

    @classmethod
    def of(cls, keys: KeySet) -> Start:
        """Returns the task with all keys of a key set; send it to new workers only."""
        return cls(keys.key_id, {name: key.reveal_secret() for name, key in keys.secret_keys.items()})


@dataclass(frozen=True, slots=True, repr=False)
class Prepare(Task[None]):
    """Loading of compiled code and SEAL's tables: what needs no key, before workers are forked."""


@dataclass(frozen=True, slots=True, repr=False)
class Warm(Task[None]):
    """Loading of every scheme's key, so that the first request does not wait for it."""


# --- photos -------------------------------------------------------------------------------------------

# Room for what is not pixels: numbers, remarks, an error with its stack.
_WORDS = 1 << 18
_LONGEST_REMARK = 500
_JPEG = b"\xff\xd8\xff"


@dataclass(frozen=True, slots=True, repr=False)
class PrepareDecoding(Task[None]):
    """Loading of decoders and embedders, before workers are forked."""


@dataclass(frozen=True, slots=True, repr=False)
class Confine(Task[None]):
    """Confinement of a new worker, see `runtime.confinement`."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """A photo's vector and media type.

    Attributes:
        keypoints: packed keypoints for embedder sift; else empty.
    """

    vector: npt.NDArray[np.float32]
    media_type: str
    keypoints: bytes = b""


@dataclass(frozen=True, slots=True, repr=False)
class Embed(Task[Embedded]):
    """Decoding of a photo and computation of its vector.

    Attributes:
        embedder, dimension, channels: see `embedders.create`.
        data: the photo's file.
    """

    most_bytes: ClassVar[int] = (1 << 20) + _WORDS

    embedder: str
    dimension: int
    channels: str
    data: bytes

    def check(self, result: Embedded) -> None:
        vector, most = result.vector, 255.0 if self.channels else 1.001  # pixels, or a unit vector
        if vector.shape != (self.dimension,) or not (np.abs(vector) <= most).all():
            raise ValueError(f"no vector of {self.dimension} numbers of at most {most:g}")
        if result.media_type not in images.MEDIA_TYPES.values():
            raise ValueError("a media type of no accepted format")
        if len(result.keypoints) != (keypoints.PACKED_BYTES if self.embedder == "sift" else 0):
            raise ValueError(f"{len(result.keypoints)} bytes of keypoints")


@dataclass(frozen=True, slots=True, repr=False)
class ReadMediaType(Task[str]):
    """Reading of a photo's media type from its header."""

    most_bytes: ClassVar[int] = _WORDS

    data: bytes

    def check(self, result: str) -> None:
        if result not in images.MEDIA_TYPES.values():
            raise ValueError("a media type of no accepted format")


@dataclass(frozen=True, slots=True, repr=False)
class ReadExif(Task[Exif]):
    """Reading of what a photo's EXIF says; see `exif.read`."""

    most_bytes: ClassVar[int] = _WORDS

    data: bytes

    def check(self, result: Exif) -> None:
        try:
            checked(result.values)
        except InvalidArgument as error:
            raise ValueError(error.message) from None


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of two photos' keypoints; see `matching.Matches`."""

    inliers: int
    matches: int
    verified: bool


@dataclass(frozen=True, slots=True, repr=False)
class CompareKeypoints(Task[list[Agreement]]):
    """Comparison of packed keypoints with those of other photos, in their order."""

    most_bytes: ClassVar[int] = _WORDS

    query: bytes
    others: tuple[bytes, ...]

    def check(self, result: list[Agreement]) -> None:
        most = keypoints.MOST
        if len(result) != len(self.others) or any(
            not 0 <= one.inliers <= one.matches <= most for one in result
        ):
            raise ValueError(f"no comparisons of {len(self.others)} photos of at most {most} keypoints")


@dataclass(frozen=True, slots=True, repr=False)
class DrawKeypoints(Task[tuple[bytes, bytes]]):
    """Drawing of a photo's keypoints, as two JPEG files: the photo without them and with them."""

    most_bytes: ClassVar[int] = 1 << 24

    data: bytes

    def check(self, result: tuple[bytes, bytes]) -> None:
        _check_drawings(result)


@dataclass(frozen=True, slots=True, repr=False)
class DrawAgreement(Task[tuple[bytes, bytes]]):
    """Drawing of two photos' matches, as two JPEG files: the other photo, and both side by side.

    Attributes:
        query, other: a photo's file and its packed keypoints.
    """

    most_bytes: ClassVar[int] = 1 << 24

    query: tuple[bytes, bytes]
    other: tuple[bytes, bytes]

    def check(self, result: tuple[bytes, bytes]) -> None:
        _check_drawings(result)


@dataclass(frozen=True, slots=True, repr=False)
class DecodePixels(Task[images.Pixels]):
    """Decoding of a photo for planes; see `images.pixels`."""

    most_bytes: ClassVar[int] = 3 * MAX_PLANE_PIXELS + _WORDS

    data: bytes
    colours: images.Colours

    def check(self, result: images.Pixels) -> None:
        _check_picture(result.values.shape, self.colours, MAX_PLANE_PIXELS)
        _check_remark(result.remark)


@dataclass(frozen=True, slots=True, repr=False)
class PlaneShape(Task[tuple[int, int, int]]):
    """The channels, height and width of a photo's planes; see `images.plane_shape`."""

    most_bytes: ClassVar[int] = _WORDS

    data: bytes
    colours: images.Colours

    def check(self, result: tuple[int, int, int]) -> None:
        channels, height, width = result
        shape = (height, width) if channels == 1 else (height, width, channels)
        _check_picture(shape, self.colours, MAX_PLANE_PIXELS)


@dataclass(frozen=True, slots=True, repr=False)
class DecodeImage(Task[tuple[npt.NDArray[np.uint8], bool]]):
    """Decoding of an image to [height, width] or [height, width, 3], and a check whether it has no colour."""

    most_bytes: ClassVar[int] = 3 * images.MAX_PIXELS + _WORDS

    data: bytes
    colours: images.Colours

    def check(self, result: tuple[npt.NDArray[np.uint8], bool]) -> None:
        # What has no colour is grey in all three channels until it is known that all inputs are.
        colours = self.colours if self.colours is images.Colours.GREY else images.Colours.RGB
        _check_picture(result[0].shape, colours, images.MAX_PIXELS)


@dataclass(frozen=True, slots=True, repr=False)
class Match(Task[Matches]):
    """Matching of two pictures' keypoints; see `matching.match`.

    Attributes:
        nearest: the second's nearest descriptors for each of the first's; None: FLANN finds them.
    """

    most_bytes: ClassVar[int] = 1 << 24

    first: Features
    second: Features
    nearest: Nearest | None
    ratio: float

    def check(self, result: Matches) -> None:
        most, count = (len(self.first), len(self.second)), len(result)
        shapes = result.pairs.shape, result.distances.shape, result.inliers.shape
        inside = (result.pairs >= 0) & (result.pairs < most)
        if shapes != ((count, 2), (count,), (count,)) or not inside.all():
            raise ValueError(f"no matches of {most[0]} and {most[1]} keypoints")
        homography = np.zeros((3, 3)) if result.homography is None else result.homography
        finite = np.isfinite(homography).all() and np.isfinite(result.distances).all()
        if homography.shape != (3, 3) or not finite:
            raise ValueError("matches with numbers that are not finite")
        if (result.inliers.view(np.uint8) > 1).any():
            raise ValueError("inliers that are neither true nor false")


@dataclass(frozen=True, slots=True, repr=False)
class DrawFeatures(Task[npt.NDArray[np.uint8]]):
    """Drawing of a decoded picture's keypoints, to [height, width, 3]; see `drawing.draw_keypoints`."""

    most_bytes: ClassVar[int] = 3 * MAX_PLANE_PIXELS + _WORDS

    picture: npt.NDArray[np.uint8]
    features: Features

    def check(self, result: npt.NDArray[np.uint8]) -> None:
        _check_picture(result.shape, images.Colours.RGB, MAX_PLANE_PIXELS)


@dataclass(frozen=True, slots=True, repr=False)
class DrawMatches(Task[npt.NDArray[np.uint8]]):
    """Drawing of two decoded pictures' matches, to [height, width, 3]; see `drawing.draw_matches`."""

    most_bytes: ClassVar[int] = 3 * MAX_PLANE_PIXELS + _WORDS

    pictures: tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]
    features: tuple[Features, Features]
    matches: Matches

    def check(self, result: npt.NDArray[np.uint8]) -> None:
        _check_picture(result.shape, images.Colours.RGB, MAX_PLANE_PIXELS)


def _check_remark(remark: str) -> None:
    if len(remark) > _LONGEST_REMARK or not remark.isprintable():
        raise ValueError("a remark that is no short line of text")


def _check_drawings(drawings: tuple[bytes, bytes]) -> None:
    if not all(one.startswith(_JPEG) for one in drawings):
        raise ValueError("no two JPEG files")


def _check_picture(shape: tuple[int, ...], colours: images.Colours, most: int) -> None:
    flat, coloured = len(shape) == 2, len(shape) == 3 and shape[2] == 3
    allowed = {images.Colours.GREY: flat, images.Colours.RGB: coloured}.get(colours, flat or coloured)
    if not allowed or min(shape) < 1 or math.prod(shape[:2]) > most:
        raise ValueError(f"no picture ({colours}) of 1 to {most} pixels")


# --- vectors ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class ColumnSecret:
    """The secret of a collection's columns, for a worker process; see `columns.keys.CollectionKeys`."""

    parameter_set: str
    root: bytes
    layout: CollectionLayout

    @classmethod
    def of(cls, keys: CollectionKeys) -> ColumnSecret:
        """Returns the secret of a collection's keys."""
        return cls(keys.parameters.name, keys.root.reveal_secret(), keys.layout)


@dataclass(frozen=True, slots=True, repr=False)
class EncryptBatch(Task[bytes]):
    """Encryption of rows [count, row dimension] to the block of a batch."""

    secret: ColumnSecret
    place: Placement
    rows: Floats


@dataclass(frozen=True, slots=True, repr=False)
class DecryptSegment(Task[Floats]):
    """Decryption of a segment from all of its batches, to rows [capacity, row dimension]."""

    secret: ColumnSecret
    region: Region
    blocks: list[tuple[Placement, bytes]]


@dataclass(frozen=True, slots=True, repr=False)
class EncryptColumns(Task[bytes]):
    """Encryption of columns of a batch under an additive scheme, to numbers without a header.

    Attributes:
        layout: a layout of some of the segment's columns.
        rows: [count, row dimension].
        first_slot: slot of the first row.
    """

    parameter_set: str
    layout: Layout
    rows: Floats
    first_slot: int


@dataclass(frozen=True, slots=True, repr=False)
class DecryptColumns(Task[Floats]):
    """Decryption of columns of a segment from all of its batches, to rows [capacity, row dimension].

    Attributes:
        layout: a layout of some of the segment's columns.
        batches: blocks of the layout's columns.
    """

    parameter_set: str
    layout: Layout
    batches: list[bytes]


@dataclass(frozen=True, slots=True, repr=False)
class PlainQueries(Task[bytes]):
    """Packing of linear forms [queries, row dimension] in the clear, as the evaluator will see them."""

    parameter_set: str
    layout: Layout
    forms: Floats


@dataclass(frozen=True, slots=True, repr=False)
class DecryptScores(Task[Floats]):
    """Decryption of a block of results under an additive scheme, to products [results, capacity]."""

    parameter_set: str
    layout: Layout
    block: bytes


# --- planes -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class EncryptPlanes(Task[tuple[bytes, Residues]]):
    """Encryption of tiles [count, N] of pixels into a seeded block, and its combination for a check.

    Attributes:
        factors: of the combination; see `imaging.tile_checks`.
    """

    parameter_set: str
    tiles: Integers
    factors: Words


@dataclass(frozen=True, slots=True, repr=False)
class DecryptPlanes(Task[npt.NDArray[np.uint8]]):
    """Decryption of tiles of pixels, to uint8 [count, N]."""

    parameter_set: str
    block: bytes


@dataclass(frozen=True, slots=True, repr=False)
class DecryptResults(Task[tuple[npt.NDArray[np.int32], Residues]]):
    """Decryption of tiles that the evaluator computed, to int32 [count, inner height, inner width].

    With their combination, by which they are checked before anything is done with what they hold.

    Attributes:
        factors: of the combination; see `imaging.tile_checks`.
    """

    parameter_set: str
    layout: PlaneLayout
    block: bytes
    factors: Words


# --- arrays under a key of their own ------------------------------------------------------------------


@dataclass(frozen=True, slots=True, repr=False)
class GenerateKey(Task[tuple[bytes, bytes]]):
    """Generation of a key: its public part and the whole key, in the wire form."""

    scheme: AdditiveScheme
    bits: int
    insecure_small_keys: bool


@dataclass(frozen=True, slots=True, repr=False)
class EncryptValues(Task[bytes]):
    """Encryption of values to the numbers of their ciphertexts.

    Attributes:
        secret: the key, in the wire form.
        header: the header of the block that they belong to.
        values: [n], all values of the block or those of some whole ciphertexts.
    """

    secret: bytes
    header: AdditiveHeader
    values: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, repr=False)
class DecryptValues(Task[npt.NDArray[np.int64]]):
    """Decryption of numbers of ciphertexts, to values [columns].

    Attributes:
        secret: the key, in the wire form.
        header: the header of the block that they belong to.
        columns: number of values, all of the block or those of some whole ciphertexts.
    """

    secret: bytes
    header: AdditiveHeader
    columns: int
    numbers: bytes


@dataclass(frozen=True, slots=True, repr=False)
class MeasureKey(Task[tuple[float, float]]):
    """Measurement of the seconds that encryption and decryption of a ciphertext take.

    Attributes:
        secret: the key, in the wire form.
        header: the header of a block of such ciphertexts.
        values: [n], at least those of one ciphertext.
    """

    secret: bytes
    header: AdditiveHeader
    values: npt.NDArray[np.int64]


COMPUTE: Compute = compute_table(
    "blindsight.trusted.crypto.computing",
    {
        Start: "keys:start",
        Prepare: "keys:prepare",
        Warm: "keys:warm",
        EncryptBatch: "vectors:encrypt_batch",
        DecryptSegment: "vectors:decrypt_segment",
        EncryptColumns: "vectors:encrypt_columns",
        DecryptColumns: "vectors:decrypt_columns",
        PlainQueries: "vectors:plain_queries",
        DecryptScores: "vectors:decrypt_scores",
        EncryptPlanes: "planes:encrypt_planes",
        DecryptPlanes: "planes:decrypt_planes",
        DecryptResults: "planes:decrypt_results",
        GenerateKey: "additive:generate_key",
        EncryptValues: "additive:encrypt_values",
        DecryptValues: "additive:decrypt_values",
        MeasureKey: "additive:measure_key",
    },
)

DECODING: Compute = compute_table(
    "blindsight.trusted.crypto.computing",
    {
        PrepareDecoding: "photos:prepare",
        Confine: "photos:confine",
        Embed: "photos:embed",
        ReadMediaType: "photos:read_media_type",
        ReadExif: "photos:read_exif",
        CompareKeypoints: "photos:compare_keypoints",
        DrawKeypoints: "photos:draw_keypoints",
        DrawAgreement: "photos:draw_agreement",
        DecodePixels: "photos:decode_pixels",
        PlaneShape: "photos:plane_shape",
        DecodeImage: "photos:decode_image",
        Match: "photos:match",
        DrawFeatures: "photos:draw_features",
        DrawMatches: "photos:draw_matches",
    },
)
