"""Keeps the evaluator close to the end of each collection's log."""

from __future__ import annotations

import asyncio

from blindsight.errors import BlindsightError
from blindsight.runtime import logs
from blindsight.trusted.clients import EvaluatorClient

# The evaluator is told after this much: often enough that the search after a long ingest waits for little,
# rarely enough that segments which are not full are not written again for every photo.
FOLLOW_BYTES = 64 << 20


class Follower:
    """Has the evaluator fetch what collections were given, in the background, before anyone searches.

    A failure is logged: a search makes the evaluator fetch what it lacks.

    Args:
        evaluator: the client of the evaluator.
    """

    def __init__(self, evaluator: EvaluatorClient) -> None:
        self._evaluator = evaluator
        self._fetching: dict[bytes, asyncio.Task[None]] = {}
        self._behind: dict[bytes, int] = {}

    def written(self, collection_id: bytes, size_bytes: int) -> None:
        """Counts what storage has taken; the evaluator fetches it once that is much."""
        self._behind[collection_id] = self._behind.get(collection_id, 0) + size_bytes
        if self._behind[collection_id] >= FOLLOW_BYTES and collection_id not in self._fetching:
            self.fetch(collection_id)

    def fetch(self, collection_id: bytes) -> None:
        """Has the evaluator fetch all that is there now; once more if it is at it already."""
        self._behind[collection_id] = FOLLOW_BYTES
        if collection_id not in self._fetching:
            self._fetching[collection_id] = asyncio.create_task(self._fetch(collection_id))

    async def _fetch(self, collection_id: bytes) -> None:
        try:
            while self._behind.get(collection_id, 0) >= FOLLOW_BYTES:
                self._behind[collection_id] = 0
                await self._evaluator.prepare(collection_id)
        except BlindsightError as error:
            logs.get().warning("background_work_failed", what="prepare", reason=error.reason)
        finally:
            del self._fetching[collection_id]

    def forget(self, collection_id: bytes) -> None:
        """Forgets a deleted collection."""
        self._behind.pop(collection_id, None)

    async def close(self) -> None:
        """Ends all fetching."""
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
