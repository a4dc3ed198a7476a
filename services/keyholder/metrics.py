"""Metrics of the keyholder."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily

from blindsight.runtime.metrics import LONG_SECONDS, SECONDS, Reading
from blindsight.trusted.metrics import CryptoMetrics

REGISTRY = CollectorRegistry()

PROCESS_RESTARTS = Counter(
    "blindsight_keyholder_process_restarts_total",
    "Worker processes that died and were replaced.",
    registry=REGISTRY,
)
EMBED_SECONDS = Histogram(
    "blindsight_keyholder_embed_seconds",
    "Describing one photo, from the request of a worker to its vector.",
    ("embedder",),
    buckets=SECONDS,
    registry=REGISTRY,
)
KEYGEN_SECONDS = Histogram(
    "blindsight_keyholder_keygen_seconds",
    "Making one secret key.",
    ("scheme", "parameter_set"),
    buckets=SECONDS,
    registry=REGISTRY,
)
ENCRYPT_SECONDS = Histogram(
    "blindsight_keyholder_encrypt_seconds",
    "Encrypting one group of queries, one batch of a gallery, both sides of a pair, or one side of a match.",
    ("scheme", "parameter_set"),
    buckets=SECONDS,
    registry=REGISTRY,
)
DECRYPT_SECONDS = Histogram(
    "blindsight_keyholder_decrypt_seconds",
    "Opening all answers to one group of queries, one pair or one match; or one segment for a repack.",
    ("scheme", "parameter_set"),
    buckets=SECONDS,
    registry=REGISTRY,
)
ANSWER_ERRORS = Counter(
    "blindsight_keyholder_answer_errors_total",
    "Answers of the evaluator or storage that were not what they should be, and were refused.",
    registry=REGISTRY,
)
CALLS = Counter(
    "blindsight_keyholder_calls_total",
    "Calls that were let in.",
    ("role", "code"),
    registry=REGISTRY,
)
QUERIES = Counter(
    "blindsight_keyholder_queries_total",
    "Queries of searches and verifications.",
    ("role",),
    registry=REGISTRY,
)
AUDIT_FAILURES = Counter(
    "blindsight_keyholder_audit_errors_total",
    "Times that records could not be written to the audit log.",
    registry=REGISTRY,
)
AUDIT_DAMAGED = Gauge(
    "blindsight_keyholder_audit_damage_errors",
    "Whether the audit log was found damaged when the keyholder started: 1 if it was.",
    registry=REGISTRY,
)
COMBINE_KEYGEN_SECONDS = Histogram(
    "blindsight_keyholder_combine_keygen_seconds",
    "Making one key of an additive scheme.",
    ("scheme",),
    buckets=LONG_SECONDS,
    registry=REGISTRY,
)
COMBINE_ENCRYPT_SECONDS = Histogram(
    "blindsight_keyholder_combine_encrypt_seconds",
    "Encrypting one picture or array under an additive scheme.",
    ("scheme",),
    buckets=LONG_SECONDS,
    registry=REGISTRY,
)
COMBINE_DECRYPT_SECONDS = Histogram(
    "blindsight_keyholder_combine_decrypt_seconds",
    "Decrypting one weighted sum under an additive scheme.",
    ("scheme",),
    buckets=LONG_SECONDS,
    registry=REGISTRY,
)
IMAGING_SECONDS = Histogram(
    "blindsight_keyholder_imaging_seconds",
    "Processing one picture or pair from the decoded picture to the result, by kind of operation.",
    ("operation", "scheme"),
    buckets=LONG_SECONDS,
    registry=REGISTRY,
)
IMAGING_LIMIT_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_keyholder_imaging_limit_bytes",
    "Memory of all image processing at once.",
    registry=REGISTRY,
)
IMAGING_HELD_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_keyholder_imaging_held_bytes",
    "Memory that running jobs of image processing may take, by estimates.",
    registry=REGISTRY,
)
IMAGING_WAITING_JOBS = Reading(
    GaugeMetricFamily,
    "blindsight_keyholder_imaging_waiting_jobs",
    "Jobs of image processing that wait for memory.",
    registry=REGISTRY,
)

CRYPTO = CryptoMetrics(EMBED_SECONDS, ENCRYPT_SECONDS, PROCESS_RESTARTS, DECRYPT_SECONDS)
