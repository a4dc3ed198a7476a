"""Gathers prepared messages by collection, so that their vectors share ciphertexts."""

from __future__ import annotations

import time

from blindsight.trusted.ingest.pipeline import Batch
from services.worker.preparing import PreparedMessage

# The end of an import is not worth waiting for as long as a slow sender's next photo.
QUIET_PART = 1 / 8


class Batches:
    """What waits for company.

    Args:
        linger_seconds: how long at most.
        most: how many at most.
    """

    def __init__(self, linger_seconds: float, most: int) -> None:
        self._linger_seconds = linger_seconds
        self._most = most
        self._waiting: dict[bytes, Batch[PreparedMessage]] = {}

    def add(self, message: PreparedMessage) -> None:
        """Adds a message to those of its collection."""
        batch = self._waiting.setdefault(message.photo.collection_id, Batch(message.collection, self._most))
        batch.add(message, message.prepared)

    def due(self, *, nothing_comes: bool, quiet_seconds: float = 0.0) -> list[list[PreparedMessage]]:
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
        return [self._waiting.pop(key).entries for key in ripe]
