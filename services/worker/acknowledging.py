"""Messages are settled last of all: when storage has the item and the keyholder knows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from blindsight.runtime.retry import retry

_Settled = TypeVar("_Settled", bool, list[bool])


async def settle(how: Callable[[], _Settled]) -> _Settled:
    """Acknowledges, gives back or rejects; false when a message had gone to another worker meanwhile."""
    return await retry("queue", lambda: asyncio.to_thread(how))
