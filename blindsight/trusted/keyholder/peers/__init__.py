"""The two untrusted services, as the keyholder calls them."""

from blindsight.trusted.keyholder.peers.evaluator import EvaluatorClient
from blindsight.trusted.keyholder.peers.parts import (
    Blocks,
    PlanePart,
    PlaneResult,
    PlaneSource,
    PlaneSummary,
    ProductsResult,
    ScorePlan,
    ScoreResult,
    ScoreSummary,
    SentPlanes,
    StackedPlanes,
    StoredPlanes,
)
from blindsight.trusted.keyholder.peers.storage import StorageClient

__all__ = [
    "Blocks",
    "EvaluatorClient",
    "PlanePart",
    "PlaneResult",
    "PlaneSource",
    "PlaneSummary",
    "ProductsResult",
    "ScorePlan",
    "ScoreResult",
    "ScoreSummary",
    "SentPlanes",
    "StackedPlanes",
    "StorageClient",
    "StoredPlanes",
]
