"""The catalogue of Prometheus metrics.  Labels come from closed sets only."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram, start_http_server

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)

RPC_HANDLED = Counter(
    "grpc_server_handled_total",
    "Rpcs that were completed, by method and status code.",
    ("grpc_service", "grpc_method", "grpc_code"),
)
RPC_SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "Time from the request to the end of the response.",
    ("grpc_service", "grpc_method"),
    buckets=_SECONDS,
)
KEYHOLDER_RESTARTS = Counter(
    "blindsight_keyholder_worker_restarts_total", "Worker pools that were replaced after a worker died."
)
EVALUATOR_RESTARTS = Counter(
    "blindsight_evaluator_worker_restarts_total", "Worker pools that were replaced after a worker died."
)

KEYGEN_SECONDS = Histogram(
    "blindsight_keyholder_keygen_seconds",
    "Making one secret key.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
)
ENCRYPT_SECONDS = Histogram(
    "blindsight_keyholder_encrypt_seconds",
    "Encrypting one query or one batch of a gallery.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
)
DECRYPT_SECONDS = Histogram(
    "blindsight_keyholder_decrypt_seconds",
    "Decrypting all results of one search.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
)
SCORE_SECONDS = Histogram(
    "blindsight_evaluator_score_seconds",
    "Scoring one encrypted search over a whole collection.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
)
COMPARE_SECONDS = Histogram(
    "blindsight_evaluator_compare_seconds",
    "Multiplying one encrypted row by one encrypted query.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
)
CACHE_BYTES = Gauge("blindsight_evaluator_cache_bytes", "Bytes of galleries ready to be scored.")
STORED_BYTES = Counter("blindsight_storage_stored_bytes_total", "Bytes of committed appends.")
STORED_ITEMS = Counter("blindsight_storage_stored_items_total", "Items of committed appends.")


def serve(port: int) -> None:
    """Serves /metrics on loopback; port 0 means not at all."""
    if port:
        start_http_server(port, addr="127.0.0.1")
