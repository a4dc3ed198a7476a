"""The catalogue of Prometheus metrics: all names in one place, each in the registry of its service.

Labels come from closed sets only.
"""

from __future__ import annotations

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    start_http_server,
)

# What one service measures; the others' processes import this file too, but serve none of it.
KEYHOLDER, EVALUATOR, STORAGE = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
WORKER = CollectorRegistry()

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# LightPHE's algorithms take a second for what others do in a millisecond.
_LONG_SECONDS = (*_SECONDS, 120, 300, 600)

# In no registry until a service serves them with its own.
RPC_HANDLED = Counter(
    "grpc_server_handled_total",
    "Rpcs that were completed, by method and status code.",
    ("grpc_service", "grpc_method", "grpc_code"),
    registry=None,
)
RPC_SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "Time from the request to the end of the response.",
    ("grpc_service", "grpc_method"),
    buckets=_SECONDS,
    registry=None,
)
_SHARED = (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, RPC_HANDLED, RPC_SECONDS)

KEYHOLDER_RESTARTS = Counter(
    "blindsight_keyholder_worker_restarts_total",
    "Worker pools that were replaced after a worker died.",
    registry=KEYHOLDER,
)
EVALUATOR_RESTARTS = Counter(
    "blindsight_evaluator_worker_restarts_total",
    "Worker pools that were replaced after a worker died.",
    registry=EVALUATOR,
)

KEYGEN_SECONDS = Histogram(
    "blindsight_keyholder_keygen_seconds",
    "Making one secret key.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
    registry=KEYHOLDER,
)
ENCRYPT_SECONDS = Histogram(
    "blindsight_keyholder_encrypt_seconds",
    "Encrypting one group of queries, one batch of a gallery, or both sides of one pair.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
    registry=KEYHOLDER,
)
DECRYPT_SECONDS = Histogram(
    "blindsight_keyholder_decrypt_seconds",
    "Decrypting all results of one group of queries, one pair, or one segment for a repack.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
    registry=KEYHOLDER,
)
SCORE_SECONDS = Histogram(
    "blindsight_evaluator_score_seconds",
    "Scoring one group of queries, from its first byte to the last result.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
    registry=EVALUATOR,
)
COMPARE_SECONDS = Histogram(
    "blindsight_evaluator_compare_seconds",
    "Multiplying one encrypted row by one encrypted query.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
    registry=EVALUATOR,
)
CACHE_BYTES = Gauge(
    "blindsight_evaluator_cache_bytes", "Bytes of galleries ready to be scored.", registry=EVALUATOR
)
STORED_BYTES = Counter(
    "blindsight_storage_stored_bytes_total", "Bytes of committed appends.", registry=STORAGE
)
STORED_ITEMS = Counter(
    "blindsight_storage_stored_items_total", "Items of committed appends.", registry=STORAGE
)
WORKER_ITEMS = Counter(
    "blindsight_worker_items_total",
    "Items of bulk ingest that were reported, by outcome: done, duplicate or failed.",
    ("outcome",),
    registry=WORKER,
)
COMBINE_KEYGEN_SECONDS = Histogram(
    "blindsight_keyholder_combine_keygen_seconds",
    "Making one key of an additive scheme.",
    ("scheme",),
    buckets=_LONG_SECONDS,
    registry=KEYHOLDER,
)
COMBINE_ENCRYPT_SECONDS = Histogram(
    "blindsight_keyholder_combine_encrypt_seconds",
    "Encrypting one picture or array under an additive scheme.",
    ("scheme",),
    buckets=_LONG_SECONDS,
    registry=KEYHOLDER,
)
COMBINE_DECRYPT_SECONDS = Histogram(
    "blindsight_keyholder_combine_decrypt_seconds",
    "Decrypting one weighted sum under an additive scheme.",
    ("scheme",),
    buckets=_LONG_SECONDS,
    registry=KEYHOLDER,
)
COMBINE_SECONDS = Histogram(
    "blindsight_evaluator_combine_seconds",
    "Computing one weighted sum of encrypted arrays.",
    ("scheme",),
    buckets=_LONG_SECONDS,
    registry=EVALUATOR,
)


def serve(own: CollectorRegistry, port: int) -> None:
    """Serves /metrics on loopback: a service's own metrics and what all share; port 0 means not at all."""
    if port:
        # They are a second family for each counter and histogram, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        for shared in _SHARED:
            own.register(shared)
        start_http_server(port, addr="127.0.0.1", registry=own)
