"""Waiting for a service that is away: a message is in hand, and is safe as long as nobody settles it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from blindsight.errors import BlindsightError, Conflict, ResourceExhausted, Unavailable
from blindsight.runtime import logs

_Result = TypeVar("_Result")

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0
# A service that is away or busy, a disk that is full: all of it passes, or somebody is called.
_PASSING = (Unavailable, Conflict, ResourceExhausted)


async def patiently(what: str, call: Callable[[], Awaitable[_Result]]) -> _Result:
    """Calls until it works, less and less often; cancel it to give up.

    Args:
        what: of ours, for the log.

    Raises:
        BlindsightError: what does not pass by itself.
    """
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return await call()
        except _PASSING as error:
            _log(what, error)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def _log(what: str, error: BlindsightError) -> None:
    logs.get().warning("waiting", what=what, reason=error.reason)
