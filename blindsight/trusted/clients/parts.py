"""What passes between the keyholder and the evaluator, as the keyholder's rooms see it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.planes import Stack
from blindsight.packing.segments import Region
from blindsight.parameters import ParameterSet


@dataclass(frozen=True, slots=True)
class ScorePlan:
    """What an evaluator's answer covers."""

    sequence: int
    epoch: int
    segments: int


@dataclass(frozen=True, slots=True)
class ScoreResult:
    """Encrypted scores of some segments and consecutive queries: block order is [segment][query]."""

    region: Region
    segments: tuple[int, ...]
    first_query: int
    queries: int
    block: bytes


@dataclass(frozen=True, slots=True)
class ProductsResult:
    """Encrypted products of one query with consecutive rows."""

    query: int
    first_row: int
    block: bytes


@dataclass(frozen=True, slots=True)
class ScoreSummary:
    """The evaluator's own account of a search."""

    refresh_seconds: float
    expand_seconds: float
    kernel_seconds: float
    scanned_bytes: int


@dataclass(frozen=True, slots=True)
class SentPlanes:
    """Tiles that this keyholder sends."""

    parameters: ParameterSet
    key_id: bytes
    ciphertexts: int
    halo: int


@dataclass(frozen=True, slots=True)
class StoredPlanes:
    """Tiles that storage has of one photo."""

    collection_id: bytes
    handle: bytes


@dataclass(frozen=True, slots=True)
class StackedPlanes:
    """Rows of a stack that this keyholder sends, under Paillier; `header` is that of a row."""

    public_key: AdditivePublicKey
    header: AdditiveHeader
    stack: Stack


PlaneSource = SentPlanes | StoredPlanes | StackedPlanes


@dataclass(frozen=True, slots=True)
class PlanePlan:
    """What is to come: how many ciphertexts a result has."""

    ciphertexts: int


@dataclass(frozen=True, slots=True)
class PlaneResult:
    """Consecutive tiles of the result of one kernel."""

    kernel: int
    first: int
    block: bytes


@dataclass(frozen=True, slots=True)
class PlaneSummary:
    """What it cost the evaluator, summed up over its workers."""

    compute_seconds: float


# Tiles from the first on, each time that it is called: encrypted anew where the connection was lost.
Blocks = Callable[[], AsyncIterator[bytes]]
PlanePart = PlanePlan | PlaneResult | PlaneSummary
ScorePart = ScorePlan | ScoreResult | ScoreSummary
