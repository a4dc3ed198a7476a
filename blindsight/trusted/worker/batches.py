"""Gathers opened messages by collection, so that their vectors share ciphertexts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from blindsight.trusted.keyholder.operations.photos import BATCH_BYTES
from blindsight.trusted.worker.opening import Opened


@dataclass(slots=True)
class _Batch:
    """Of one collection."""

    since: float
    opened: list[Opened] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it is a segment's worth, or enough for one append."""
        collection = self.opened[0].collection
        most = collection.layout.main.capacity if collection is not None else 1
        return len(self.opened) >= most or self.size_bytes >= BATCH_BYTES


class Batches:
    """What waits for company.

    Args:
        linger_seconds: how long at most.
    """

    def __init__(self, linger_seconds: float) -> None:
        self._linger_seconds = linger_seconds
        self._waiting: dict[bytes, _Batch] = {}

    def add(self, opened: Opened) -> None:
        """Adds a message to those of its collection."""
        batch = self._waiting.setdefault(opened.photo.collection_id, _Batch(time.monotonic()))
        batch.opened.append(opened)
        batch.size_bytes += opened.held_bytes

    def due(self, *, nothing_comes: bool) -> list[list[Opened]]:
        """Takes out the batches that are to be stored now.

        Args:
            nothing_comes: when nobody can join any more, all of them.
        """
        now = time.monotonic()
        ripe = [
            key
            for key, batch in self._waiting.items()
            if nothing_comes or batch.full or now - batch.since >= self._linger_seconds
        ]
        return [self._waiting.pop(key).opened for key in ripe]
