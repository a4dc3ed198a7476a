"""Image processing: what is asked for, how far it is, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import imaging_pb2 as pb
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, Receiver, digest
from blindsight.wire.combine import ImageMode
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
COLOURS: AskedNames[ImageMode] = AskedNames(
    "colours",
    {"auto": pb.COLOURS_UNSPECIFIED, "grey": pb.COLOURS_GREY, "rgb": pb.COLOURS_RGB},
    unspecified="auto",
)
MODE: AskedNames[DifferenceMode] = AskedNames(
    "mode",
    {"signed": pb.DIFF_MODE_SIGNED, "absolute": pb.DIFF_MODE_ABSOLUTE, "threshold": pb.DIFF_MODE_THRESHOLD},
    unspecified="signed",
)
# Of numpy: how the numbers of a picture are sent.
_CODES = {"pixels": "u1", "signed": "<i4", "degrees": "<i4"}


@dataclass(frozen=True, slots=True)
class PictureFile(Record[pb.PictureFile]):
    """A picture's file whose chunks follow."""

    size_bytes: int
    sha256: bytes

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Announces a file."""
        return cls(len(data), digest(data))

    def receiver(self) -> Receiver:
        """What takes its chunks.

        Raises:
            ResourceExhausted, InvalidArgument: when it announces too much, or no digest.
        """
        return Receiver(self.size_bytes, self.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a picture")


@dataclass(frozen=True, slots=True)
class StoredPhoto(Record[pb.StoredImage]):
    """A photo of a collection, in place of a file: it must have been ingested with planes."""

    collection: str
    id: str


@dataclass(frozen=True, slots=True, eq=False)
class KernelMatrix(Record[pb.KernelMatrix]):
    """A kernel of the caller's: float64 [rows, columns], both odd."""

    values: npt.NDArray[np.float64]

    def to_message(self) -> pb.KernelMatrix:
        """Row by row."""
        rows, columns = self.values.shape
        return pb.KernelMatrix(rows=rows, columns=columns, values=self.values.ravel().tolist())

    @classmethod
    def from_message(cls, message: pb.KernelMatrix) -> KernelMatrix:
        """The inverse of `to_message`.

        Raises:
            InvalidArgument: when there are not as many numbers as rows and columns say.
        """
        import numpy as np

        rows, columns, values = message.rows, message.columns, message.values
        if not values or rows * columns != len(values):
            raise InvalidArgument(f"kernel of {rows} x {columns} with {len(values)} numbers, want as many")
        return cls(np.array(values, np.float64).reshape(rows, columns))


@dataclass(frozen=True, slots=True)
class Operation(Record[pb.Operation]):
    """One of a list of filters.

    Attributes:
        name: and its arguments, such as gaussian:5.
        kernel: of custom, and of no other.
    """

    name: str
    kernel: KernelMatrix | None = None


@dataclass(frozen=True, slots=True)
class FilterHeader(Record[pb.FilterHeader]):
    """How a picture is to be filtered.

    Attributes:
        operations: one after the other.
        scheme: bfv, ckks or paillier; empty: that of a stored photo, else bfv.
        border: what lies beyond the edge; None: a mirror for linear filters, nothing for morphology.
        colours: how the file is read.
        stored: None: the file that follows.
        key_bits: of paillier; 0 for its default.
    """

    operations: tuple[Operation, ...]
    scheme: str = ""
    border: Annotated[Border | None, BORDER] = None
    colours: Annotated[ImageMode, COLOURS] = "auto"
    stored: StoredPhoto | None = None
    key_bits: int = 0


@dataclass(frozen=True, slots=True)
class ImagingProgress(Record[pb.ImagingProgress]):
    """How far the present stage is: in ciphertexts, with keypoints in pixels of the octaves."""

    stage: Annotated[ImagingStage, STAGE]
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class ImagingAccount(Record[pb.ImagingAccount]):
    """How a result came about.

    Attributes:
        parameter_set: of the owner's key; empty for a key that was made for this call.
        key_bits: of a key that was made for this call, else 0.
        description: of the scheme, for people.
        warning: not empty where people must be told whenever they are shown the result.
        round_trips: to the evaluator.
        ciphertexts, results: that went to the evaluator and came back.
        sent_bytes, received_bytes: of ciphertext.
        encrypt_busy_seconds, compute_busy_seconds, decrypt_busy_seconds: added up over workers; they overlap.
        remarks: what was done to a picture on the way, for people.
        stored: what became of planes of stored photos. "in place": the evaluator computed with them where
            they are; "decrypted": of one at least the keyholder decrypted them, and remarks say why; "":
            there are none.
    """

    scheme: str
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
    """A picture of a result, whose chunks follow.

    Attributes:
        kind: what its numbers are: "pixels" uint8; "signed" int32, with negative values or large ones;
            "degrees" int32, 0 to 359, and -1 where there is no direction.
        channels: 1 or 3.
        size_bytes, sha256: of the numbers, little-endian [height, width, channels].
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
        """Announces a picture [channels, height, width]; the header and the numbers."""
        import numpy as np

        channels, height, width = planes.shape
        data = np.moveaxis(planes, 0, 2).astype(_CODES[kind]).tobytes()
        return cls(name, kind, width, height, channels, len(data), digest(data)), data

    @property
    def wanted_bytes(self) -> int:
        """What its numbers take, whatever it announces."""
        import numpy as np

        return np.dtype(_CODES[self.kind]).itemsize * self.height * self.width * self.channels

    def values(self, data: bytes) -> npt.NDArray[Any]:
        """The numbers that came: uint8 or int32, [height, width] or [height, width, 3]."""
        import numpy as np

        numbers = np.frombuffer(data, _CODES[self.kind])
        return numbers.astype(numbers.dtype.newbyteorder("=")).reshape(shape_of(self))


@dataclass(frozen=True, slots=True)
class FilterResult(Record[pb.FilterResult]):
    """What is to be said of a filtered picture.

    Attributes:
        error_bound: of a value, in grey levels, before rounding.
        clipped_values: results beyond 0 to 255 that were brought to it.
        levels: of grey, of the operation of morphology that has most; 0 without one.
    """

    account: ImagingAccount
    error_bound: float
    clipped_values: int
    levels: int


@dataclass(frozen=True, slots=True)
class DiffHeader(Record[pb.DiffHeader]):
    """How pictures are to be compared.

    Attributes:
        scheme: bfv, ckks, paillier or scramble; empty: that of a stored photo, else bfv.
        mode: "signed" (A - B), "absolute", or "threshold": 255 where the magnitude is over it, else 0.
        threshold: 0 to 254.
        colours: how files are read.
        stored_a, stored_b: None: the next file.
        key_bits: of paillier; 0 for its default.
        server_views: whether pictures of what the evaluator saw are wanted.
    """

    scheme: str
    mode: Annotated[DifferenceMode, MODE]
    threshold: int
    colours: Annotated[ImageMode, COLOURS]
    stored_a: StoredPhoto | None = None
    stored_b: StoredPhoto | None = None
    key_bits: int = 0
    server_views: bool = False


@dataclass(frozen=True, slots=True)
class DiffResult(Record[pb.DiffResult]):
    """What is to be said of a difference.

    Attributes:
        minimum, maximum: of the signed difference.
        differing: values that are not 0.
        over_threshold: values whose magnitude is over the threshold, with that mode.
    """

    account: ImagingAccount
    minimum: int
    maximum: int
    differing: int
    over_threshold: int


@dataclass(frozen=True, slots=True)
class KeypointSettings(Record[pb.KeypointSettings]):
    """How keypoints are to be found; what is 0 or empty is chosen.

    Attributes:
        scheme: ckks or bfv; empty: that of a stored photo that can be computed with in place, else ckks.
        octaves: at most so many; 0: all that the picture has.
        scales: levels of an octave in which keypoints are looked for, 2 to 5; 0: 3.
        side: a larger picture is made smaller, so that no side has more pixels; 0: 800.
        contrast: that a keypoint must have, of the whole range of grey levels; 0: 0.04.
        edge: largest ratio of the curvatures; 0: 10.
    """

    scheme: str = ""
    octaves: int = 0
    scales: int = 0
    side: int = 0
    contrast: float = 0.0
    edge: float = 0.0


@dataclass(frozen=True, slots=True)
class KeypointsHeader(Record[pb.KeypointsHeader]):
    """Of which picture keypoints are wanted.

    Attributes:
        stored: None: the file that follows.
    """

    settings: KeypointSettings
    stored: StoredPhoto | None = None


@dataclass(frozen=True, slots=True)
class Keypoint(Record[pb.Keypoint]):
    """A place in a picture that is found again in other views.

    Attributes:
        x, y: in pixels of the picture that was looked at; (0, 0) is the middle of the first.
        scale: blur in pixels at which it stands out; OpenCV's size is twice that.
        angle: radians from right to down.
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
        width, height: of the picture that was looked at, in pixels.
    """

    account: ImagingAccount
    width: int
    height: int
    keypoints: tuple[Keypoint, ...]


@dataclass(frozen=True, slots=True)
class MatchHeader(Record[pb.MatchHeader]):
    """How pictures are to be matched.

    Attributes:
        ratio: of the distances to the nearest and the second nearest descriptor, at most; 0: 0.75.
        encrypted: whether the evaluator compares descriptors under encryption.
        stored_a, stored_b: None: the next file.
    """

    settings: KeypointSettings
    ratio: float = 0.0
    encrypted: bool = False
    stored_a: StoredPhoto | None = None
    stored_b: StoredPhoto | None = None


@dataclass(frozen=True, slots=True)
class KeypointMatch(Record[pb.KeypointMatch]):
    """Keypoints of two pictures that look the same.

    Attributes:
        a, b: x and y in either picture.
        distance: of their descriptors, which are unit vectors.
        inlier: whether the homography explains it.
    """

    a: tuple[float, float]
    b: tuple[float, float]
    distance: float
    inlier: bool

    def to_message(self) -> pb.KeypointMatch:
        """Flat."""
        (x_a, y_a), (x_b, y_b) = self.a, self.b
        return pb.KeypointMatch(
            x_a=x_a, y_a=y_a, x_b=x_b, y_b=y_b, distance=self.distance, inlier=self.inlier
        )

    @classmethod
    def from_message(cls, message: pb.KeypointMatch) -> KeypointMatch:
        """The inverse of `to_message`."""
        return cls((message.x_a, message.y_a), (message.x_b, message.y_b), message.distance, message.inlier)


@dataclass(frozen=True, slots=True)
class MatchResult(Record[pb.MatchResult]):
    """What two pictures have in common.

    Attributes:
        keypoints_a, keypoints_b: how many each has.
        inliers: matches that one homography explains.
        matches: nearest first.
        homography: row by row, from pixels of A to those of B; none: there is none.
        verified: whether so many inliers are no chance: more than 5.9 + 0.22 times the matches.
    """

    account: ImagingAccount
    keypoints_a: int
    keypoints_b: int
    inliers: int
    matches: tuple[KeypointMatch, ...]
    homography: tuple[float, ...]
    verified: bool
