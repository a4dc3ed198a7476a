"""Tenants as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from blindsight.rpc.keyholder.v1 import tenants_pb2 as pb
from blindsight.wire.records import Record


@dataclass(frozen=True, slots=True)
class Quotas(Record[pb.Quotas]):
    """What a tenant may use; None: as much as there is.

    Attributes:
        items: of all collections; each vector of an item counts.
        size_bytes: that storage has of all collections.
        requests_per_second: on average.
        heavy_jobs: at once: ingests, image processing, weighted sums, checks, repacks.
        max_collections: at once, empty ones too.
    """

    items: int | None = None
    size_bytes: int | None = None
    requests_per_second: float | None = None
    heavy_jobs: int | None = None
    max_collections: int | None = None


@dataclass(frozen=True, slots=True)
class Tenant(Record[pb.Tenant]):
    """A tenant.

    Attributes:
        id: 32 hex digits.
        name: for the operator alone.
        created: when.
        quotas: what it may use.
        items, size_bytes: that it has; None: storage does not answer.
        heavy_jobs: that run.
        deleting: whether its keys are destroyed, and collections may be left.
    """

    id: str
    name: str
    created: datetime
    quotas: Quotas
    items: int | None = None
    size_bytes: int | None = None
    heavy_jobs: int = 0
    deleting: bool = False
