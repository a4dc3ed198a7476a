"""The evaluator's messages of a search: queries announced, encrypted scores, what it cost."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.packing.segments import Region, SegmentId
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.wire.records import Parts, Record


@dataclass(frozen=True, slots=True)
class ScoreHeader(Record[pb.ScoreHeader]):
    """Announces a block of queries.

    Attributes:
        collection_id: which gallery, 16 bytes.
        minimum_sequence: the answer covers at least this much of its log.
        queries: how many.
        size_bytes, sha256: of the block that follows.
        only: the segments that are wanted; none: all.
        regions: whose columns the block holds, segments of another are left out as well; none: both.
    """

    collection_id: bytes
    minimum_sequence: int
    queries: int
    size_bytes: int
    sha256: bytes
    only: tuple[SegmentId, ...] = ()
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class ScorePlan(Record[pb.ScorePlan]):
    """What an answer covers; comes first."""

    sequence: int
    epoch: int
    main_segments: int
    tail_segments: int

    @property
    def segments(self) -> int:
        """Of both regions."""
        return self.main_segments + self.tail_segments


@dataclass(frozen=True, slots=True)
class ScoreResult(Record[pb.ScoreResult]):
    """Encrypted scores of some segments and consecutive queries.

    Attributes:
        region: of the segments.
        segments: their indices.
        first_query, queries: which queries, the same for each segment.
        block: ciphertexts [segment][query][field] in the wire form, see `blindsight.ciphertext.header`.
    """

    region: Region
    segments: tuple[int, ...]
    first_query: int
    queries: int
    block: bytes


@dataclass(frozen=True, slots=True)
class ScoreSummary(Record[pb.ScoreSummary]):
    """What a search cost; comes last.

    Attributes:
        refresh_seconds: fetching and building what the cache lacked.
        expand_seconds: reading the queries.
        kernel_seconds: multiplying and adding.
        scanned_bytes: of the gallery, once per pass.
    """

    refresh_seconds: float
    expand_seconds: float
    kernel_seconds: float
    scanned_bytes: int


@dataclass(frozen=True, slots=True)
class Progress(Record[pb.PrepareResponse]):
    """How far a refresh is, in batches; `sequence` is what it leads to."""

    batches_done: int
    batches_total: int
    sequence: int


@dataclass(frozen=True, slots=True)
class EvaluatorStatus(Record[pb.GetStatusResponse]):
    """What the evaluator says of itself; `memory_bytes` counts pages that its processes share once."""

    version: str
    collections: int
    segments: int
    disk_bytes: int
    memory_bytes: int


ScoreRequestPart = ScoreHeader | bytes
ScorePart = ScorePlan | ScoreResult | ScoreSummary

SCORE_REQUEST: Parts[pb.ScoreRequest, ScoreRequestPart] = Parts(pb.ScoreRequest, ScoreRequestPart)
SCORE: Parts[pb.ScoreResponse, ScorePart] = Parts(pb.ScoreResponse, ScorePart)
