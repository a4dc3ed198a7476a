"""Retries without a time limit, for work that is safe while a service is away."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from blindsight.errors import BlindsightError, Conflict, ResourceExhausted, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.backoff import Backoff

Result = TypeVar("Result")

# A service that is away or busy, a full disk: these pass by themselves, or an operator steps in.
PASSING = (Unavailable, Conflict, ResourceExhausted)


async def retry(
    what: str,
    attempt: Callable[[], Awaitable[Result]],
    *,
    on: tuple[type[BlindsightError], ...] = PASSING,
    longest_seconds: float = 5.0,
) -> Result:
    """Repeats a call until it succeeds, with growing pauses; cancel it to give up.

    Args:
        what: what is waited for, for the log.
        attempt: makes the call.
        on: errors that pass by themselves.
        longest_seconds: maximum that pauses grow to.

    Raises:
        BlindsightError: any error that is not in `on`.
    """
    backoff = Backoff(longest_seconds=longest_seconds)
    while True:
        try:
            return await attempt()
        except on as error:
            logs.get().warning("waiting", what=what, reason=error.reason)
            await asyncio.sleep(backoff.pause())
