"""Searches: what is asked, what matches, and where the time went."""

from __future__ import annotations

from dataclasses import dataclass, fields

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.records import Record


@dataclass(frozen=True, slots=True)
class SearchHeader(Record[pb.SearchHeader]):
    """What is searched, and how.

    Attributes:
        collection: its name.
        k: how many matches are wanted; 0: 5.
        threshold: the worst score that is still a match.
        query_visible_to_server: whether the owner agrees that the evaluator sees the query; must be what the
            collection says of itself.
        draw: with embedder sift, whether pictures of the matching keypoints are wanted.
    """

    collection: str
    k: int = 0
    threshold: float | None = None
    query_visible_to_server: bool = False
    draw: bool = False


@dataclass(frozen=True, slots=True)
class KeypointAgreement(Record[pb.KeypointAgreement]):
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
class Hit(Record[pb.Hit]):
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

    # Written out: an answer may have tens of thousands, and this takes half the time.

    def to_message(self) -> pb.Hit:
        message = pb.Hit(id=self.id, score=self.score, name=self.name, channels=self.channels)
        if self.keypoints is not None:
            message.keypoints.CopyFrom(self.keypoints.to_message())
        return message

    @classmethod
    def from_message(cls, message: pb.Hit) -> Hit:
        keypoints = (
            KeypointAgreement.from_message(message.keypoints) if message.HasField("keypoints") else None
        )
        return cls(message.id, message.score, message.name, tuple(message.channels), keypoints)


@dataclass(frozen=True, slots=True)
class MatchDrawing(Record[pb.Drawing]):
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
class SearchTimings(Record[pb.SearchTimings]):
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
