"""The two untrusted services, as the keyholder calls them."""

from blindsight.trusted.clients.evaluator import EvaluatorClient
from blindsight.trusted.clients.parts import (
    Blocks,
    PlanePart,
    PlanePlan,
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
from blindsight.trusted.clients.storage import StorageClient

__all__ = [
    "Blocks",
    "EvaluatorClient",
    "PlanePart",
    "PlanePlan",
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
