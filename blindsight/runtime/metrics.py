"""The catalogue of Prometheus metrics: all names in one place, each in the registry of its service.

Labels come from closed sets only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass

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
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from blindsight.errors import BlindsightError
from blindsight.runtime import host as processes
from blindsight.runtime.settings import ProcessSettings, ServiceSettings

# What one service measures; the others' processes import this file too, but serve none of it.
KEYHOLDER, EVALUATOR, STORAGE = CollectorRegistry(), CollectorRegistry(), CollectorRegistry()
WORKER = CollectorRegistry()


class Reading(Collector):
    """A metric without labels that is read when it is scraped, and absent while it cannot be read.

    Args:
        family: its type.
        name, documentation: as for any metric.
        registry: as for any metric; None for one that all services share.
    """

    def __init__(
        self,
        family: type[GaugeMetricFamily | CounterMetricFamily],
        name: str,
        documentation: str,
        registry: CollectorRegistry | None,
    ) -> None:
        self._family, self._name, self._documentation = family, name, documentation
        self._read: Callable[[], float] | None = None
        if registry is not None:
            registry.register(self)

    def read_by(self, function: Callable[[], float]) -> None:
        """Gives it what to read; OSError and BlindsightError mean that it cannot be read now."""
        self._read = function

    def describe(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        yield self._family(self._name, self._documentation)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        (family,) = self.describe()
        if self._read is not None:
            try:
                family.add_metric((), self._read())
            except (OSError, BlindsightError):
                return
        yield family


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
RPC_IN_FLIGHT = Gauge(
    "grpc_server_in_flight",
    "Rpcs that are being answered now.",
    ("grpc_service", "grpc_method"),
    registry=None,
)
RPC_ERRORS = Counter(
    "blindsight_rpc_errors_total",
    "Rpcs that ended with an error, by method and reason.",
    ("grpc_service", "grpc_method", "reason"),
    registry=None,
)
CPU_SECONDS = Reading(
    CounterMetricFamily,
    "blindsight_cpu_seconds_total",
    "Processor time of the service and its workers.",
    registry=None,
)
MEMORY_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_memory_bytes",
    "Resident memory of the service and its workers, shared pages once.",
    registry=None,
)
DISK_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_disk_bytes",
    "Size of the file system of the data folder.",
    registry=None,
)
DISK_FREE_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_disk_free_bytes",
    "What the service may still write to the file system of its data folder.",
    registry=None,
)
SHARED: tuple[Collector, ...] = (
    RPC_HANDLED,
    RPC_SECONDS,
    RPC_IN_FLIGHT,
    RPC_ERRORS,
    CPU_SECONDS,
    MEMORY_BYTES,
    DISK_BYTES,
    DISK_FREE_BYTES,
)

KEYHOLDER_RESTARTS = Counter(
    "blindsight_keyholder_worker_restarts_total",
    "Worker processes that died and were replaced.",
    registry=KEYHOLDER,
)
EVALUATOR_RESTARTS = Counter(
    "blindsight_evaluator_worker_restarts_total",
    "Worker processes that died and were replaced.",
    registry=EVALUATOR,
)

EMBED_SECONDS = Histogram(
    "blindsight_keyholder_embed_seconds",
    "Describing one photo, from the request of a worker to its vector.",
    ("embedder",),
    buckets=_SECONDS,
    registry=KEYHOLDER,
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
WORKER_RESTARTS = Counter(
    "blindsight_worker_worker_restarts_total",
    "Worker processes that died and were replaced.",
    registry=WORKER,
)
WORKER_EMBED_SECONDS = Histogram(
    "blindsight_worker_embed_seconds",
    "Describing one photo of bulk ingest, with the wait for a process to do it.",
    ("embedder",),
    buckets=_SECONDS,
    registry=WORKER,
)
WORKER_ENCRYPT_SECONDS = Histogram(
    "blindsight_worker_encrypt_seconds",
    "Encrypting one batch of a gallery in bulk ingest.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
    registry=WORKER,
)


@dataclass(frozen=True)
class Ingesting:
    """What keyholder and workers measure alike, each under names of its own."""

    embed: Histogram
    encrypt: Histogram
    restarts: Counter


AT_KEYHOLDER = Ingesting(EMBED_SECONDS, ENCRYPT_SECONDS, KEYHOLDER_RESTARTS)
AT_WORKER = Ingesting(WORKER_EMBED_SECONDS, WORKER_ENCRYPT_SECONDS, WORKER_RESTARTS)

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
COMPARE_ALL_SECONDS = Histogram(
    "blindsight_evaluator_compare_all_seconds",
    "Multiplying all rows by all queries of one call, from its first byte to the last result.",
    ("scheme", "parameter_set"),
    buckets=_SECONDS,
    registry=EVALUATOR,
)
REFRESH_SECONDS = Histogram(
    "blindsight_evaluator_refresh_seconds",
    "Bringing one gallery up to date: asking storage, fetching and building.",
    buckets=_SECONDS,
    registry=EVALUATOR,
)
CACHE_BYTES = Gauge(
    "blindsight_evaluator_cache_bytes", "Bytes of galleries ready to be scored.", registry=EVALUATOR
)
CACHE_LIMIT_BYTES = Gauge(
    "blindsight_evaluator_cache_limit_bytes",
    "Over it, the galleries that were not used for longest go.",
    registry=EVALUATOR,
)
CACHE_COLLECTIONS = Gauge(
    "blindsight_evaluator_cache_collections", "Galleries ready to be scored.", registry=EVALUATOR
)
CACHE_SEGMENTS = Gauge(
    "blindsight_evaluator_cache_segments", "Segments of galleries ready to be scored.", registry=EVALUATOR
)
CACHE_EVICTIONS = Counter(
    "blindsight_evaluator_cache_evictions_total",
    "Galleries that made room for others.",
    registry=EVALUATOR,
)
STORED_BYTES = Counter(
    "blindsight_storage_stored_bytes_total", "Bytes of committed appends.", registry=STORAGE
)
STORED_ITEMS = Counter(
    "blindsight_storage_stored_items_total", "Items of committed appends.", registry=STORAGE
)
STORAGE_COLLECTIONS = Reading(
    GaugeMetricFamily, "blindsight_storage_collections", "Collections that are kept.", registry=STORAGE
)
STORAGE_ITEMS = Reading(
    GaugeMetricFamily, "blindsight_storage_items", "Items that are live.", registry=STORAGE
)
STORAGE_DISK_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_storage_disk_bytes",
    "Size of the database and of its write-ahead log.",
    registry=STORAGE,
)
STORAGE_LOG_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_storage_write_ahead_log_bytes",
    "Size of the write-ahead log alone.",
    registry=STORAGE,
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
PLANES_SECONDS = Histogram(
    "blindsight_evaluator_planes_seconds",
    "Computing with encrypted pixel planes, from the first tile to the last result: by operation.",
    ("operation", "scheme", "parameter_set"),
    buckets=_LONG_SECONDS,
    registry=EVALUATOR,
)
IMAGING_SECONDS = Histogram(
    "blindsight_keyholder_imaging_seconds",
    "Processing one picture or pair from the decoded picture to the result, by kind of operation.",
    ("operation", "scheme"),
    buckets=_LONG_SECONDS,
    registry=KEYHOLDER,
)

IMAGING_LIMIT_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_keyholder_imaging_limit_bytes",
    "Memory of all image processing at once.",
    registry=KEYHOLDER,
)
IMAGING_HELD_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_keyholder_imaging_held_bytes",
    "Memory that running jobs of image processing may take, by estimates.",
    registry=KEYHOLDER,
)
IMAGING_WAITING_JOBS = Reading(
    GaugeMetricFamily,
    "blindsight_keyholder_imaging_waiting_jobs",
    "Jobs of image processing that wait for memory.",
    registry=KEYHOLDER,
)


def serve(own: CollectorRegistry, settings: ProcessSettings) -> None:
    """Serves /metrics: a service's own metrics and what all share; metrics_port 0 means not at all."""
    if not settings.metrics_port:
        return
    # They are a second family for each counter and histogram, which nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    CPU_SECONDS.read_by(processes.cpu_seconds)
    MEMORY_BYTES.read_by(processes.memory_bytes)
    if isinstance(settings, ServiceSettings):
        data = settings.data
        DISK_BYTES.read_by(lambda: shutil.disk_usage(data).total)
        DISK_FREE_BYTES.read_by(lambda: shutil.disk_usage(data).free)
    for shared in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, *SHARED):
        own.register(shared)
    start_http_server(settings.metrics_port, addr=settings.metrics_host, registry=own)
