"""The public keys of an issuer: read from a file or fetched, kept, and read again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from blindsight.errors import BlindsightError, Unauthenticated, Unavailable
from blindsight.runtime import logs

if TYPE_CHECKING:
    from jwt import PyJWK

# Keys are read again when they are as old, and trusted no longer when nobody could read them for so long.
FRESH_SECONDS, TRUSTED_SECONDS = 300.0, 86_400.0
# Between two attempts, whatever made them necessary and however they ended.
PAUSE_SECONDS = 10.0
# For an attempt, of a call that needs it.
_PATIENCE_SECONDS = 8.0
_MOST_KEYS = 100
_PUBLIC_KINDS = ("RSA", "EC", "OKP")


class IssuerKeys:
    """The keys of one issuer.

    Args:
        read: reads the document of keys (JWKS, RFC 7517); blocking, may raise OSError, ValueError.
        pause_seconds: between two attempts.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        pause_seconds: float = PAUSE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read = read
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._keys: tuple[PyJWK, ...] = ()
        self._read_at = self._tried_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> PyJWK:
        """Returns the key of an id for an algorithm; without an id, the only one for it.

        Raises:
            Unauthenticated: if the issuer has no such key.
            Unavailable: if its keys cannot be had.
        """
        age = self._clock() - self._read_at
        if age > TRUSTED_SECONDS:
            await self.refresh()
            if self._clock() - self._read_at > TRUSTED_SECONDS:
                raise Unavailable("the token cannot be checked: the keys of its issuer cannot be had now")
        elif age > FRESH_SECONDS:
            self._begin()
        found = self._fitting(key_id, algorithm)
        if found is None:  # it may be new
            await self.refresh()
            found = self._fitting(key_id, algorithm)
        if found is None:
            raise Unauthenticated("unauthenticated: the token is signed with no key of its issuer")
        return found

    def _fitting(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        fitting = [one for one in self._keys if one.algorithm_name == algorithm]
        if key_id is not None:
            fitting = [one for one in fitting if one.key_id == key_id]
        return fitting[0] if len(fitting) == 1 else None

    async def refresh(self) -> None:
        """Reads the keys again, unless somebody just did; waits for that, but not for ever."""
        reading = self._begin()
        if reading is not None:
            await asyncio.wait({reading}, timeout=_PATIENCE_SECONDS)

    def _begin(self) -> asyncio.Task[None] | None:
        """Begins to read; returns what reads already, or None if the last attempt was a moment ago."""
        if self._reading is None or self._reading.done():
            now = self._clock()
            if now - self._tried_at < self._pause_seconds:
                return None
            self._tried_at = now
            self._reading = asyncio.create_task(self._attempt())
        return self._reading

    async def _attempt(self) -> None:
        try:
            self._keys = parsed(await asyncio.to_thread(self._read))
        except (OSError, ValueError, BlindsightError) as error:
            logs.get().warning("issuer_keys_not_read", reason=f"{type(error).__name__}: {error}"[:200])
        else:
            self._read_at = self._clock()

    async def close(self) -> None:
        """Waits for an attempt that is under way."""
        if self._reading is not None:
            await asyncio.wait({self._reading}, timeout=_PATIENCE_SECONDS)


def parsed(document: bytes) -> tuple[PyJWK, ...]:
    """Returns the keys of a JWKS by which signatures are verified; others are passed over."""
    try:
        given: Any = json.loads(document)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("no document of keys, want a JWKS") from None
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_KEYS:
        raise ValueError(f"no list of 1 to {_MOST_KEYS} keys, want a JWKS")
    return tuple(key for one in given if (key := _key(one)) is not None)


def _key(given: Any) -> PyJWK | None:
    from jwt import PyJWK, PyJWTError

    # Shared secrets and private keys are nothing that an issuer publishes.
    if not isinstance(given, dict) or given.get("kty") not in _PUBLIC_KINDS or "d" in given:
        return None
    if given.get("use", "sig") != "sig":
        return None
    try:
        return PyJWK(given)
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
