"""Messages are settled last of all: when storage has the item and the keyholder knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from blindsight.trusted.worker.patience import patiently


async def settle(how: Callable[[], bool]) -> bool:
    """Acknowledges, gives back or rejects; false when the message had gone to another worker meanwhile."""
    return await patiently("queue", lambda: asyncio.to_thread(how))
