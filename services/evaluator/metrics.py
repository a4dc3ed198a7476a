"""Metrics of the evaluator."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from blindsight.runtime.metrics import LONG_SECONDS, SECONDS

REGISTRY = CollectorRegistry()

PROCESS_RESTARTS = Counter(
    "blindsight_evaluator_process_restarts_total",
    "Worker processes that died and were replaced.",
    registry=REGISTRY,
)
SCORE_SECONDS = Histogram(
    "blindsight_evaluator_score_seconds",
    "Scoring one group of queries, from its first byte to the last result.",
    ("scheme", "parameter_set"),
    buckets=SECONDS,
    registry=REGISTRY,
)
COMPARE_ALL_SECONDS = Histogram(
    "blindsight_evaluator_compare_all_seconds",
    "Multiplying all rows by all queries of one call, from its first byte to the last result.",
    ("scheme", "parameter_set"),
    buckets=SECONDS,
    registry=REGISTRY,
)
REFRESH_SECONDS = Histogram(
    "blindsight_evaluator_refresh_seconds",
    "Bringing one gallery up to date: asking storage, fetching and building.",
    buckets=SECONDS,
    registry=REGISTRY,
)
CACHE_BYTES = Gauge(
    "blindsight_evaluator_cache_bytes", "Bytes of galleries ready to be scored.", registry=REGISTRY
)
CACHE_LIMIT_BYTES = Gauge(
    "blindsight_evaluator_cache_limit_bytes",
    "Over it, the galleries that were not used for longest go.",
    registry=REGISTRY,
)
CACHE_COLLECTIONS = Gauge(
    "blindsight_evaluator_cache_collections", "Galleries ready to be scored.", registry=REGISTRY
)
CACHE_SEGMENTS = Gauge(
    "blindsight_evaluator_cache_segments", "Segments of galleries ready to be scored.", registry=REGISTRY
)
CACHE_EVICTIONS = Counter(
    "blindsight_evaluator_cache_evictions_total",
    "Galleries that made room for others.",
    registry=REGISTRY,
)
COMBINE_SECONDS = Histogram(
    "blindsight_evaluator_combine_seconds",
    "Computing one weighted sum of encrypted arrays.",
    ("scheme",),
    buckets=LONG_SECONDS,
    registry=REGISTRY,
)
PLANES_SECONDS = Histogram(
    "blindsight_evaluator_planes_seconds",
    "Computing with encrypted pixel planes, from the first tile to the last result: by operation.",
    ("operation", "scheme", "parameter_set"),
    buckets=LONG_SECONDS,
    registry=REGISTRY,
)
