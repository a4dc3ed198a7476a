"""Metrics of the storage service."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily

from blindsight.runtime.metrics import Reading

REGISTRY = CollectorRegistry()

STORED_BYTES = Counter(
    "blindsight_storage_stored_bytes_total", "Bytes of committed appends.", registry=REGISTRY
)
STORED_ITEMS = Counter(
    "blindsight_storage_stored_items_total", "Items of committed appends.", registry=REGISTRY
)
COLLECTIONS = Reading(
    GaugeMetricFamily, "blindsight_storage_collections", "Collections that are kept.", registry=REGISTRY
)
ITEMS = Reading(GaugeMetricFamily, "blindsight_storage_items", "Items that are live.", registry=REGISTRY)
DISK_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_storage_disk_bytes",
    "Size of the database and of its write-ahead log.",
    registry=REGISTRY,
)
LOG_BYTES = Reading(
    GaugeMetricFamily,
    "blindsight_storage_write_ahead_log_bytes",
    "Size of the write-ahead log alone.",
    registry=REGISTRY,
)
