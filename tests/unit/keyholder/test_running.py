"""Running calls of tokens: each ends with its own token, by revocation or at its time, and no other."""

from __future__ import annotations

import asyncio

from blindsight.errors import BlindsightError, Unauthenticated
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.tokens.running import Running
from services.keyholder.tokens.store import Grant

NOW = 1_000_000


class Call:
    def __init__(self, running: Running, token_id: str, expires: int | None = None) -> None:
        self.ended: list[BlindsightError] = []
        grant = Grant(token_id, b"", TokenRole.SEARCHER, None, "", 0, expires, Reveal.RANKS)
        self.leave = running.begin(grant, self.ended.append)


async def begun(running: Running, *about: object) -> Call:
    return await asyncio.create_task(_begun(running, *about))


async def _begun(running: Running, *about: object) -> Call:
    return Call(running, *about)  # type: ignore[arg-type]


async def test_the_calls_of_a_revoked_token_end_and_those_of_others_do_not() -> None:
    running = Running(lambda: NOW)
    first, second, other, over = [await begun(running, one) for one in ("a", "a", "b", "a")]
    over.leave()
    running.revoked("a")
    for call in (first, second):
        (error,) = call.ended
        assert isinstance(error, Unauthenticated)
        assert error.message == "unauthenticated: the token was revoked"
    assert (other.ended, over.ended) == ([], [])


async def test_a_call_that_revokes_its_own_token_is_answered() -> None:
    running = Running(lambda: NOW)
    other = await begun(running, "a")
    own = Call(running, "a")
    running.revoked("a")
    assert own.ended == []
    assert len(other.ended) == 1


async def test_a_call_ends_when_its_token_expires_unless_it_was_over() -> None:
    now = float(NOW)
    running = Running(lambda: now)
    runs, over = [await begun(running, one, NOW + 1) for one in ("a", "b")]
    now = NOW + 0.95
    late = await begun(running, "a", NOW + 1)
    over.leave()
    assert late.ended == []
    await asyncio.sleep(0.2)
    (error,) = late.ended
    assert error.message == "unauthenticated: the token has expired, want another"
    assert (runs.ended, over.ended) == ([], [])  # by the clock of the process, a second after it began
