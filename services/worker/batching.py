"""Gathers opened messages by collection, so that their vectors share ciphertexts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from blindsight.trusted.ingest.photos import BATCH_BYTES
from services.worker.preparing import Opened

# The end of an import is not worth waiting for as long as a slow sender's next photo.
QUIET_PART = 1 / 8


@dataclass(slots=True)
class _Batch:
    """Of one collection."""

    since: float
    most: int
    opened: list[Opened] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether it is a segment's worth, or enough for one append."""
        collection = self.opened[0].collection
        most = min(collection.layout.main.capacity, self.most) if collection is not None else 1
        return len(self.opened) >= most or self.size_bytes >= BATCH_BYTES


class Batches:
    """What waits for company.

    Args:
        linger_seconds: how long at most.
        most: how many at most.
    """

    def __init__(self, linger_seconds: float, most: int) -> None:
        self._linger_seconds = linger_seconds
        self._most = most
        self._waiting: dict[bytes, _Batch] = {}

    def add(self, opened: Opened) -> None:
        """Adds a message to those of its collection."""
        batch = self._waiting.setdefault(opened.photo.collection_id, _Batch(time.monotonic(), self._most))
        batch.opened.append(opened)
        batch.size_bytes += opened.held_bytes

    def due(self, *, nothing_comes: bool, quiet_seconds: float = 0.0) -> list[list[Opened]]:
        """Takes out the batches that are to be stored now.

        Args:
            nothing_comes: when nobody can join any more, all of them.
            quiet_seconds: for how long nobody has been on the way; after a part of the time to linger, too.
        """
        now = time.monotonic()
        alone = nothing_comes or quiet_seconds > QUIET_PART * self._linger_seconds
        ripe = [
            key
            for key, batch in self._waiting.items()
            if alone or batch.full or now - batch.since >= self._linger_seconds
        ]
        return [self._waiting.pop(key).opened for key in ripe]
