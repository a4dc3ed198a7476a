"""Records of searches between client and keyholder: request, hits, drawings and timings."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.metadata import Metadata, Values, Where
from blindsight.wire.records import Record
from blindsight.wire.vectors import VectorLabel


@dataclass(frozen=True, slots=True)
class SearchHeader(Record[pb.SearchHeader]):
    """The settings of a search request.

    Attributes:
        collection: its name.
        k: maximum number of hits; 0: 5.
        threshold: the worst score that is still a hit.
        query_visible_to_server: whether the owner agrees that the evaluator sees the query; must equal the
            collection's `query_visible_to_server`.
        draw: whether to return pictures of the matching keypoints (embedder sift).
        where: only items that it passes are ranked; None: all.
        offset: number of the best hits that are left out.
        vector_name: only vectors of this name are ranked; empty: all.
    """

    collection: str
    k: int = 0
    threshold: float | None = None
    query_visible_to_server: bool = False
    draw: bool = False
    where: Where | None = None
    offset: int = 0
    vector_name: str = ""


@dataclass(frozen=True, slots=True)
class KeypointAgreement(Record[pb.KeypointAgreement]):
    """The keypoints that a photo has in common with the query.

    Attributes:
        inliers: number of matches that agree with one homography.
        matches: number of keypoints with similar descriptors.
        verified: whether the inliers are too many to be chance.
    """

    inliers: int
    matches: int
    verified: bool


@dataclass(frozen=True, slots=True)
class Hit(Record[pb.Hit]):
    """One hit of a search.

    Attributes:
        score: by the collection's metric; None for who may know ranks alone.
        name: file name; empty for vectors.
        channels: the squared cosine of each colour channel, 0 to 1 (metric squared-cosine).
        keypoints: agreement with the query; embedder sift only, which ranks by inliers.
        damage: why id and name are empty, or keypoints are missing: storage has damaged or lost them,
            or the item was replaced again and again while it was compared.
        metadata: what its owner says of it.
        vector: which of the item's vectors is the best match; None: it has one without name and box.
    """

    id: str
    score: float | None
    name: str
    channels: tuple[float, ...] = ()
    keypoints: KeypointAgreement | None = None
    damage: str = ""
    metadata: Values = field(default_factory=dict)
    vector: VectorLabel | None = None

    # Converted by hand: an answer may have tens of thousands of hits, and this halves the time.

    def to_message(self) -> pb.Hit:
        message = pb.Hit(
            id=self.id, score=self.score, name=self.name, channels=self.channels, damage=self.damage
        )
        if self.keypoints is not None:
            message.keypoints.CopyFrom(self.keypoints.to_message())
        if self.metadata:
            message.metadata.CopyFrom(Metadata(self.metadata).to_message())
        if self.vector is not None:
            message.vector.CopyFrom(self.vector.to_message())
        return message

    @classmethod
    def from_message(cls, message: pb.Hit) -> Hit:
        keypoints = (
            KeypointAgreement.from_message(message.keypoints) if message.HasField("keypoints") else None
        )
        values = Metadata.from_message(message.metadata).values if message.HasField("metadata") else {}
        return cls(
            message.id,
            message.score if message.HasField("score") else None,
            message.name,
            tuple(message.channels),
            keypoints,
            message.damage,
            values,
            VectorLabel.from_message(message.vector) if message.HasField("vector") else None,
        )


@dataclass(frozen=True, slots=True)
class MatchDrawing(Record[pb.Drawing]):
    """Pictures of a hit as JPEG files.

    Attributes:
        rank: rank of the hit, from 1; 0 is the query.
        photo: the photo, scaled down.
        drawn: the photo beside the query, with lines between matches; for the query, with its keypoints.
    """

    rank: int
    photo: bytes
    drawn: bytes


@dataclass(frozen=True, slots=True)
class SearchProgress(Record[pb.SearchProgress]):
    """How much of what a search needs is ready: one of the totals is not 0.

    Attributes:
        batches_done: of the gallery, that the evaluator has fetched, of `batches_total`.
        items_done: items whose metadata the keyholder has loaded for the filter, of `items_total`.
    """

    batches_done: int = 0
    batches_total: int = 0
    items_done: int = 0
    items_total: int = 0


@dataclass(frozen=True, slots=True)
class SearchTimings(Record[pb.SearchTimings]):
    """The timings of a search, in seconds, as the keyholder measured them.

    Attributes:
        score_seconds: from sending the query to the last result.
        decrypt_seconds: after the last result; most of the decryption overlaps with scoring.
        kernel_seconds: part of score: computing inner products, as the evaluator measured it.
        refresh_seconds: part of score: fetching new batches, as the evaluator measured it.
        decrypt_busy_seconds: decryption, summed over workers.
        scanned_bytes: bytes of ciphertext that the kernel read.
        match_seconds: fetching and comparing the keypoints of candidates (embedder sift).
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
        """Returns the seconds of each stage by its name without the unit: {"embed": 0.012, ...}."""
        suffix = "_seconds"
        names = [field.name for field in fields(self) if field.name.endswith(suffix)]
        return {name.removesuffix(suffix): getattr(self, name) for name in names}
