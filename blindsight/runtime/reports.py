"""Reports of progress beside the results of work."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

Item = TypeVar("Item")
Report = TypeVar("Report")


async def with_reports(
    items: AsyncIterator[Item], reports: asyncio.Queue[Report]
) -> AsyncGenerator[Item | Report, None]:
    """Yields items, none of which is None, and what is reported while the next one is made."""
    making = asyncio.ensure_future(anext(items, None))
    try:
        while True:
            hearing = asyncio.ensure_future(reports.get())
            await asyncio.wait({making, hearing}, return_when=asyncio.FIRST_COMPLETED)
            if hearing.done():
                yield hearing.result()
                continue
            hearing.cancel()
            item = making.result()
            if item is None:
                return
            yield item
            making = asyncio.ensure_future(anext(items, None))
    finally:
        hearing.cancel()
        making.cancel()
        await asyncio.gather(making, hearing, return_exceptions=True)
