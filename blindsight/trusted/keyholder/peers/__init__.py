"""The two untrusted services, as the keyholder calls them."""

from blindsight.trusted.keyholder.peers.evaluator import (
    EvaluatorClient,
    ScorePlan,
    ScoreResult,
    ScoreSummary,
)
from blindsight.trusted.keyholder.peers.storage import StorageClient

__all__ = ["EvaluatorClient", "ScorePlan", "ScoreResult", "ScoreSummary", "StorageClient"]
