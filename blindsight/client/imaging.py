"""Image processing under encryption: the request streams and the answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeAlias

from blindsight.client import calls, inputs
from blindsight.client.arguments import several
from blindsight.client.calls import Connection
from blindsight.client.sources import Source
from blindsight.errors import DataLoss, InvalidArgument
from blindsight.rpc.keyholder.v1 import imaging_pb2 as pb
from blindsight.runtime import transfer
from blindsight.wire.common import ImageMode
from blindsight.wire.imaging import (
    Border,
    DiffHeader,
    DiffResult,
    FilterHeader,
    FilterResult,
    ImagingAccount,
    ImagingProgress,
    KernelMatrix,
    Keypoint,
    KeypointMatch,
    KeypointSettings,
    KeypointsHeader,
    KeypointsResult,
    MatchHeader,
    MatchResult,
    Operation,
    PictureFile,
    PictureHeader,
    PictureKind,
    StoredPhoto,
)

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

PictureInput: TypeAlias = "inputs.ImageInput | StoredPhoto"
OperationInput: TypeAlias = "str | npt.ArrayLike"
ImagingCallback = Callable[[ImagingProgress], None]
_CUSTOM = "custom"
_VIEW = "server "


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """A picture that was filtered under encryption.

    Attributes:
        values: [height, width] or [height, width, 3]: uint8 for kind "pixels", else int32.
        kind: type of the values: "pixels"; "signed" for a map with negative values; "degrees" for an
            orientation, -1 where there is none.
        error_bound: largest error of a value, in grey levels, before rounding.
        clipped_values: number of results outside 0 to 255 that were clipped.
        levels: largest number of grey levels of a morphological operation; 0 without one.
    """

    values: npt.NDArray[np.uint8] | npt.NDArray[np.int32]
    kind: PictureKind
    error_bound: float
    clipped_values: int
    levels: int
    account: ImagingAccount


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """The difference of two pictures, computed under encryption.

    Attributes:
        values: [height, width] or [height, width, 3]: int32 for a signed difference, else uint8.
        kind: "signed", or "pixels" for an absolute or thresholded one.
        minimum, maximum: smallest and largest value of the signed difference.
        differing: number of values that are not 0.
        over_threshold: number of values whose magnitude is over the threshold, in mode "threshold".
        server_views: pictures uint8 [height, width] of what the evaluator saw of "a", "b" and "result", if
            requested; stored photos have none.
    """

    values: npt.NDArray[np.uint8] | npt.NDArray[np.int32]
    kind: PictureKind
    minimum: int
    maximum: int
    differing: int
    over_threshold: int
    account: ImagingAccount
    server_views: dict[str, npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """Keypoints of a picture whose scale space was computed under encryption.

    Attributes:
        descriptors: uint8 [keypoints, 128], SIFT descriptors compatible with OpenCV's.
        width, height: size of the picture as it was processed, in pixels; large pictures are scaled down.
        drawn: uint8 [height, width, 3], that picture with its keypoints.
    """

    keypoints: list[Keypoint]
    descriptors: npt.NDArray[np.uint8]
    width: int
    height: int
    drawn: npt.NDArray[np.uint8]
    account: ImagingAccount


@dataclass(frozen=True, slots=True, eq=False)
class Matching:
    """The matching keypoints of two pictures.

    Attributes:
        keypoints_a, keypoints_b: number of keypoints of each picture.
        matches: matches that pass the ratio test, nearest first.
        inliers: number of matches that agree with one homography; four always do, and unrelated photos reach
            five.
        verified: whether the inliers are too many to be chance: more than 5.9 + 0.22 times the matches (Brown
            and Lowe, IJCV 2007).
        homography: float64 [3, 3] from pixels of A to pixels of B; None if none was found.
        drawn: uint8 [height, width, 3], both pictures side by side.
    """

    keypoints_a: int
    keypoints_b: int
    matches: list[KeypointMatch]
    inliers: int
    verified: bool
    homography: npt.NDArray[np.float64] | None
    drawn: npt.NDArray[np.uint8]
    account: ImagingAccount


def settings(scheme: str, octaves: int | None, scales: int, side: int) -> KeypointSettings:
    """Checks and returns the settings of keypoint detection; see `Vault.keypoints`.

    Raises:
        InvalidArgument: if a number is not positive, or too large for the message.
    """
    for what, value in (("octaves", octaves), ("scales", scales), ("side", side)):
        if value is not None and not 1 <= value < 1 << 31:
            raise InvalidArgument(f"{what} {value}, want at least 1")
    return KeypointSettings(scheme, octaves or 0, scales, side)


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
    """Requests one filtered picture; all inputs are read and checked before anything is sent.

    Raises:
        InvalidArgument, InvalidImage: if an input is invalid.
        DataLoss: if the answer is not complete, or does not match its digest.
        BlindsightError: the error that the keyholder raised.
    """
    wanted = "an operation, or a list of them"
    listed = [operations] if isinstance(operations, str) else several("operations", operations, wanted)
    header = FilterHeader(
        tuple(map(_operation, listed)), scheme, border or None, colours, _stored(image), key_bits
    )
    photos = _photos(image)
    requests = [pb.FilterRequest(header=header.to_message()), *_files(pb.FilterRequest, photos)]
    with inputs.named(*photos):
        result, pictures = connection.repeat(
            lambda: _answer(connection.imaging.Filter, requests, pb.FilterResponse, progress)
        )
    kind, values = pictures["result"]
    said = FilterResult.from_message(result)
    return Filtered(values, kind, said.error_bound, said.clipped_values, said.levels, said.account)


def difference(
    connection: Connection,
    a: PictureInput,
    b: PictureInput,
    header: DiffHeader,
    progress: ImagingCallback | None,
) -> Difference:
    """Requests one difference, like `filtered`; sets the stored photos in the header."""
    if not 0 <= header.threshold <= 254:
        raise InvalidArgument(f"threshold of {header.threshold}, want 0 to 254")
    header = replace(header, stored_a=_stored(a), stored_b=_stored(b))
    photos = _photos(a, b)
    requests = [pb.DiffRequest(header=header.to_message()), *_files(pb.DiffRequest, photos)]
    # There is no view of planes in storage: nothing of them is sent to the evaluator.
    sent = [name for name, one in (("a", a), ("b", b)) if not isinstance(one, StoredPhoto)]
    seen = [_VIEW + name for name in (*sent, "result")] if header.server_views else []
    with inputs.named(*photos):
        result, pictures = connection.repeat(
            lambda: _answer(connection.imaging.Diff, requests, pb.DiffResponse, progress, ("result", *seen))
        )
    kind, values = pictures["result"]
    said = DiffResult.from_message(result)
    counts = said.minimum, said.maximum, said.differing, said.over_threshold
    views = {name.removeprefix(_VIEW): seen for name, (_, seen) in pictures.items() if name.startswith(_VIEW)}
    return Difference(values, kind, *counts, said.account, views)


def keypoints(
    connection: Connection,
    image: PictureInput,
    settings: KeypointSettings,
    progress: ImagingCallback | None,
) -> Keypoints:
    """Requests the keypoints of one picture, like `filtered`."""
    header = KeypointsHeader(settings, _stored(image))
    photos, wanted = _photos(image), ("result", "descriptors")
    requests = [pb.KeypointsRequest(header=header.to_message()), *_files(pb.KeypointsRequest, photos)]
    with inputs.named(*photos):
        result, pictures = connection.repeat(
            lambda: _answer(connection.imaging.Keypoints, requests, pb.KeypointsResponse, progress, wanted)
        )
    said = KeypointsResult.from_message(result)
    found = list(said.keypoints)
    (_, descriptors), (_, drawn) = pictures["descriptors"], pictures["result"]
    if len(descriptors) != len(found):
        raise DataLoss(f"{len(found)} keypoints came, and descriptors of {len(descriptors)}")
    return Keypoints(found, descriptors, said.width, said.height, drawn, said.account)


def matching(
    connection: Connection,
    a: PictureInput,
    b: PictureInput,
    settings: KeypointSettings,
    ratio: float,
    encrypted: bool,
    progress: ImagingCallback | None,
) -> Matching:
    """Requests the matching keypoints of two pictures, like `filtered`."""
    if not 0 < ratio <= 1:
        raise InvalidArgument(f"ratio {ratio:g}, want more than 0 and at most 1")
    header = MatchHeader(settings, ratio, encrypted, _stored(a), _stored(b))
    photos = _photos(a, b)
    requests = [pb.MatchRequest(header=header.to_message()), *_files(pb.MatchRequest, photos)]
    with inputs.named(*photos):
        result, pictures = connection.repeat(
            lambda: _answer(connection.imaging.Match, requests, pb.MatchResponse, progress)
        )
    said = MatchResult.from_message(result)
    return Matching(
        said.keypoints_a,
        said.keypoints_b,
        list(said.matches),
        said.inliers,
        said.verified,
        _homography(said.homography),
        pictures["result"][1],
        said.account,
    )


def _homography(values: Sequence[float]) -> npt.NDArray[np.float64] | None:
    import numpy as np

    return np.array(values, np.float64).reshape(3, 3) if len(values) == 9 else None


def _operation(given: OperationInput) -> Operation:
    if isinstance(given, str):
        return Operation(given)
    import numpy as np

    try:
        numbers = np.asarray(given)
        matrix = numbers.astype(np.float64, casting="unsafe" if numbers.dtype.kind == "O" else "same_kind")
    except (ValueError, TypeError, OverflowError):
        raise InvalidArgument("kernel that is not a matrix of numbers, want rows of one length") from None
    if matrix.ndim != 2 or not matrix.size:
        raise InvalidArgument(f"kernel of shape {list(matrix.shape)}, want rows and columns")
    return Operation(_CUSTOM, KernelMatrix(matrix))


def _stored(picture: PictureInput) -> StoredPhoto | None:
    return picture if isinstance(picture, StoredPhoto) else None


def _photos(*pictures: PictureInput) -> list[Source]:
    """Returns the pictures that are sent: those that are not stored."""
    return [inputs.single(one) for one in pictures if not isinstance(one, StoredPhoto)]


def _files(kind: Callable[..., Any], photos: Sequence[Source]) -> Iterator[Any]:
    for photo in photos:
        data = inputs.load(photo)
        yield kind(file=PictureFile.of(data).to_message())
        for chunk in transfer.chunks(data):
            yield kind(chunk=chunk)


def _answer(
    method: Callable[..., Any],
    requests: Sequence[Any],
    kind: type[Any],
    progress: ImagingCallback | None,
    names: Collection[str] = ("result",),
) -> tuple[Any, dict[str, tuple[PictureKind, Any]]]:
    """Makes one attempt of a call from its beginning; returns the result, and its pictures by name.

    Args:
        names: names of the pictures that the answer must have.
    """
    messages = calls.exchange(method, iter(requests), expects=kind)
    while (message := next(messages, None)) is not None and message.WhichOneof("part") == "progress":
        if progress is not None:
            progress(ImagingProgress.from_message(message.progress))
    result = transfer.part_of(message, "result")
    pictures: dict[str, tuple[PictureKind, Any]] = {}
    for message in messages:
        header = PictureHeader.from_message(transfer.part_of(message, "picture"))
        if header.name in pictures:
            raise DataLoss("the keyholder answered with the same picture twice")
        pictures[header.name] = header.kind, _values(header, messages)
    if not pictures.keys() >= set(names):
        raise calls.incomplete("answer")
    return result, pictures


def _values(header: PictureHeader, messages: Iterator[Any]) -> npt.NDArray[np.integer[Any]]:
    wanted = header.wanted_bytes
    with transfer.answer_of(calls.PEER):
        receiver = transfer.Receiver(header.size_bytes, header.sha256, limit_bytes=wanted, what="a picture")
        data = transfer.announced_sync(messages, receiver)
    if header.size_bytes != wanted:
        raise DataLoss(f"the keyholder has a picture of {header.size_bytes} bytes, want {wanted}")
    return header.values(data)
