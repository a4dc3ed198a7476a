"""Gathers prepared messages by collection, so that their vectors share ciphertexts."""

from __future__ import annotations

import time

from blindsight.trusted.ingest.pipeline import Batch
from services.worker.preparing import PreparedMessage

# Part of the linger time after which batches are stored if nothing comes: the import has then likely ended.
QUIET_PART = 1 / 8


class Batches:
    """Prepared messages that wait for others of their collection.

    Args:
        linger_seconds: how long a batch waits at most.
        most: messages of a batch at most.
    """

    def __init__(self, linger_seconds: float, most: int) -> None:
        self._linger_seconds = linger_seconds
        self._most = most
        self._waiting: dict[bytes, Batch[PreparedMessage]] = {}

    def add(self, message: PreparedMessage) -> None:
        """Adds a message to the batch of its collection."""
        batch = self._waiting.setdefault(message.photo.collection_id, Batch(message.collection, self._most))
        batch.add(message, message.prepared)

    def due(self, *, nothing_comes: bool, quiet_seconds: float = 0.0) -> list[list[PreparedMessage]]:
        """Removes and returns the batches that are to be stored now.

        Args:
            nothing_comes: whether no other message can join any more; then all batches are due.
            quiet_seconds: how long no message has been on its way; all batches are due, too, once this is
                more than `QUIET_PART` of the linger time.
        """
        now = time.monotonic()
        alone = nothing_comes or quiet_seconds > QUIET_PART * self._linger_seconds
        ripe = [
            key
            for key, batch in self._waiting.items()
            if alone or batch.full or now - batch.since >= self._linger_seconds
        ]
        return [self._waiting.pop(key).entries for key in ripe]
