"""Image processing under encryption: what is asked for, as the messages of a stream, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

from blindsight.client import calls, inputs
from blindsight.client.calls import Connection
from blindsight.client.models import (
    Border,
    Difference,
    DifferenceMode,
    Filtered,
    ImageMode,
    ImagingAccount,
    ImagingCallback,
    ImagingProgress,
    ImagingStage,
    Keypoint,
    KeypointMatch,
    Keypoints,
    Matching,
    PictureKind,
    StoredPhoto,
    StoredUse,
)
from blindsight.errors import BlindsightError, DataLoss, InvalidArgument
from blindsight.rpc.keyholder.v1 import imaging_pb2 as pb
from blindsight.runtime import transfer as streams

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PictureInput: TypeAlias = "inputs.ImageInput | StoredPhoto"
OperationInput: TypeAlias = "str | npt.ArrayLike"
Result = TypeVar("Result", pb.FilterResult, pb.DiffResult, pb.KeypointsResult, pb.MatchResult)
Value = TypeVar("Value")
_CUSTOM = "custom"
_VIEW = "server "

_BORDERS: dict[Border, pb.Border.ValueType] = {
    "reflect": pb.BORDER_REFLECT,
    "constant": pb.BORDER_CONSTANT,
    "replicate": pb.BORDER_REPLICATE,
}
_COLOURS: dict[ImageMode, pb.Colours.ValueType] = {
    "auto": pb.COLOURS_UNSPECIFIED,
    "grey": pb.COLOURS_GREY,
    "rgb": pb.COLOURS_RGB,
}
_MODES: dict[DifferenceMode, pb.DiffMode.ValueType] = {
    "signed": pb.DIFF_MODE_SIGNED,
    "absolute": pb.DIFF_MODE_ABSOLUTE,
    "threshold": pb.DIFF_MODE_THRESHOLD,
}
_STAGES: dict[int, ImagingStage] = {
    pb.IMAGING_STAGE_KEYGEN: "keygen",
    pb.IMAGING_STAGE_ENCRYPT: "encrypt",
    pb.IMAGING_STAGE_COMPUTE: "compute",
    pb.IMAGING_STAGE_DECRYPT: "decrypt",
    pb.IMAGING_STAGE_FINISH: "finish",
    pb.IMAGING_STAGE_WAIT: "wait",
}
_STORED: dict[int, StoredUse] = {
    pb.STORED_USE_UNSPECIFIED: "",
    pb.STORED_USE_IN_PLACE: "in place",
    pb.STORED_USE_DECRYPTED: "decrypted",
}
_KINDS: dict[int, tuple[PictureKind, str]] = {
    pb.PICTURE_KIND_PIXELS: ("pixels", "u1"),
    pb.PICTURE_KIND_SIGNED: ("signed", "<i4"),
    pb.PICTURE_KIND_DEGREES: ("degrees", "<i4"),
}


@dataclass(frozen=True, slots=True)
class DifferenceSettings:
    """How pictures are to be compared; see `Vault.diff`."""

    mode: DifferenceMode
    threshold: int
    scheme: str
    colours: ImageMode
    key_bits: int
    server_views: bool


@dataclass(frozen=True, slots=True)
class KeypointSettings:
    """How keypoints are to be found; see `Vault.keypoints`."""

    scheme: str
    octaves: int | None
    scales: int
    side: int

    def message(self) -> pb.KeypointSettings:
        """As it is sent.

        Raises:
            InvalidArgument: for what cannot be.
        """
        for what, value in (("octaves", self.octaves), ("scales", self.scales), ("side", self.side)):
            if value is not None and not 1 <= value < 1 << 31:
                raise InvalidArgument(f"{what} {value}, want at least 1")
        return pb.KeypointSettings(
            scheme=self.scheme, octaves=self.octaves or 0, scales=self.scales, side=self.side
        )


def filtered(
    connection: Connection,
    image: PictureInput,
    operations: str | Sequence[OperationInput],
    scheme: str,
    border: Border | None,
    colours: ImageMode,
    key_bits: int,
    progress: ImagingCallback | None,
) -> Filtered:
    """Asks for one filtered picture; everything is read and checked before anything is sent.

    Raises:
        InvalidArgument, InvalidImage: for what cannot be filtered.
        DataLoss: when what came is not what was announced.
        BlindsightError: what the keyholder raised.
    """
    listed = [operations] if isinstance(operations, str) else operations
    header = pb.FilterHeader(
        operations=map(_operation, listed),
        scheme=scheme,
        border=_named(_BORDERS, border, "border") if border else pb.BORDER_UNSPECIFIED,
        colours=_named(_COLOURS, colours, "colours"),
        stored=_stored(image),
        key_bits=key_bits,
    )
    requests = [pb.FilterRequest(header=header), *_files(pb.FilterRequest, image)]
    answer: _Answer[pb.FilterResult] = connection.repeat(
        lambda: _answer(connection.imaging.Filter, requests, pb.FilterResponse, progress)
    )
    result, pictures = answer.finished()
    kind, values = pictures["result"]
    counts = result.clipped_values, result.levels
    return Filtered(values, kind, result.error_bound, *counts, _account(result.account))


def difference(
    connection: Connection,
    a: PictureInput,
    b: PictureInput,
    settings: DifferenceSettings,
    progress: ImagingCallback | None,
) -> Difference:
    """Asks for one difference; as `filtered`."""
    if not 0 <= settings.threshold <= 254:
        raise InvalidArgument(f"threshold of {settings.threshold}, want 0 to 254")
    header = pb.DiffHeader(
        scheme=settings.scheme,
        mode=_named(_MODES, settings.mode, "mode"),
        threshold=settings.threshold,
        colours=_named(_COLOURS, settings.colours, "colours"),
        stored_a=_stored(a),
        stored_b=_stored(b),
        key_bits=settings.key_bits,
        server_views=settings.server_views,
    )
    requests = [pb.DiffRequest(header=header), *_files(pb.DiffRequest, a, b)]
    answer: _Answer[pb.DiffResult] = connection.repeat(
        lambda: _answer(connection.imaging.Diff, requests, pb.DiffResponse, progress)
    )
    result, pictures = answer.finished()
    kind, values = pictures["result"]
    counts = result.minimum, result.maximum, result.differing, result.over_threshold
    views = {name.removeprefix(_VIEW): seen for name, (_, seen) in pictures.items() if name.startswith(_VIEW)}
    return Difference(values, kind, *counts, _account(result.account), views)


def keypoints(
    connection: Connection,
    image: PictureInput,
    settings: KeypointSettings,
    progress: ImagingCallback | None,
) -> Keypoints:
    """Asks for the keypoints of one picture; as `filtered`."""
    header = pb.KeypointsHeader(settings=settings.message(), stored=_stored(image))
    requests = [pb.KeypointsRequest(header=header), *_files(pb.KeypointsRequest, image)]
    answer: _Answer[pb.KeypointsResult] = connection.repeat(
        lambda: _answer(connection.imaging.Keypoints, requests, pb.KeypointsResponse, progress)
    )
    result, pictures = answer.finished()
    found = [
        Keypoint(one.x, one.y, one.scale, one.angle, one.response, one.octave) for one in result.keypoints
    ]
    if "descriptors" not in pictures:
        raise calls.incomplete("answer")
    (_, descriptors), (_, drawn) = pictures["descriptors"], pictures["result"]
    return Keypoints(found, descriptors, result.width, result.height, drawn, _account(result.account))


def matching(
    connection: Connection,
    a: PictureInput,
    b: PictureInput,
    settings: KeypointSettings,
    ratio: float,
    encrypted: bool,
    progress: ImagingCallback | None,
) -> Matching:
    """Asks what two pictures have in common; as `filtered`."""
    if not 0 < ratio <= 1:
        raise InvalidArgument(f"ratio {ratio:g}, want more than 0 and at most 1")
    header = pb.MatchHeader(
        settings=settings.message(),
        ratio=ratio,
        encrypted=encrypted,
        stored_a=_stored(a),
        stored_b=_stored(b),
    )
    requests = [pb.MatchRequest(header=header), *_files(pb.MatchRequest, a, b)]
    answer: _Answer[pb.MatchResult] = connection.repeat(
        lambda: _answer(connection.imaging.Match, requests, pb.MatchResponse, progress)
    )
    result, pictures = answer.finished()
    return Matching(
        result.keypoints_a,
        result.keypoints_b,
        [
            KeypointMatch((one.x_a, one.y_a), (one.x_b, one.y_b), one.distance, one.inlier)
            for one in result.matches
        ],
        result.inliers,
        result.verified,
        _homography(result.homography),
        pictures["result"][1],
        _account(result.account),
    )


def _homography(values: Sequence[float]) -> npt.NDArray[np.float64] | None:
    import numpy as np

    return np.array(values, np.float64).reshape(3, 3) if len(values) == 9 else None


def _named(known: dict[Any, Value], name: str, what: str) -> Value:
    if name not in known:
        raise InvalidArgument(f"{what} {name!r}, want one of {', '.join(known)}")
    return known[name]


def _operation(given: OperationInput) -> pb.Operation:
    if isinstance(given, str):
        return pb.Operation(name=given)
    import numpy as np

    try:
        numbers = np.asarray(given)
        matrix = numbers.astype(np.float64, casting="unsafe" if numbers.dtype.kind == "O" else "same_kind")
    except (ValueError, TypeError, OverflowError):
        raise InvalidArgument("kernel that is no matrix of numbers, want rows of one length") from None
    if matrix.ndim != 2 or not matrix.size:
        raise InvalidArgument(f"kernel of shape {list(matrix.shape)}, want rows and columns")
    rows, columns = matrix.shape
    kernel = pb.KernelMatrix(rows=rows, columns=columns, values=matrix.ravel().tolist())
    return pb.Operation(name=_CUSTOM, kernel=kernel)


def _stored(picture: PictureInput) -> pb.StoredImage | None:
    if isinstance(picture, StoredPhoto):
        return pb.StoredImage(collection=picture.collection, id=picture.id)
    return None


def _files(kind: Callable[..., Any], *pictures: PictureInput) -> Iterator[Any]:
    for picture in pictures:
        if isinstance(picture, StoredPhoto):
            continue
        data = inputs.single(picture).load()
        yield kind(file=pb.PictureFile(size_bytes=len(data), sha256=streams.digest(data)))
        for chunk in streams.chunks(data):
            yield kind(chunk=chunk)


def _answer(
    method: Callable[..., Any], requests: Sequence[Any], kind: type[Any], progress: ImagingCallback | None
) -> _Answer[Any]:
    """One attempt; an answer that was cut off is asked for again from its beginning."""
    answer: _Answer[Any] = _Answer()
    for response in calls.exchange(method, iter(requests), expects=kind):
        answer.take(response, progress)
    return answer


@dataclass(slots=True)
class _Answer(Generic[Result]):
    """What has come of an answer."""

    result: Result | None = None
    headers: list[pb.PictureHeader] = field(default_factory=list)
    data: list[bytearray] = field(default_factory=list)

    def take(self, response: Any, progress: ImagingCallback | None) -> None:
        part = response.WhichOneof("part")
        if part == "result":
            self.result = response.result
        elif part == "picture":
            self.headers.append(response.picture)
            self.data.append(bytearray())
        elif part == "chunk" and self.data:
            self.data[-1] += response.chunk
        elif part == "progress" and progress is not None:
            progress(_progress(response.progress))

    def finished(self) -> tuple[Result, dict[str, tuple[PictureKind, Any]]]:
        if self.result is None or not self.headers:
            raise calls.incomplete("answer")
        named = zip(self.headers, self.data, strict=True)
        return self.result, {header.name: _picture(header, bytes(data)) for header, data in named}


def _progress(message: pb.ImagingProgress) -> ImagingProgress:
    if message.stage not in _STAGES:
        raise BlindsightError(f"the keyholder has stage {message.stage}, which this client does not know")
    return ImagingProgress(_STAGES[message.stage], message.done, message.total)


def _picture(header: pb.PictureHeader, data: bytes) -> tuple[PictureKind, npt.NDArray[np.integer[Any]]]:
    import numpy as np

    if header.kind not in _KINDS:
        raise BlindsightError(
            f"the keyholder has pictures of kind {header.kind}, which this client does not know"
        )
    if len(data) != header.size_bytes or streams.digest(data) != header.sha256:
        raise DataLoss("the pixels that came are not those that were announced")
    kind, code = _KINDS[header.kind]
    shape = (header.height, header.width) + ((header.channels,) if header.channels > 1 else ())
    values = np.frombuffer(data, code)
    return kind, values.astype(values.dtype.newbyteorder("=")).reshape(shape)


def _account(message: pb.ImagingAccount) -> ImagingAccount:
    plain = {one.name: getattr(message, one.name) for one in fields(ImagingAccount)}
    if message.stored not in _STORED:
        raise BlindsightError(
            f"the keyholder has use {message.stored} of photos, which this client does not know"
        )
    return ImagingAccount(**{**plain, "remarks": tuple(message.remarks), "stored": _STORED[message.stored]})
