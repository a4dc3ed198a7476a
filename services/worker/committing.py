"""Stores prepared items, and reports the outcome of each."""

from __future__ import annotations

from collections.abc import Sequence

from blindsight.errors import NotFound
from blindsight.runtime.retry import retry
from blindsight.trusted.ingest.pipeline import Pipeline
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.wire.workers import ItemState
from services.worker.preparing import PreparedMessage


async def commit(
    pipeline: Pipeline, collection: OpenCollection, batch: Sequence[PreparedMessage]
) -> list[PreparedMessage]:
    """Stores the prepared photos in a batch of one collection; returns all of the batch, with reports.

    Raises:
        BlindsightError: if storing failed with an error that does not pass; some of the batch may be stored.
    """
    ready = [one for one in batch if one.prepared is not None]
    told = [one for one in batch if one.prepared is None]
    if not ready:
        return told
    prepared = [one.prepared for one in ready if one.prepared is not None]
    try:
        own = await retry("storage", lambda: pipeline.store(collection, prepared))
    except NotFound as error:
        return told + [one.with_outcome(ItemState.FAILED, error) for one in ready]
    return told + [
        one.in_storage(own=mine, remark=item.remark if mine else "")
        for one, item, mine in zip(ready, prepared, own, strict=True)
    ]
