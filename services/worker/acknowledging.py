"""Settles messages, the last step: storage has the item then, and the keyholder knows its outcome."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from blindsight.runtime.retry import retry

_Settled = TypeVar("_Settled", bool, list[bool])


async def settle(how: Callable[[], _Settled]) -> _Settled:
    """Acknowledges, gives back or rejects messages, as `how` does.

    Returns:
        What `how` returns: for a message, False if it had gone to another worker meanwhile.
    """
    return await retry("queue", lambda: asyncio.to_thread(how))
