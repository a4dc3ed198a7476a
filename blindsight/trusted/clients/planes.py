"""Encrypted planes on their way to the evaluator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from blindsight.errors import BlindsightError
from blindsight.runtime import transfer
from blindsight.wire.planes import PlaneTiles

# Returns the tiles from the first on each time, because they are encrypted anew after a lost connection.
Blocks = Callable[[], AsyncIterator[bytes]]


class Feed:
    """Tiles that are being sent.

    Attributes:
        error: the error raised while a block was made; gRPC then cancels the call without reporting it.
    """

    def __init__(self) -> None:
        self.error: BlindsightError | None = None

    async def tiles(self, blocks: Blocks | None) -> AsyncIterator[PlaneTiles]:
        """Yields blocks as they are made; none for planes that are not sent."""
        if blocks is None:
            return
        try:
            async for block in blocks():
                yield PlaneTiles(block, await asyncio.to_thread(transfer.digest, block))
        except BlindsightError as error:
            self.error = error
            raise
