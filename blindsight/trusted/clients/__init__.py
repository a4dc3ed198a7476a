"""Clients of the two untrusted services, for the keyholder and its workers."""

from blindsight.trusted.clients.evaluator import EvaluatorClient
from blindsight.trusted.clients.planes import Blocks
from blindsight.trusted.clients.storage import StorageClient

__all__ = ["Blocks", "EvaluatorClient", "StorageClient"]
