"""Metrics of a worker of bulk ingest."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

from blindsight.runtime.metrics import SECONDS
from blindsight.trusted.metrics import CryptoMetrics

REGISTRY = CollectorRegistry()

PROCESS_RESTARTS = Counter(
    "blindsight_worker_process_restarts_total",
    "Worker processes that died and were replaced.",
    registry=REGISTRY,
)
EMBED_SECONDS = Histogram(
    "blindsight_worker_embed_seconds",
    "Describing one photo of bulk ingest, with the wait for a process to do it.",
    ("embedder",),
    buckets=SECONDS,
    registry=REGISTRY,
)
ENCRYPT_SECONDS = Histogram(
    "blindsight_worker_encrypt_seconds",
    "Encrypting one batch of a gallery in bulk ingest.",
    ("scheme", "parameter_set"),
    buckets=SECONDS,
    registry=REGISTRY,
)
ITEMS = Counter(
    "blindsight_worker_items_total",
    "Items of bulk ingest that were reported, by outcome: done, duplicate or failed.",
    ("outcome",),
    registry=REGISTRY,
)

CRYPTO = CryptoMetrics(EMBED_SECONDS, ENCRYPT_SECONDS, PROCESS_RESTARTS)
