"""Encrypted planes on their way to the evaluator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from blindsight.errors import BlindsightError
from blindsight.runtime import transfer
from blindsight.wire.planes import PlaneTiles

# Tiles from the first on, each time that it is called: encrypted anew where the connection was lost.
Blocks = Callable[[], AsyncIterator[bytes]]


class Feed:
    """Tiles on their way out.

    Attributes:
        error: what making a block raised; gRPC then cancels the call and says nothing of it.
    """

    def __init__(self) -> None:
        self.error: BlindsightError | None = None

    async def tiles(self, blocks: Blocks | None) -> AsyncIterator[PlaneTiles]:
        """Blocks as they are made; none of planes that are not sent."""
        if blocks is None:
            return
        try:
            async for block in blocks():
                yield PlaneTiles(block, await asyncio.to_thread(transfer.digest, block))
        except BlindsightError as error:
            self.error = error
            raise
