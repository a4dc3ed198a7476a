"""The evaluator's messages for blocks outside a collection: weighted sums, and all rows by all queries."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.wire.records import Parts, Record


@dataclass(frozen=True, slots=True)
class AnnouncedBlock(Record[pb.AnnouncedBlock]):
    """The size and the SHA-256 of a block that follows."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class CompareAllHeader(Record[pb.CompareAllHeader]):
    """The header of a comparison of all rows with all queries; the gallery's block and the queries' follow.

    Attributes:
        fields: number of columns of each field of a row, and of a query.
        gallery, queries: the blocks, in the order in which they are sent.
        fold: number of neighbouring points of a product that are added up.
    """

    fields: tuple[int, ...]
    gallery: AnnouncedBlock
    queries: AnnouncedBlock
    fold: int

    @property
    def columns(self) -> int:
        """The number of columns of each row and of each query."""
        return sum(self.fields)


@dataclass(frozen=True, slots=True)
class ProductsResult(Record[pb.CompareAllResult]):
    """The products of consecutive rows with consecutive queries.

    Attributes:
        answers: residues, uint32 [row][query][field][primes, N / fold].
    """

    first_row: int
    rows: int
    first_query: int
    queries: int
    answers: bytes


@dataclass(frozen=True, slots=True)
class CompareAllSummary(Record[pb.CompareAllSummary]):
    """The cost of a comparison: checking both blocks, and multiplying; the last part of an answer."""

    check_seconds: float
    kernel_seconds: float


@dataclass(frozen=True, slots=True)
class CombineHeader(Record[pb.CombineHeader]):
    """The header of a weighted sum; its blocks follow.

    Attributes:
        public_key: additive public key of the blocks ("BSAP" format).
        weights: in the clear, one for each block.
        blocks: in the order in which they are sent.
        insecure_small_keys: whether keys too small to be secure are accepted; LightPHE's algorithms only.
    """

    public_key: bytes
    weights: tuple[int, ...]
    blocks: tuple[AnnouncedBlock, ...]
    insecure_small_keys: bool = False

    @property
    def size_bytes(self) -> int:
        """The size of all blocks together."""
        return sum(block.size_bytes for block in self.blocks)


@dataclass(frozen=True, slots=True)
class CombinePlan(Record[pb.CombineResultHeader]):
    """The size of the resulting block; the first part of an answer."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class CombineSummary(Record[pb.CombineSummary]):
    """The cost of a weighted sum, summed over workers; the last part of an answer."""

    compute_seconds: float


CompareAllRequestPart = CompareAllHeader | bytes
CompareAllPart = ProductsResult | CompareAllSummary
CombineRequestPart = CombineHeader | bytes
CombinePart = CombinePlan | bytes | CombineSummary

COMPARE_ALL_REQUEST: Parts[pb.CompareAllRequest, CompareAllRequestPart] = Parts(
    pb.CompareAllRequest, CompareAllRequestPart
)
COMPARE_ALL: Parts[pb.CompareAllResponse, CompareAllPart] = Parts(pb.CompareAllResponse, CompareAllPart)
COMBINE_REQUEST: Parts[pb.CombineRequest, CombineRequestPart] = Parts(pb.CombineRequest, CombineRequestPart)
COMBINE: Parts[pb.CombineResponse, CombinePart] = Parts(pb.CombineResponse, CombinePart)
