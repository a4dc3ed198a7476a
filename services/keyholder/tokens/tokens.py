"""Tokens: made, shown by callers, revoked; those of each tenant are apart from all others."""

from __future__ import annotations

import hmac
import math
import os
import re
import secrets
import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from blindsight.errors import (
    InvalidArgument,
    NotFound,
    PermissionDenied,
    ResourceExhausted,
    Unauthenticated,
)
from blindsight.runtime import callers
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE
from blindsight.trusted.identity.files import write_secret
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.secrets import Secret
from blindsight.wire.tokens import Reveal, TokenRole
from services.keyholder.limits.limits import NONE, Limits
from services.keyholder.tokens.store import FILE_NAME, Grant, TokenStore

# Its group may read it, as Kubernetes has it on volumes.
_FOR_OTHERS = 0o007
MOST_TOKENS = 10_000
MIN_RATE, MOST_LIMIT = 0.001, 1e9
MOST_LABEL_CHARACTERS = 128
PREFIX = "bs1_"
_FORM = re.compile(rf"{PREFIX}([0-9a-f]{{12}})_([0-9a-f]{{64}})")
# What the digest of an unknown token is compared with, so that the answer takes as long.
_NO_DIGEST = bytes(32)

_current: ContextVar[Grant | None] = ContextVar("grant", default=None)


class Tokens:
    """The tokens of one vault, and the owner's, in a file that the owner of the folder alone can read.

    Args:
        folder: the keyholder's; made tokens are kept there as digests.
        sealer: seals what they are for.
        clock: returns the seconds since 1970.
    """

    def __init__(self, folder: Path, sealer: Sealer, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._store = TokenStore(folder / FILE_NAME, sealer)
        self._grants = {grant.token_id: grant for grant in self._store.load()}
        self._ensure_owner(folder / OWNER_TOKEN_FILE)

    def _ensure_owner(self, file: Path) -> None:
        """Makes the owner's token, unless its file holds one that not everybody on the machine may read."""
        try:
            held = self.bearer(file.read_text(encoding="ascii").strip())
            kept = held.role is TokenRole.OWNER and not held.tenant and not file.stat().st_mode & _FOR_OTHERS
        except (OSError, UnicodeDecodeError, Unauthenticated):
            kept = False
        if not kept:
            grant, token = self._new(TokenRole.OWNER, None, OWNER_TOKEN_FILE, None)
            before = [key for key, one in self._grants.items() if one.label == OWNER_TOKEN_FILE]
            write_secret(file, token.reveal_secret().decode())
            self._store.add(grant, before)
            for key in before:
                del self._grants[key]
            self._grants[grant.token_id] = grant

    def create(
        self,
        role: TokenRole,
        collections: frozenset[bytes] | None,
        label: str,
        expires: int | None,
        reveal: Reveal | None = None,
        limits: Limits = NONE,
        threshold: float | None = None,
        tenant: str = "",
    ) -> tuple[Grant, Secret]:
        """Makes a token of a tenant, and returns what is kept of it and the token itself.

        Raises:
            InvalidArgument: if it has expired already, the label is too long or not one line, an owner's is
                to be limited, another than a searcher's is to reveal less, a limit is none, or
                decisions have no threshold.
            ResourceExhausted: if there are too many.
        """
        if expires is not None and expires <= self._clock():
            raise InvalidArgument("a token that has expired already, want a time to come")
        if len(label) > MOST_LABEL_CHARACTERS or not label.isprintable():
            raise InvalidArgument(
                f"label of {len(label)} characters, want at most {MOST_LABEL_CHARACTERS} that print"
            )
        if role is TokenRole.OWNER and collections is not None:
            raise InvalidArgument("a token of role owner for some collections, want none: it is for all")
        if role is TokenRole.OWNER and limits != NONE:
            raise InvalidArgument("a token of role owner with limits, want none: it is for all")
        _check(limits)
        if reveal is not None and role is not TokenRole.SEARCHER:
            raise InvalidArgument(
                f"reveal for a token of role {role.name.lower()}, want none: others than searchers see scores"
            )
        if (reveal is Reveal.DECISIONS) != (threshold is not None):
            raise InvalidArgument(
                "decisions are by a threshold, and a threshold is for them: want both, or none"
            )
        if threshold is not None and not math.isfinite(threshold):
            raise InvalidArgument(f"threshold {threshold:g}, want a score")
        if label == OWNER_TOKEN_FILE:
            raise InvalidArgument(f"label {label!r}, want another: the owner's own token has it")
        if len(self.all(tenant)) >= MOST_TOKENS:
            raise ResourceExhausted(f"{MOST_TOKENS} tokens, want fewer: revoke some")
        usual = Reveal.RANKS if role is TokenRole.SEARCHER else Reveal.SCORES
        grant, token = self._new(role, collections, label, expires, reveal or usual)
        grant = replace(grant, limits=limits, threshold=threshold, tenant=tenant)
        self._store.add(grant)
        self._grants[grant.token_id] = grant
        return grant, token

    def _new(
        self,
        role: TokenRole,
        collections: frozenset[bytes] | None,
        label: str,
        expires: int | None,
        reveal: Reveal = Reveal.SCORES,
    ) -> tuple[Grant, Secret]:
        token_id, secret = os.urandom(6).hex(), secrets.token_hex(32)
        digest = sha256(secret.encode()).digest()
        grant = Grant(token_id, digest, role, collections, label, int(self._clock()), expires, reveal)
        return grant, Secret(f"{PREFIX}{token_id}_{secret}".encode())

    def all(self, tenant: str = "") -> list[Grant]:
        """Returns what is kept of all tokens of a tenant, the oldest first."""
        return [one for one in list(self._grants.values()) if one.tenant == tenant]

    def revoke(self, token_id: str, tenant: str = "") -> None:
        """Revokes a token of a tenant; calls that show it fail from now on.

        Raises:
            NotFound: if there is none of this id.
        """
        grant = self._grants.get(token_id)
        if grant is None or grant.tenant != tenant:
            raise NotFound(f"no token {token_id!r}; see `blindsight tokens list`")
        self._store.remove(token_id)
        self._grants.pop(token_id, None)

    def revoke_all(self, tenant: str) -> list[str]:
        """Revokes all tokens of a tenant; returns their ids."""
        gone = [one.token_id for one in self.all(tenant)]
        self._store.remove(*gone)
        for token_id in gone:
            self._grants.pop(token_id, None)
        return gone

    def bearer(self, shown: str) -> Grant:
        """Returns what a token that a caller shows is for.

        The time that this takes does not tell how much of a wrong token is right.

        Raises:
            Unauthenticated: if it is none of these, or has expired.
        """
        found = _FORM.fullmatch(shown)
        if found is None:
            raise Unauthenticated("unauthenticated: what came is no token of this kind, want bs1_ID_SECRET")
        grant = self._grants.get(found[1])
        right = hmac.compare_digest(
            sha256(found[2].encode()).digest(), grant.digest if grant is not None else _NO_DIGEST
        )
        if grant is None or not right:
            raise Unauthenticated("unauthenticated: the token is not known here, or was revoked")
        if grant.expires is not None and grant.expires <= self._clock():
            raise Unauthenticated("unauthenticated: the token has expired, want another")
        return grant

    def close(self) -> None:
        """Closes the store."""
        self._store.close()


def _check(limits: Limits) -> None:
    rate, burst, day = limits.requests_per_second, limits.burst, limits.queries_per_day
    if rate is not None and not MIN_RATE <= rate <= MOST_LIMIT:
        raise InvalidArgument(f"{rate:g} requests per second, want {MIN_RATE:g} to {MOST_LIMIT:g}")
    if burst is not None and rate is None:
        raise InvalidArgument("a burst without requests per second, want both")
    for what, most in (("a burst of {} requests", burst), ("{} queries per day", day)):
        if most is not None and not 1 <= most <= MOST_LIMIT:
            raise InvalidArgument(f"{what.format(most)}, want 1 to {MOST_LIMIT:g}")


def acting(grant: Grant | None) -> None:
    """Sets who made the current call; None: the owner, without a token."""
    _current.set(grant)
    callers.tenant.set(grant.tenant if grant is not None else "")


def caller() -> Grant | None:
    """Returns who made the current call; None: the owner, without a token."""
    return _current.get()


def require_role(roles: frozenset[TokenRole], what: str) -> None:
    """Checks that who made the current call has one of some roles.

    Raises:
        PermissionDenied: if not.
    """
    grant = _current.get()
    if grant is not None and grant.role not in roles:
        raise denied(grant.role, what)


def denied(role: TokenRole, what: str) -> PermissionDenied:
    """Returns the error for a call that a role may not make."""
    return PermissionDenied(f"permission denied: a token of role {role.name.lower()} may not {what}")
