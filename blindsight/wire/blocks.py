"""The evaluator's messages about blocks of no collection: weighted sums, and all rows by all queries."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.rpc.evaluator.v1 import evaluator_pb2 as pb
from blindsight.wire.records import Parts, Record


@dataclass(frozen=True, slots=True)
class AnnouncedBlock(Record[pb.AnnouncedBlock]):
    """A block that will be sent."""

    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class CompareAllHeader(Record[pb.CompareAllHeader]):
    """Announces rows and queries, each block one after the other.

    Attributes:
        columns: ciphertexts of each row and of each query.
        gallery, queries: the blocks, in the order in which they come.
    """

    columns: int
    gallery: AnnouncedBlock
    queries: AnnouncedBlock


@dataclass(frozen=True, slots=True)
class ProductsResult(Record[pb.CompareAllResult]):
    """Encrypted products of one query with consecutive rows, each a ciphertext of three polynomials."""

    query: int
    first_row: int
    block: bytes


@dataclass(frozen=True, slots=True)
class CompareAllSummary(Record[pb.CompareAllSummary]):
    """What a comparison cost: reading both blocks, and multiplying; comes last."""

    expand_seconds: float
    kernel_seconds: float


@dataclass(frozen=True, slots=True)
class CombineHeader(Record[pb.CombineHeader]):
    """Announces the blocks of a weighted sum.

    Attributes:
        public_key: that the blocks are under; of an additive scheme: "BSAP".
        weights: in the clear, one for each block.
        blocks: in the order in which they come.
        insecure_small_keys: whether a key that anybody can break is taken; LightPHE's algorithms only.
    """

    public_key: bytes
    weights: tuple[int, ...]
    blocks: tuple[AnnouncedBlock, ...]
    insecure_small_keys: bool = False

    @property
    def size_bytes(self) -> int:
        """All blocks together."""
        return sum(block.size_bytes for block in self.blocks)


@dataclass(frozen=True, slots=True)
class CombinePlan(Record[pb.CombineResultHeader]):
    """Announces the block of a weighted sum; comes first."""

    size_bytes: int


@dataclass(frozen=True, slots=True)
class CombineSummary(Record[pb.CombineSummary]):
    """What a weighted sum cost, summed up over workers; comes last."""

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
