"""Between the messages of `ImagingService` and records."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from enum import Enum
from typing import Any, TypeVar

import numpy as np

from blindsight.errors import InvalidArgument
from blindsight.rpc.keyholder.v1 import imaging_pb2 as pb
from blindsight.runtime.transfer import MAX_PHOTO_BYTES, Receiver, announced, chunks, digest
from blindsight.trusted.imaging.borders import Border
from blindsight.trusted.imaging.filters import Operation
from blindsight.trusted.imaging.finishing import Kind, Picture
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.imaging.matching import RATIO
from blindsight.trusted.imaging.sift import SCALES, Detection
from services.keyholder.imaging import difference as differing
from services.keyholder.imaging import filter as filtering
from services.keyholder.imaging import keypoints as detecting
from services.keyholder.imaging import match as matching
from services.keyholder.imaging.difference import Differed, Mode
from services.keyholder.imaging.engine import Account, Progress, Stage, Stored
from services.keyholder.imaging.filter import Filtered
from services.keyholder.imaging.keypoints import Detected
from services.keyholder.imaging.match import Matched
from services.keyholder.imaging.sources import Bytes, Source, StoredImage, planar

Member = TypeVar("Member", bound=Enum)
Response = TypeVar("Response", pb.FilterResponse, pb.DiffResponse, pb.KeypointsResponse, pb.MatchResponse)
Named = tuple[str, Picture]
_BORDERS = {
    pb.BORDER_REFLECT: Border.REFLECT,
    pb.BORDER_CONSTANT: Border.CONSTANT,
    pb.BORDER_REPLICATE: Border.REPLICATE,
}
_COLOURS = {
    pb.COLOURS_UNSPECIFIED: Colours.AS_THEY_ARE,
    pb.COLOURS_GREY: Colours.GREY,
    pb.COLOURS_RGB: Colours.RGB,
}
_MODES = {
    pb.DIFF_MODE_UNSPECIFIED: Mode.SIGNED,
    pb.DIFF_MODE_SIGNED: Mode.SIGNED,
    pb.DIFF_MODE_ABSOLUTE: Mode.ABSOLUTE,
    pb.DIFF_MODE_THRESHOLD: Mode.THRESHOLD,
}
_STAGES = {
    Stage.KEYGEN: pb.IMAGING_STAGE_KEYGEN,
    Stage.ENCRYPT: pb.IMAGING_STAGE_ENCRYPT,
    Stage.COMPUTE: pb.IMAGING_STAGE_COMPUTE,
    Stage.DECRYPT: pb.IMAGING_STAGE_DECRYPT,
    Stage.FINISH: pb.IMAGING_STAGE_FINISH,
    Stage.WAIT: pb.IMAGING_STAGE_WAIT,
}
_STORED = {
    Stored.NONE: pb.STORED_USE_UNSPECIFIED,
    Stored.IN_PLACE: pb.STORED_USE_IN_PLACE,
    Stored.DECRYPTED: pb.STORED_USE_DECRYPTED,
}
_KINDS = {
    Kind.PIXELS: pb.PICTURE_KIND_PIXELS,
    Kind.SIGNED: pb.PICTURE_KIND_SIGNED,
    Kind.DEGREES: pb.PICTURE_KIND_DEGREES,
}


def filter_settings(header: pb.FilterHeader) -> filtering.Settings:
    """How a picture is to be filtered.

    Raises:
        InvalidArgument: for a value of a newer client, or a kernel that is none.
    """
    return filtering.Settings(
        tuple(map(_operation, header.operations)),
        header.scheme,
        _member(_BORDERS, header.border, "border") if header.border else None,
        _member(_COLOURS, header.colours, "colours"),
        header.key_bits or None,
    )


def diff_settings(header: pb.DiffHeader) -> differing.Settings:
    """How pictures are to be compared.

    Raises:
        InvalidArgument: for what there is not.
    """
    return differing.Settings(
        header.scheme,
        _member(_MODES, header.mode, "mode"),
        header.threshold,
        _member(_COLOURS, header.colours, "colours"),
        header.key_bits or None,
        header.server_views,
    )


def keypoint_settings(given: pb.KeypointSettings) -> detecting.Settings:
    """How keypoints are to be found.

    Raises:
        InvalidArgument: for what cannot be.
    """
    usual = Detection()
    return detecting.Settings(
        given.scheme,
        given.octaves or None,
        given.scales or SCALES,
        given.side or detecting.DEFAULT_SIDE,
        Detection(given.contrast or usual.contrast, given.edge or usual.edge),
    )


def match_settings(header: pb.MatchHeader) -> matching.Settings:
    """How pictures are to be matched.

    Raises:
        InvalidArgument: for what cannot be.
    """
    return matching.Settings(keypoint_settings(header.settings), header.ratio or RATIO, header.encrypted)


def _member(known: dict[Any, Member], value: int, what: str) -> Member:
    if value not in known:
        raise InvalidArgument(f"{what} {value}, want one of {sorted(known)}")
    return known[value]


def _operation(given: pb.Operation) -> Operation:
    if not given.HasField("kernel"):
        return Operation(given.name)
    kernel = given.kernel
    if not kernel.values or kernel.rows * kernel.columns != len(kernel.values):
        raise InvalidArgument(
            f"kernel of {kernel.rows} x {kernel.columns} with {len(kernel.values)} numbers, want as many"
        )
    return Operation(given.name, np.array(kernel.values, np.float64).reshape(kernel.rows, kernel.columns))


async def sources(requests: AsyncIterator[Any], header: Any, *stored: str) -> list[Source]:
    """The pictures of a stream.

    Args:
        stored: fields of the header, one for each picture, that say where it is stored; where one is not set,
            the picture is the next file of the stream.

    Raises:
        InvalidArgument: when files are missing, or there are more.
        ResourceExhausted: when one is too large.
    """
    found: list[Source] = []
    for name in stored:
        if header.HasField(name):
            one = getattr(header, name)
            found.append(StoredImage(one.collection, one.id))
        else:
            found.append(await _file(requests))
    if await anext(requests, None) is not None:
        raise InvalidArgument("more came than the pictures that are wanted")
    return found


async def _file(requests: AsyncIterator[Any]) -> bytes:
    message = await anext(requests, None)
    if message is None or message.WhichOneof("part") != "file":
        raise InvalidArgument("the stream lacks a picture, want its file")
    file = message.file
    receiver = Receiver(file.size_bytes, file.sha256, limit_bytes=MAX_PHOTO_BYTES, what="a picture")
    return await announced(requests, receiver)


def progress(made: Progress) -> pb.ImagingProgress:
    """How far it is."""
    return pb.ImagingProgress(stage=_STAGES[made.stage], done=made.done, total=made.total)


def _account(made: Account) -> pb.ImagingAccount:
    return pb.ImagingAccount(
        scheme=made.scheme,
        parameter_set=made.parameter_set,
        key_bits=made.key_bits,
        description=made.description,
        warning=made.warning,
        round_trips=made.round_trips,
        ciphertexts=made.ciphertexts,
        results=made.results,
        sent_bytes=made.sent_bytes,
        received_bytes=made.received_bytes,
        total_seconds=made.total_seconds,
        encrypt_busy_seconds=made.encrypt_seconds,
        compute_busy_seconds=made.compute_seconds,
        decrypt_busy_seconds=made.decrypt_seconds,
        remarks=made.remarks,
        stored=_STORED[made.stored],
    )


def filtered(made: Filtered) -> Iterator[pb.FilterResponse]:
    """The result, and the filtered picture."""
    result = pb.FilterResult(
        account=_account(made.account),
        error_bound=made.error_bound,
        clipped_values=made.picture.clipped,
        levels=made.levels,
    )
    return _messages(pb.FilterResponse, result, [("result", made.picture)])


def differed(made: Differed) -> Iterator[pb.DiffResponse]:
    """The result, the picture of the difference, and what the evaluator saw if it was asked for."""
    result = pb.DiffResult(
        account=_account(made.account),
        minimum=made.minimum,
        maximum=made.maximum,
        differing=made.differing,
        over_threshold=made.over,
    )
    views = _views(made.account, made.picture.values.shape[2])
    return _messages(pb.DiffResponse, result, [("result", made.picture), *views])


def detected(made: Detected) -> Iterator[pb.KeypointsResponse]:
    """The result, the picture with its keypoints, and what they look like."""
    columns = made.features
    rows = zip(
        columns.places, columns.scales, columns.angles, columns.responses, columns.octaves, strict=True
    )
    result = pb.KeypointsResult(
        account=_account(made.account),
        width=made.size[0],
        height=made.size[1],
        keypoints=[
            pb.Keypoint(x=x, y=y, scale=scale, angle=angle, response=response, octave=octave)
            for (x, y), scale, angle, response, octave in rows
        ],
    )
    described = Picture(Kind.PIXELS, columns.descriptor_bytes()[None])
    return _messages(pb.KeypointsResponse, result, [_drawn(made.drawn), ("descriptors", described)])


def matched(made: Matched) -> Iterator[pb.MatchResponse]:
    """The result, and the picture of both side by side."""
    first, second = made.features
    found = made.matches
    starts, ends = first.places[found.pairs[:, 0]], second.places[found.pairs[:, 1]]
    rows = zip(starts, ends, found.distances, found.inliers, strict=True)
    result = pb.MatchResult(
        account=_account(made.account),
        keypoints_a=len(first),
        keypoints_b=len(second),
        inliers=found.inlier_count,
        matches=[
            pb.KeypointMatch(x_a=x_a, y_a=y_a, x_b=x_b, y_b=y_b, distance=distance, inlier=bool(inlier))
            for (x_a, y_a), (x_b, y_b), distance, inlier in rows
        ],
        verified=found.verified,
        homography=[] if found.homography is None else found.homography.ravel().tolist(),
    )
    return _messages(pb.MatchResponse, result, [_drawn(made.drawn)])


def _drawn(image: Bytes) -> Named:
    return "result", Picture(Kind.PIXELS, planar(image))


def _views(account: Account, width: int) -> Iterator[Named]:
    """Rows of what was seen, as wide as the picture; short of a row they are one that is shorter."""
    for name, seen in account.views.items():
        across = min(width, len(seen))
        if across:
            rows = len(seen) // across
            yield f"server {name}", Picture(Kind.PIXELS, seen[: rows * across].reshape(1, rows, across))


def _messages(kind: type[Response], result: Any, pictures: Iterable[Named]) -> Iterator[Response]:
    """A result, and after it each picture: a header and chunks."""
    yield kind(result=result)
    for name, picture in pictures:
        for part in _picture(name, picture):
            yield kind(chunk=part) if isinstance(part, bytes) else kind(picture=part)


def _picture(name: str, picture: Picture) -> Iterator[pb.PictureHeader | bytes]:
    values = np.moveaxis(picture.values, 0, 2)
    data = values.astype("u1" if picture.kind is Kind.PIXELS else "<i4").tobytes()
    height, width, channels = values.shape
    yield pb.PictureHeader(
        name=name,
        kind=_KINDS[picture.kind],
        width=width,
        height=height,
        channels=channels,
        size_bytes=len(data),
        sha256=digest(data),
    )
    yield from chunks(data)
