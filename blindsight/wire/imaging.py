"""Records of image processing between client and keyholder: requests, progress and results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import imaging_pb2 as pb
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, Receiver, digest
from blindsight.wire.common import COLOURS, IMAGING_SCHEME, SCHEME, ImageMode
from blindsight.wire.items import shape_of
from blindsight.wire.names import AskedNames, Names
from blindsight.wire.records import Record

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ImagingStage = Literal["wait", "keygen", "encrypt", "compute", "decrypt", "finish"]
PictureKind = Literal["pixels", "signed", "degrees"]
StoredUse = Literal["", "in place", "decrypted"]
Border = Literal["reflect", "constant", "replicate"]
DifferenceMode = Literal["signed", "absolute", "threshold"]

STAGE: Names[ImagingStage] = Names(
    "stage",
    {
        "keygen": pb.IMAGING_STAGE_KEYGEN,
        "encrypt": pb.IMAGING_STAGE_ENCRYPT,
        "compute": pb.IMAGING_STAGE_COMPUTE,
        "decrypt": pb.IMAGING_STAGE_DECRYPT,
        "finish": pb.IMAGING_STAGE_FINISH,
        "wait": pb.IMAGING_STAGE_WAIT,
    },
)
KIND: Names[PictureKind] = Names(
    "pictures of kind",
    {
        "pixels": pb.PICTURE_KIND_PIXELS,
        "signed": pb.PICTURE_KIND_SIGNED,
        "degrees": pb.PICTURE_KIND_DEGREES,
    },
)
STORED_USE: Names[StoredUse] = Names(
    "use of photos",
    {
        "": pb.STORED_USE_UNSPECIFIED,
        "in place": pb.STORED_USE_IN_PLACE,
        "decrypted": pb.STORED_USE_DECRYPTED,
    },
)
BORDER: AskedNames[Border] = AskedNames(
    "border",
    {"reflect": pb.BORDER_REFLECT, "constant": pb.BORDER_CONSTANT, "replicate": pb.BORDER_REPLICATE},
)
MODE: AskedNames[DifferenceMode] = AskedNames(
    "mode",
    {"signed": pb.DIFF_MODE_SIGNED, "absolute": pb.DIFF_MODE_ABSOLUTE, "threshold": pb.DIFF_MODE_THRESHOLD},
    unspecified="signed",
)
# NumPy dtypes in which the values of a picture are sent.
_CODES = {"pixels": "u1", "signed": "<i4", "degrees": "<i4"}


@dataclass(frozen=True, slots=True)
class PictureFile(Record[pb.PictureFile]):
    """The header of a picture's file; its chunks follow.  Without a SHA-256 only its size is checked."""

    size_bytes: int
    sha256: bytes | None = None

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Returns the header of a file."""
        return cls(len(data), digest(data))

    def receiver(self) -> Receiver:
        """Returns a receiver of the file's chunks.

        Raises:
            ResourceExhausted: if the announced size is over the limit of a photo.
            InvalidArgument: if the digest is not 32 bytes.
        """
        return Receiver(self.size_bytes, self.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a picture")


@dataclass(frozen=True, slots=True)
class StoredPhoto(Record[pb.StoredImage]):
    """A photo of a collection, used instead of a file; it must have been ingested with planes."""

    collection: str
    id: str


@dataclass(frozen=True, slots=True, eq=False)
class KernelMatrix(Record[pb.KernelMatrix]):
    """A custom kernel: float64 [rows, columns], both odd."""

    values: npt.NDArray[np.float64]

    def to_message(self) -> pb.KernelMatrix:
        """Converts the kernel to its message, row by row."""
        rows, columns = self.values.shape
        return pb.KernelMatrix(rows=rows, columns=columns, values=self.values.ravel().tolist())

    @classmethod
    def from_message(cls, message: pb.KernelMatrix) -> KernelMatrix:
        """Makes the kernel from its message.

        Raises:
            InvalidArgument: if the number of values is not rows x columns, or is 0.
        """
        import numpy as np

        rows, columns, values = message.rows, message.columns, message.values
        if not values or rows * columns != len(values):
            raise InvalidArgument(f"kernel of {rows} x {columns} with {len(values)} numbers, want as many")
        return cls(np.array(values, np.float64).reshape(rows, columns))


@dataclass(frozen=True, slots=True)
class Operation(Record[pb.Operation]):
    """One filter of a list.

    Attributes:
        name: name of the filter with its arguments, such as gaussian:5.
        kernel: kernel of the filter "custom"; None for others.
    """

    name: str
    kernel: KernelMatrix | None = None


@dataclass(frozen=True, slots=True)
class FilterHeader(Record[pb.FilterHeader]):
    """The settings of a filter request.

    Attributes:
        operations: filters, applied one after the other.
        scheme: bfv, ckks or paillier; empty: that of a stored photo, else bfv.
        border: how pixels beyond the edge are made; None: reflected for linear filters, none for morphology.
        colours: how the file is read.
        stored: the photo to filter; None: the file that follows.
        key_bits: size of a paillier key; 0: the default.
    """

    operations: tuple[Operation, ...]
    scheme: Annotated[str, IMAGING_SCHEME] = ""
    border: Annotated[Border | None, BORDER] = None
    colours: Annotated[ImageMode, COLOURS] = "auto"
    stored: StoredPhoto | None = None
    key_bits: int = 0


@dataclass(frozen=True, slots=True)
class ImagingProgress(Record[pb.ImagingProgress]):
    """The progress of the current stage, in ciphertexts; for keypoints in pixels of the octaves."""

    stage: Annotated[ImagingStage, STAGE]
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ImagingAccount(Record[pb.ImagingAccount]):
    """The statistics of a result: scheme, key, traffic and timings.

    Attributes:
        parameter_set: parameter set of the owner's key; empty for a key that was made for this call.
        key_bits: size of a key that was made for this call, else 0.
        description: human-readable description of the scheme.
        warning: text to display with the result wherever it is shown, if not empty.
        round_trips: number of round trips to the evaluator.
        ciphertexts, results: number of ciphertexts sent to the evaluator, and received from it.
        sent_bytes, received_bytes: bytes of ciphertext.
        encrypt_busy_seconds, compute_busy_seconds, decrypt_busy_seconds: summed over workers; they overlap.
        remarks: changes made to a picture on the way, such as shrinking it, as human-readable text.
        stored: how the planes of stored photos were used. "in place": the evaluator computed on them where
            they are stored; "decrypted": the keyholder decrypted those of at least one photo, and remarks
            say why; "": no stored photo was used.
    """

    scheme: Annotated[str, SCHEME]
    parameter_set: str
    key_bits: int
    description: str
    warning: str
    round_trips: int
    ciphertexts: int
    results: int
    sent_bytes: int
    received_bytes: int
    total_seconds: float
    encrypt_busy_seconds: float
    compute_busy_seconds: float
    decrypt_busy_seconds: float
    remarks: tuple[str, ...]
    stored: Annotated[StoredUse, STORED_USE]


@dataclass(frozen=True, slots=True)
class PictureHeader(Record[pb.PictureHeader]):
    """The header of a picture of a result; its chunks follow.

    Attributes:
        kind: type of its values: "pixels" uint8; "signed" int32, with negative or large values;
            "degrees" int32, 0 to 359, and -1 where there is no direction.
        channels: 1 or 3.
        size_bytes, sha256: size and SHA-256 of the values, little-endian [height, width, channels].
    """

    name: str
    kind: Annotated[PictureKind, KIND]
    width: int
    height: int
    channels: int
    size_bytes: int
    sha256: bytes

    @classmethod
    def of(cls, name: str, kind: PictureKind, planes: npt.NDArray[Any]) -> tuple[Self, bytes]:
        """Returns the header of a picture [channels, height, width], and the bytes of its values."""
        import numpy as np

        channels, height, width = planes.shape
        data = np.moveaxis(planes, 0, 2).astype(_CODES[kind]).tobytes()
        return cls(name, kind, width, height, channels, len(data), digest(data)), data

    @property
    def wanted_bytes(self) -> int:
        """The size of the values by shape and kind, to compare with the announced `size_bytes`."""
        import numpy as np

        return np.dtype(_CODES[self.kind]).itemsize * self.height * self.width * self.channels

    def values(self, data: bytes) -> npt.NDArray[Any]:
        """Returns received values as an array: uint8 or int32, [height, width] or [height, width, 3]."""
        import numpy as np

        numbers = np.frombuffer(data, _CODES[self.kind])
        return numbers.astype(numbers.dtype.newbyteorder("=")).reshape(shape_of(self))


@dataclass(frozen=True, slots=True)
class FilterResult(Record[pb.FilterResult]):
    """The summary of a filtered picture.

    Attributes:
        error_bound: largest error of a value, in grey levels, before rounding.
        clipped_values: number of results outside 0 to 255 that were clipped.
        levels: largest number of grey levels of a morphological operation; 0 without one.
    """

    account: ImagingAccount
    error_bound: float
    clipped_values: int
    levels: int


@dataclass(frozen=True, slots=True)
class DiffHeader(Record[pb.DiffHeader]):
    """The settings of a difference request.

    Attributes:
        scheme: bfv, ckks, paillier or scramble; empty: that of a stored photo, else bfv.
        mode: "signed" (A - B), "absolute", or "threshold": 255 where the magnitude is over it, else 0.
        threshold: 0 to 254.
        colours: how files are read.
        stored_a, stored_b: the photos to compare; None: the next file.
        key_bits: size of a paillier key; 0: the default.
        server_views: whether to return pictures of what the evaluator saw.
    """

    scheme: Annotated[str, IMAGING_SCHEME]
    mode: Annotated[DifferenceMode, MODE]
    threshold: int
    colours: Annotated[ImageMode, COLOURS]
    stored_a: StoredPhoto | None = None
    stored_b: StoredPhoto | None = None
    key_bits: int = 0
    server_views: bool = False


@dataclass(frozen=True, slots=True)
class DiffResult(Record[pb.DiffResult]):
    """The summary of a difference.

    Attributes:
        minimum, maximum: smallest and largest value of the signed difference.
        differing: number of values that are not 0.
        over_threshold: number of values whose magnitude is over the threshold, in mode "threshold".
    """

    account: ImagingAccount
    minimum: int
    maximum: int
    differing: int
    over_threshold: int


@dataclass(frozen=True, slots=True)
class KeypointSettings(Record[pb.KeypointSettings]):
    """The settings of keypoint detection; the keyholder chooses those that are 0 or empty.

    Attributes:
        scheme: ckks or bfv; empty: that of a stored photo that can be computed on in place, else ckks.
        octaves: maximum number of octaves; 0: all that the picture has.
        scales: number of levels of an octave in which keypoints are detected, 2 to 5; 0: 3.
        side: longest side in pixels; larger pictures are scaled down to it; 0: 800.
        contrast: smallest contrast of a keypoint, as a fraction of the range of grey levels; 0: 0.04.
        edge: largest ratio of the principal curvatures; 0: 10.
    """

    scheme: Annotated[str, IMAGING_SCHEME] = ""
    octaves: int = 0
    scales: int = 0
    side: int = 0
    contrast: float = 0.0
    edge: float = 0.0


@dataclass(frozen=True, slots=True)
class KeypointsHeader(Record[pb.KeypointsHeader]):
    """The settings of a keypoints request.

    Attributes:
        stored: the photo to look at; None: the file that follows.
    """

    settings: KeypointSettings
    stored: StoredPhoto | None = None


@dataclass(frozen=True, slots=True)
class Keypoint(Record[pb.Keypoint]):
    """A SIFT keypoint: a place in a picture that can be found again in other views.

    Attributes:
        x, y: position in pixels of the picture as it was processed; (0, 0) is the centre of the first pixel.
        scale: blur in pixels at which the keypoint stands out; OpenCV's size is twice that.
        angle: radians, clockwise from the x axis.
        response: contrast in grey levels.
        octave: -1 in the picture at twice its size, 0 at its own.
    """

    x: float
    y: float
    scale: float
    angle: float
    response: float
    octave: int


@dataclass(frozen=True, slots=True)
class KeypointsResult(Record[pb.KeypointsResult]):
    """The keypoints of a picture.

    Attributes:
        width, height: size of the picture as it was processed, in pixels.
    """

    account: ImagingAccount
    width: int
    height: int
    keypoints: tuple[Keypoint, ...]


@dataclass(frozen=True, slots=True)
class MatchHeader(Record[pb.MatchHeader]):
    """The settings of a match request.

    Attributes:
        ratio: largest ratio of the distances to the nearest and second nearest descriptor; 0: 0.75.
        encrypted: whether the evaluator compares descriptors under encryption.
        stored_a, stored_b: the photos to match; None: the next file.
    """

    settings: KeypointSettings
    ratio: float = 0.0
    encrypted: bool = False
    stored_a: StoredPhoto | None = None
    stored_b: StoredPhoto | None = None


@dataclass(frozen=True, slots=True)
class KeypointMatch(Record[pb.KeypointMatch]):
    """A match of two keypoints.

    Attributes:
        a, b: x and y of the keypoint in each picture.
        distance: distance of their descriptors, which are unit vectors.
        inlier: whether the match agrees with the homography.
    """

    a: tuple[float, float]
    b: tuple[float, float]
    distance: float
    inlier: bool

    def to_message(self) -> pb.KeypointMatch:
        """Converts the match to its message, which has one field for each coordinate."""
        (x_a, y_a), (x_b, y_b) = self.a, self.b
        return pb.KeypointMatch(
            x_a=x_a, y_a=y_a, x_b=x_b, y_b=y_b, distance=self.distance, inlier=self.inlier
        )

    @classmethod
    def from_message(cls, message: pb.KeypointMatch) -> KeypointMatch:
        """Makes the match from its message."""
        return cls((message.x_a, message.y_a), (message.x_b, message.y_b), message.distance, message.inlier)


@dataclass(frozen=True, slots=True)
class MatchResult(Record[pb.MatchResult]):
    """The matching keypoints of two pictures.

    Attributes:
        keypoints_a, keypoints_b: number of keypoints of each picture.
        inliers: number of matches that agree with one homography.
        matches: nearest first.
        homography: row by row, from pixels of A to those of B; empty if none was found.
        verified: whether the inliers are too many to be chance: more than 5.9 + 0.22 times the matches.
    """

    account: ImagingAccount
    keypoints_a: int
    keypoints_b: int
    inliers: int
    matches: tuple[KeypointMatch, ...]
    homography: tuple[float, ...]
    verified: bool
