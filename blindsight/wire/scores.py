"""The evaluator's messages for searches: queries, encrypted scores and their cost."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.packing.segments import Region
from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.wire.records import Parts, Record


@dataclass(frozen=True, slots=True)
class ScoreHeader(Record[pb.ScoreHeader]):
    """The header of a search; a block of queries follows.

    Attributes:
        collection_id: 16 bytes.
        minimum_sequence: sequence of the collection's log that the answer must cover at least.
        queries: number of queries.
        size_bytes, sha256: size and SHA-256 of the block that follows.
        regions: the regions whose columns the block holds, and whose segments are scored; empty: both.
    """

    collection_id: bytes
    minimum_sequence: int
    queries: int
    size_bytes: int
    sha256: bytes
    regions: tuple[Region, ...] = ()


@dataclass(frozen=True, slots=True)
class ScorePlan(Record[pb.ScorePlan]):
    """The state of the log that an answer covers; the first part of an answer."""

    sequence: int
    epoch: int
    main_segments: int
    tail_segments: int
    chain: bytes

    @property
    def segments(self) -> int:
        """The number of segments of both regions."""
        return self.main_segments + self.tail_segments


@dataclass(frozen=True, slots=True)
class ScoreResult(Record[pb.ScoreResult]):
    """The encrypted scores of some segments for consecutive queries.

    Attributes:
        region: region of the segments.
        segments: their indices.
        first_query, queries: index of the first query, and their number, the same for each segment.
        answers: [segment][query][field]: residues, uint32 [primes, N / fold]; of an additive scheme a block.
    """

    region: Region
    segments: tuple[int, ...]
    first_query: int
    queries: int
    answers: bytes


@dataclass(frozen=True, slots=True)
class ScoreSummary(Record[pb.ScoreSummary]):
    """The cost of a search; the last part of an answer.

    Attributes:
        refresh_seconds: fetching and building what the cache lacked.
        check_seconds: checking the queries.
        kernel_seconds: computing the inner products.
        scanned_bytes: bytes of the gallery that were read, counted once per pass.
    """

    refresh_seconds: float
    check_seconds: float
    kernel_seconds: float
    scanned_bytes: int


@dataclass(frozen=True, slots=True)
class Progress(Record[pb.PrepareResponse]):
    """The progress of a refresh, in batches; `sequence` is the log's sequence at its end."""

    batches_done: int
    batches_total: int
    sequence: int


@dataclass(frozen=True, slots=True)
class EvaluatorStatus(Record[pb.GetStatusResponse]):
    """The evaluator's status; `memory_bytes` counts pages that its processes share once."""

    version: str
    collections: int
    segments: int
    disk_bytes: int
    memory_bytes: int


ScoreRequestPart = ScoreHeader | bytes
ScorePart = ScorePlan | ScoreResult | ScoreSummary | Progress

SCORE_REQUEST: Parts[pb.ScoreRequest, ScoreRequestPart] = Parts(pb.ScoreRequest, ScoreRequestPart)
SCORE: Parts[pb.ScoreResponse, ScorePart] = Parts(pb.ScoreResponse, ScorePart)
