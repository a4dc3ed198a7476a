"""Prometheus metrics that all services share, and the server of /metrics.

The metrics of a single service are in its own `metrics` module.  Labels come from closed sets only.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from blindsight.errors import BlindsightError
from blindsight.runtime import host, metrics_server

if TYPE_CHECKING:
    from blindsight.runtime.settings import ProcessSettings


class Reading(Collector):
    """A metric without labels that is read when it is scraped, and absent while it cannot be read.

    Args:
        family: type of the metric.
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
        """Sets the function that reads the metric; its OSError or BlindsightError means not readable now."""
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


SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Buckets for longer calls: LightPHE's algorithms take a second for what others do in a millisecond.
LONG_SECONDS = (*SECONDS, 120, 300, 600)

# Without a registry: `serve` adds them to the service's own.
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
    buckets=SECONDS,
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


def serve(own: CollectorRegistry, settings: ProcessSettings) -> None:
    """Serves /metrics with a service's own metrics and the shared ones; does nothing if metrics_port is 0."""
    if not settings.metrics_port:
        return
    # Imported late: worker processes use this module, and need no settings.
    from blindsight.runtime.settings import ServiceSettings

    # The `_created` series would be a second family for each counter and histogram, which nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    CPU_SECONDS.read_by(host.cpu_seconds)
    MEMORY_BYTES.read_by(host.memory_bytes)
    if isinstance(settings, ServiceSettings):
        data = settings.data
        DISK_BYTES.read_by(lambda: shutil.disk_usage(data).total)
        DISK_FREE_BYTES.read_by(lambda: shutil.disk_usage(data).free)
    for shared in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, *SHARED):
        own.register(shared)
    certificates = settings.certificates if settings.metrics_tls else None
    metrics_server.start(own, settings.metrics_host, settings.metrics_port, certificates)
