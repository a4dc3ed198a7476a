"""What the SDK makes of several messages: plain immutable values, as those of `blindsight.wire` are."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blindsight.errors import Unavailable
from blindsight.wire.collections import RepackProgress
from blindsight.wire.combine import CombineProgress, CombineTimings
from blindsight.wire.imaging import (
    ImagingAccount,
    ImagingProgress,
    Keypoint,
    KeypointMatch,
    PictureKind,
)
from blindsight.wire.imports import ImportInfo
from blindsight.wire.ingest import IngestCounts, Outcome
from blindsight.wire.search import Hit, MatchDrawing, SearchTimings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image


@dataclass(frozen=True, slots=True)
class IngestProgress(IngestCounts):
    """How far an ingest is; items count once storage has committed them.

    Attributes:
        total: how many there are, None when the inputs came from an iterator.
    """

    total: int | None = None


@dataclass(frozen=True, slots=True)
class IngestItem:
    """What became of one photo.

    Attributes:
        path: as it was given or found; the name, for inputs that are no files.
        id: of the item, empty when it was rejected.
        reason: one of `blindsight.errors`, empty unless rejected.
        message: one line for people, empty unless rejected.
        remark: what of the photo its planes do not hold, or why no search will find it; one line for people,
            mostly empty.
    """

    path: str
    outcome: Outcome
    id: str
    reason: str
    message: str
    remark: str = ""


@dataclass(frozen=True, slots=True)
class IngestReport:
    """The end of an ingest; `items` lists photos in the order they were given, and no vectors."""

    stored: int
    duplicates: int
    rejected: int
    items: tuple[IngestItem, ...]
    seconds: float

    @property
    def per_second(self) -> float:
        """Items taken in a second, duplicates and rejects included."""
        done = self.stored + self.duplicates + self.rejected
        return done / self.seconds if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """Hits of every query, in the order of the queries, best first.

    Attributes:
        drawings: of the query and of every hit, where they were asked for.
        query_visible_to_server: whether the server saw the numbers of the queries.
    """

    results: list[list[Hit]]
    timings: SearchTimings
    query_visible_to_server: bool = False
    drawings: tuple[MatchDrawing, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Combination:
    """A weighted sum that was computed under encryption.

    Attributes:
        values: int64, of the inputs' shape, exact.
        description: of the scheme, for people.
        warning: not empty where people must be told whenever they are shown the result: that scramble is no
            encryption, or that the key was one that anybody can break.
        weights: one for each input.
        ciphertexts: of one input.
        sent_bytes, received_bytes: of ciphertext, to and from the evaluator.
    """

    values: npt.NDArray[np.int64]
    scheme: str
    key_bits: int
    description: str
    warning: str
    weights: tuple[int, ...]
    ciphertexts: int
    sent_bytes: int
    received_bytes: int
    timings: CombineTimings


@dataclass(frozen=True, slots=True, eq=False)
class Filtered:
    """A picture that was filtered under encryption.

    Attributes:
        values: [height, width] or [height, width, 3]: uint8 of pixels, else int32.
        kind: what they are: "pixels"; "signed" of a map with negative values; "degrees" of an orientation, -1
            where there is none.
        error_bound: of a value, in grey levels, before rounding.
        clipped_values: results beyond 0 to 255 that were brought to it.
        levels: of grey, of the operation of morphology that has most; 0 without one.
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
        values: [height, width] or [height, width, 3]: int32 of a signed difference, else uint8.
        kind: "signed", or "pixels" of an absolute or thresholded one.
        minimum, maximum: of the signed difference.
        differing: values that are not 0.
        over_threshold: values whose magnitude is over the threshold.
        server_views: uint8 [height, width] of what the evaluator saw of "a", "b" and "result", if asked for.
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
        descriptors: uint8 [keypoints, 128], what each looks like; as OpenCV's, so that they match its own.
        width, height: of the picture that was looked at, which is smaller than a large file.
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
    """What two pictures have in common.

    Attributes:
        keypoints_a, keypoints_b: of each picture.
        matches: those that pass the ratio test, nearest first.
        inliers: matches that one homography explains; four always agree, and unrelated photos reach five.
        verified: whether so many inliers are no chance: more than 5.9 + 0.22 times the matches (Brown and
            Lowe, IJCV 2007).
        homography: float64 [3, 3] from pixels of A to pixels of B; None where there is none.
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


@dataclass(frozen=True, slots=True)
class Original:
    """A photo as it was given to the vault."""

    id: str
    name: str
    media_type: str
    data: bytes

    def image(self) -> Image.Image:
        """The photo, opened; its EXIF orientation is not applied."""
        from PIL import Image

        return Image.open(io.BytesIO(self.data))


IngestCallback = Callable[[IngestProgress], None]
ImportCallback = Callable[[ImportInfo], None]
AwayCallback = Callable[[Unavailable], None]
CombineCallback = Callable[[CombineProgress], None]
ImagingCallback = Callable[[ImagingProgress], None]
RepackCallback = Callable[[RepackProgress], None]
