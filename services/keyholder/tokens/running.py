"""The running calls of tokens, which end when their tokens do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextvars import ContextVar

from blindsight.errors import Unauthenticated
from blindsight.runtime.access import End
from services.keyholder.tokens.store import Grant

_own: ContextVar[End | None] = ContextVar("end_of_this_call", default=None)


class Running:
    """What ends the running calls of tokens that are revoked, or expire meanwhile.

    Args:
        clock: returns the seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._ends: dict[str, set[End]] = {}

    def begin(self, grant: Grant, end: End) -> Callable[[], None]:
        """Takes note of the current call; returns what takes it out at its end.

        Args:
            grant: of the token that the call shows.
            end: ends the call.
        """
        _own.set(end)
        self._ends.setdefault(grant.token_id, set()).add(end)
        expiring: asyncio.TimerHandle | None = None
        if grant.expires is not None:
            error = Unauthenticated("unauthenticated: the token has expired, want another")
            left = max(0.0, grant.expires - self._clock())
            expiring = asyncio.get_running_loop().call_later(left, end, error)

        def leave() -> None:
            if expiring is not None:
                expiring.cancel()
            others = self._ends.get(grant.token_id, set())
            others.discard(end)
            if not others:
                self._ends.pop(grant.token_id, None)

        return leave

    def revoked(self, token_id: str) -> None:
        """Ends the running calls of a token, but the current one, which may have revoked it."""
        for end in self._ends.get(token_id, set()) - {_own.get()}:
            end(Unauthenticated("unauthenticated: the token was revoked"))
