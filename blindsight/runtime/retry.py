"""Waits for a service that is away, with something in hand that is safe meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from blindsight.errors import BlindsightError, Conflict, ResourceExhausted, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.backoff import Backoff

Result = TypeVar("Result")

# A service that is away or busy, a disk that is full: all of it passes, or somebody is called.
PASSING = (Unavailable, Conflict, ResourceExhausted)


async def retry(
    what: str,
    attempt: Callable[[], Awaitable[Result]],
    *,
    on: tuple[type[BlindsightError], ...] = PASSING,
    longest_seconds: float = 5.0,
) -> Result:
    """Makes a call until it works, less and less often; cancel it to give up.

    Args:
        what: is waited for, for the log.
        attempt: makes the call.
        on: errors that pass by themselves.
        longest_seconds: what the pauses grow to.

    Raises:
        BlindsightError: any other.
    """
    backoff = Backoff(longest_seconds=longest_seconds)
    while True:
        try:
            return await attempt()
        except on as error:
            logs.get().warning("waiting", what=what, reason=error.reason)
            await asyncio.sleep(backoff.pause())
