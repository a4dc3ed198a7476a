"""Descriptions of collections for clients."""

from __future__ import annotations

from collections.abc import Iterable

from blindsight.packing.segments import Region
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.wire.collections import CollectionInfo
from blindsight.wire.times import of_unix


def collection(opened: OpenCollection, aliases: Iterable[str]) -> CollectionInfo:
    """Returns the description of a collection with these aliases."""
    record, config, slots = opened.record, opened.config, opened.slots
    return CollectionInfo(
        name=config.name,
        scheme=opened.parameters.scheme.name.lower(),
        parameter_set=opened.parameters.name,
        security=opened.parameters.security,
        embedder=config.embedder,
        dimension=config.dimension,
        metric=config.metric.value,
        expected_size=config.expected_size,
        max_norm=config.max_norm,
        stride=record.stride,
        items=opened.items,
        tail_items=slots.live_rows(Region.TAIL),
        deleted_items=slots.deleted_items(),
        size_bytes=record.size_bytes,
        score_error_bound=opened.score_error_bound,
        created=of_unix(record.created_unix_seconds),
        precision=opened.precision,
        plane_items=record.plane_items,
        plane_bytes=record.plane_bytes,
        channels=config.channels,
        query_visible_to_server=opened.parameters.query_visible,
        damage=opened.damage,
        quarantined_items=slots.quarantined_items(),
        undescribed_items=slots.undescribed_items(),
        aliases=tuple(aliases),
    )
