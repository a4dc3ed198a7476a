"""Conversion between the messages of image processing and the settings and results of jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from blindsight.errors import InvalidArgument
from blindsight.runtime.transfer import announced
from blindsight.trusted.imaging.borders import Border
from blindsight.trusted.imaging.filters import Operation
from blindsight.trusted.imaging.finishing import Kind, Picture
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.imaging.matching import RATIO
from blindsight.trusted.imaging.sift import SCALES, Detection
from blindsight.wire.imaging import (
    DiffHeader,
    DiffResult,
    FilterHeader,
    FilterResult,
    ImagingAccount,
    ImagingProgress,
    Keypoint,
    KeypointMatch,
    KeypointSettings,
    KeypointsResult,
    MatchHeader,
    MatchResult,
    PictureFile,
    StoredPhoto,
)
from services.keyholder.imaging import keypoints
from services.keyholder.imaging.difference import Differed, DifferenceSettings, Mode
from services.keyholder.imaging.engine import Account, Progress
from services.keyholder.imaging.filter import Filtered, FilterSettings
from services.keyholder.imaging.keypoints import Detected, DetectionSettings
from services.keyholder.imaging.match import Matched, MatchSettings
from services.keyholder.imaging.sources import Bytes, Source, planar

Named = tuple[str, Picture]


def filter_settings(header: FilterHeader) -> FilterSettings:
    """Returns the settings of a filter job.

    Raises:
        InvalidArgument: if key bits are given for a scheme other than paillier.
    """
    return FilterSettings(
        tuple(Operation(one.name, one.kernel.values if one.kernel else None) for one in header.operations),
        header.scheme,
        Border(header.border) if header.border else None,
        Colours(header.colours),
        header.key_bits or None,
    )


def diff_settings(header: DiffHeader) -> DifferenceSettings:
    """Returns the settings of a difference.

    Raises:
        InvalidArgument: if the scheme is unknown, or the threshold or the key size is invalid.
    """
    return DifferenceSettings(
        header.scheme,
        Mode(header.mode),
        header.threshold,
        Colours(header.colours),
        header.key_bits or None,
        header.server_views,
    )


def keypoint_settings(given: KeypointSettings) -> DetectionSettings:
    """Returns the settings of a search for keypoints; fields that are 0 take their defaults.

    Raises:
        InvalidArgument: if a field is out of range, or the scheme does not support scale spaces.
    """
    usual = Detection()
    return DetectionSettings(
        given.scheme,
        given.octaves or None,
        given.scales or SCALES,
        given.side or keypoints.DEFAULT_SIDE,
        Detection(given.contrast or usual.contrast, given.edge or usual.edge),
    )


def match_settings(header: MatchHeader) -> MatchSettings:
    """Returns the settings of a match; fields that are 0 take their defaults.

    Raises:
        InvalidArgument: if a field is out of range, or the scheme does not support scale spaces.
    """
    return MatchSettings(keypoint_settings(header.settings), header.ratio or RATIO, header.encrypted)


async def sources(requests: AsyncIterator[Any], *stored: StoredPhoto | None) -> list[Source]:
    """Receives the pictures of a stream.

    Args:
        stored: the stored photo of each picture; None if the picture is the next file of the stream.

    Raises:
        InvalidArgument: if a file is missing, or the stream has more than the files.
        ResourceExhausted: if a file is too large.
    """
    found = [one or await _file(requests) for one in stored]
    if await anext(requests, None) is not None:
        raise InvalidArgument("more came than the pictures that are wanted")
    return found


async def _file(requests: AsyncIterator[Any]) -> bytes:
    message = await anext(requests, None)
    if message is None or message.WhichOneof("part") != "file":
        raise InvalidArgument("the stream lacks a picture, want its file")
    return await announced(requests, PictureFile.from_message(message.file).receiver())


def progress(made: Progress) -> ImagingProgress:
    """Converts the progress of a job."""
    return ImagingProgress(made.stage.value, made.done, made.total)


def _account(made: Account) -> ImagingAccount:
    return ImagingAccount(
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
        remarks=tuple(made.remarks),
        stored=made.stored.value,
    )


def filtered(made: Filtered) -> tuple[FilterResult, list[Named]]:
    """Converts the result of a filter job; returns the message and the filtered picture."""
    account = _account(made.account)
    result = FilterResult(account, made.error_bound, made.picture.clipped, made.levels)
    return result, [("result", made.picture)]


def differed(made: Differed) -> tuple[DiffResult, list[Named]]:
    """Converts the result of a difference; returns the message, the picture, and the views, if any."""
    account = _account(made.account)
    result = DiffResult(account, made.minimum, made.maximum, made.differing, made.over)
    views = _views(made.account, made.picture.values.shape[2])
    return result, [("result", made.picture), *views]


def detected(made: Detected) -> tuple[KeypointsResult, list[Named]]:
    """Converts found keypoints; returns the message, the picture with keypoints, and their descriptors."""
    columns = made.features
    rows = zip(
        columns.places, columns.scales, columns.angles, columns.responses, columns.octaves, strict=True
    )
    keypoints = tuple(Keypoint(x, y, *others) for (x, y), *others in rows)
    described = Picture(Kind.PIXELS, columns.descriptor_bytes()[None])
    result = KeypointsResult(_account(made.account), *made.size, keypoints)
    return result, [_drawn(made.drawn), ("descriptors", described)]


def matched(made: Matched) -> tuple[MatchResult, list[Named]]:
    """Converts the result of a match; returns the message, and the picture of both side by side."""
    first, second = made.features
    found = made.matches
    starts, ends = first.places[found.pairs[:, 0]], second.places[found.pairs[:, 1]]
    rows = zip(starts, ends, found.distances, found.inliers, strict=True)
    result = MatchResult(
        account=_account(made.account),
        keypoints_a=len(first),
        keypoints_b=len(second),
        inliers=found.inlier_count,
        matches=tuple(KeypointMatch(a, b, distance, bool(inlier)) for a, b, distance, inlier in rows),
        homography=() if found.homography is None else tuple(found.homography.ravel().tolist()),
        verified=found.verified,
    )
    return result, [_drawn(made.drawn)]


def _drawn(image: Bytes) -> Named:
    return "result", Picture(Kind.PIXELS, planar(image))


def _views(account: Account, width: int) -> Iterator[Named]:
    """Yields pictures of what the evaluator saw, as wide as the result; less than a row is a shorter row."""
    for name, seen in account.views.items():
        across = min(width, len(seen))
        if across:
            rows = len(seen) // across
            yield f"server {name}", Picture(Kind.PIXELS, seen[: rows * across].reshape(1, rows, across))
