"""What the SDK answers with: plain immutable values, no protocol types."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal

from blindsight.errors import Unavailable

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

Metric = Literal["cosine", "euclidean", "dot", "squared-cosine"]
CombineStage = Literal["keygen", "encrypt", "compute", "decrypt"]
ImageMode = Literal["auto", "grey", "rgb"]
Outcome = Literal["stored", "duplicate", "rejected"]
ImagingStage = Literal["wait", "keygen", "encrypt", "compute", "decrypt", "finish"]
PictureKind = Literal["pixels", "signed", "degrees"]
StoredUse = Literal["", "in place", "decrypted"]
Border = Literal["reflect", "constant", "replicate"]
DifferenceMode = Literal["signed", "absolute", "threshold"]
ImportState = Literal["receiving", "running", "finished", "cancelled"]


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A collection as its keyholder describes it.

    Attributes:
        security: the parameter set's standing, for people.
        precision: how values are rounded, for people.
        dimension: of a vector, as the user sees it.
        metric: "cosine" and "dot" are better when higher, "euclidean" (squared distance) and
            "squared-cosine" (distance of the channels' values from all ones) when lower.
        max_norm: longest vector that fits (dot and euclidean); 0 until the first ingest sets it.
        stride: consecutive coefficients that one vector takes in a ciphertext.
        items: that a search sees.
        tail_items: of these, in the tail, until a repack.
        deleted_items: still taking room in ciphertexts, until a repack.
        size_bytes: in storage.
        score_error_bound: largest difference of a score from the plaintext's.
        plane_items: that have encrypted pixel planes.
        plane_bytes: of these planes, part of `size_bytes`.
        channels: of raw pixels, "grey" or "rgb"; empty for other vectors.
        query_visible_to_server: whether a search shows the numbers of its query to the server.
    """

    name: str
    scheme: str
    parameter_set: str
    security: str
    embedder: str
    dimension: int
    metric: Metric
    expected_size: int
    max_norm: float
    stride: int
    items: int
    tail_items: int
    deleted_items: int
    size_bytes: int
    score_error_bound: float
    created_unix_seconds: int
    precision: str
    plane_items: int
    plane_bytes: int
    channels: str
    query_visible_to_server: bool


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """How far an ingest is; items count once storage has committed them.

    Attributes:
        total: how many there are, None when the inputs came from an iterator.
    """

    stored: int = 0
    duplicates: int = 0
    rejected: int = 0
    total: int | None = None

    @property
    def done(self) -> int:
        """Items whose outcome is known."""
        return self.stored + self.duplicates + self.rejected


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


IngestCallback = Callable[[IngestProgress], None]


@dataclass(frozen=True, slots=True)
class ImportInfo:
    """A bulk ingest as it is at one moment.

    Attributes:
        import_id: names it in `blindsight jobs`.
        collection: its name; empty when the collection is gone.
        request_id: the caller's word for it; the same word is the same import.
        received: items that the keyholder took; all there are, once it is no longer receiving.
        done: stored by this import.
        duplicates: were in the collection already.
    """

    import_id: str
    collection: str
    request_id: str
    state: ImportState
    created_unix_seconds: int
    received: int
    done: int
    duplicates: int
    failed: int

    @property
    def settled(self) -> int:
        """Items whose outcome is known."""
        return self.done + self.duplicates + self.failed

    @property
    def total(self) -> int | None:
        """How many items there are; None while they are still coming."""
        return None if self.state == "receiving" else self.received

    @property
    def ended(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state in ("finished", "cancelled")


ImportCallback = Callable[[ImportInfo], None]
AwayCallback = Callable[[Unavailable], None]


@dataclass(frozen=True, slots=True)
class FailedItem:
    """An item of a bulk ingest that could not be stored.

    Attributes:
        number: of the file, from 0, in the order in which files were given.
        name: of the file.
        reason: one of `blindsight.errors`.
        message: one line for people.
    """

    number: int
    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class KeypointAgreement:
    """What a photo has in common with the query.

    Attributes:
        inliers: matches that one view explains.
        matches: keypoints that look the same.
        verified: whether so many inliers are no chance.
    """

    inliers: int
    matches: int
    verified: bool


@dataclass(frozen=True, slots=True)
class Hit:
    """One match.

    Attributes:
        name: of the file; empty for vectors.
        channels: with metric squared-cosine, the squared cosine of each colour channel, 0 to 1.
        keypoints: with embedder sift, which ranks by their inliers.
    """

    id: str
    score: float
    name: str
    channels: tuple[float, ...] = ()
    keypoints: KeypointAgreement | None = None


@dataclass(frozen=True, slots=True)
class SearchTimings:
    """Where a search spent its time, in seconds, as the keyholder measured it.

    Attributes:
        score_seconds: from sending the query to the last result.
        decrypt_seconds: after the last result; most of it overlaps with scoring.
        kernel_seconds: inside score: the evaluator's own account.
        refresh_seconds: inside score: the evaluator fetched new batches.
        decrypt_busy_seconds: added up over workers.
        scanned_bytes: of ciphertext that the kernel read.
        match_seconds: with embedder sift, keypoints of the candidates, fetched and compared.
    """

    embed_seconds: float
    encrypt_seconds: float
    score_seconds: float
    decrypt_seconds: float
    rank_seconds: float
    total_seconds: float
    kernel_seconds: float
    refresh_seconds: float
    decrypt_busy_seconds: float
    scanned_bytes: int
    match_seconds: float = 0.0

    def seconds(self) -> dict[str, float]:
        """The stages by name, without the unit in it: {"embed": 0.012, ...}."""
        suffix = "_seconds"
        names = [field.name for field in fields(self) if field.name.endswith(suffix)]
        return {name.removesuffix(suffix): getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class MatchDrawing:
    """Pictures of a hit, JPEG files.

    Attributes:
        rank: of the hit, from 1; 0 is the query.
        photo: made smaller.
        drawn: beside the query, with lines between what matches; of the query: with its keypoints.
    """

    rank: int
    photo: bytes
    drawn: bytes


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


@dataclass(frozen=True, slots=True)
class VerifyTimings:
    """Where a verification spent its time, in seconds, as the keyholder measured it.

    Attributes:
        compare_seconds: from sending the ciphertexts to the evaluator's result.
    """

    embed_seconds: float
    encrypt_seconds: float
    compare_seconds: float
    decrypt_seconds: float
    total_seconds: float

    def seconds(self) -> dict[str, float]:
        """The stages by name, without the unit in it: {"embed": 0.012, ...}."""
        return {field.name.removesuffix("_seconds"): getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether two things are the same.

    Attributes:
        verified: distance <= threshold.
        distance: squared Euclidean, or 1 - cosine similarity.
        threshold_source: "given", or which default it is.
    """

    verified: bool
    distance: float
    threshold: float
    threshold_source: str
    metric: Metric
    scheme: str
    parameter_set: str
    timings: VerifyTimings


@dataclass(frozen=True, slots=True)
class CombineProgress:
    """How far a weighted sum is.

    Attributes:
        stage: what is being done.
        done, total: ciphertexts of the stage; for "keygen", keys.
    """

    stage: CombineStage
    done: int
    total: int


CombineCallback = Callable[[CombineProgress], None]


@dataclass(frozen=True, slots=True)
class CombineTimings:
    """Where a weighted sum spent its time, in seconds, as the keyholder measured it.

    Attributes:
        compute_seconds: from sending the ciphertexts to the evaluator's whole result.
        total_seconds: with reading the inputs.
    """

    keygen_seconds: float
    encrypt_seconds: float
    compute_seconds: float
    decrypt_seconds: float
    total_seconds: float

    def seconds(self) -> dict[str, float]:
        """The stages by name, without the unit in it: {"keygen": 0.012, ...}."""
        return {field.name.removesuffix("_seconds"): getattr(self, field.name) for field in fields(self)}


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


@dataclass(frozen=True, slots=True)
class StoredPhoto:
    """A photo of a collection, in place of a file: it must have been ingested with planes."""

    collection: str
    id: str


@dataclass(frozen=True, slots=True)
class ImagingProgress:
    """How far the present stage is: in ciphertexts, with keypoints in pixels of the octaves."""

    stage: ImagingStage
    done: int
    total: int


ImagingCallback = Callable[[ImagingProgress], None]


@dataclass(frozen=True, slots=True)
class ImagingAccount:
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
    stored: StoredUse


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


@dataclass(frozen=True, slots=True)
class Keypoint:
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


@dataclass(frozen=True, slots=True)
class KeypointMatch:
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


@dataclass(frozen=True, slots=True)
class Deletion:
    """How many items were deleted, and which ids were not there."""

    deleted: int
    unknown_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RepackProgress:
    """How far a repack is; the last one is its result."""

    items_done: int = 0
    items_total: int = 0
    segments_retired: int = 0
    segments_written: int = 0


RepackCallback = Callable[[RepackProgress], None]


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """One service; `error` says why it is not reachable."""

    name: str
    zone: str
    reachable: bool
    version: str
    collections: int
    items: int
    disk_bytes: int
    memory_bytes: int
    error: str


@dataclass(frozen=True, slots=True)
class VaultStatus:
    """The three services, the key id in hex, and every collection."""

    services: tuple[ServiceStatus, ...]
    key_id: str
    collections: tuple[CollectionInfo, ...]

    @property
    def reachable(self) -> bool:
        """Whether every service answers."""
        return all(service.reachable for service in self.services)
