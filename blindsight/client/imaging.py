"""Image processing under encryption: what is asked for, as the messages of a stream, and the answer."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

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
    result, pictures = connection.repeat(
        lambda: _answer(connection.imaging.Filter, requests, pb.FilterResponse, progress)
    )
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
    # Of planes that are computed with where they are, the evaluator got nothing to see.
    sent = [name for name, one in (("a", a), ("b", b)) if not isinstance(one, StoredPhoto)]
    seen = [_VIEW + name for name in (*sent, "result")] if settings.server_views else []
    result, pictures = connection.repeat(
        lambda: _answer(connection.imaging.Diff, requests, pb.DiffResponse, progress, ("result", *seen))
    )
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
    result, pictures = connection.repeat(
        lambda: _answer(
            connection.imaging.Keypoints, requests, pb.KeypointsResponse, progress, ("result", "descriptors")
        )
    )
    found = [
        Keypoint(one.x, one.y, one.scale, one.angle, one.response, one.octave) for one in result.keypoints
    ]
    (_, descriptors), (_, drawn) = pictures["descriptors"], pictures["result"]
    if len(descriptors) != len(found):
        raise DataLoss(f"{len(found)} keypoints came, and descriptors of {len(descriptors)}")
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
    result, pictures = connection.repeat(
        lambda: _answer(connection.imaging.Match, requests, pb.MatchResponse, progress)
    )
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
    method: Callable[..., Any],
    requests: Sequence[Any],
    kind: type[Any],
    progress: ImagingCallback | None,
    names: Collection[str] = ("result",),
) -> tuple[Any, dict[str, tuple[PictureKind, Any]]]:
    """One attempt: the result, and its pictures by name; one that was cut off is made from its beginning.

    Args:
        names: pictures that there must be.
    """
    messages = calls.exchange(method, iter(requests), expects=kind)
    while (message := next(messages, None)) is not None and message.WhichOneof("part") == "progress":
        if progress is not None:
            progress(_progress(message.progress))
    result = streams.part_of(message, "result")
    pictures: dict[str, tuple[PictureKind, Any]] = {}
    for message in messages:
        header = streams.part_of(message, "picture")
        if header.name in pictures:
            raise DataLoss("the keyholder answered with the same picture twice")
        pictures[header.name] = _picture(header, messages)
    if not pictures.keys() >= set(names):
        raise calls.incomplete("answer")
    return result, pictures


def _progress(message: pb.ImagingProgress) -> ImagingProgress:
    if message.stage not in _STAGES:
        raise BlindsightError(f"the keyholder has stage {message.stage}, which this client does not know")
    return ImagingProgress(_STAGES[message.stage], message.done, message.total)


def _picture(
    header: pb.PictureHeader, messages: Iterator[Any]
) -> tuple[PictureKind, npt.NDArray[np.integer[Any]]]:
    import numpy as np

    if header.kind not in _KINDS:
        raise BlindsightError(
            f"the keyholder has pictures of kind {header.kind}, which this client does not know"
        )
    kind, code = _KINDS[header.kind]
    shape = (header.height, header.width) + ((header.channels,) if header.channels > 1 else ())
    size = np.dtype(code).itemsize * header.height * header.width * header.channels
    with streams.answer_of(calls.PEER):
        receiver = streams.Receiver(header.size_bytes, header.sha256, limit_bytes=size, what="a picture")
        values = np.frombuffer(streams.announced_sync(messages, receiver), code)
    if header.size_bytes != size:
        raise DataLoss(f"the keyholder has a picture of {header.size_bytes} bytes, want {size}")
    return kind, values.astype(values.dtype.newbyteorder("=")).reshape(shape)


def _account(message: pb.ImagingAccount) -> ImagingAccount:
    plain = {one.name: getattr(message, one.name) for one in fields(ImagingAccount)}
    if message.stored not in _STORED:
        raise BlindsightError(
            f"the keyholder has use {message.stored} of photos, which this client does not know"
        )
    return ImagingAccount(**{**plain, "remarks": tuple(message.remarks), "stored": _STORED[message.stored]})
