"""Whether a user may make a call: the token that it shows says its role, and for which collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio

from blindsight.errors import Unauthenticated
from blindsight.runtime import callers
from blindsight.runtime.access import Access, End
from blindsight.trusted.vault import scope
from blindsight.wire.tokens import METADATA_KEY, SCHEME
from services.keyholder.tokens import roles
from services.keyholder.tokens.running import Running
from services.keyholder.tokens.tokens import Tokens, acting, denied


class UserAccess:
    """The access of users and workers to the keyholder.

    Args:
        services: what certificates allow; None: there are none, and workers prove themselves by their keys.
        tokens: of users.
        running: ends the calls of tokens that end.
        required: whether a call without a token is refused; else it is the owner's.
    """

    def __init__(self, services: Access | None, tokens: Tokens, running: Running, *, required: bool) -> None:
        self._services = services
        self._tokens = tokens
        self._running = running
        self._required = required

    def require(self, method: str, context: grpc.aio.ServicerContext[Any, Any], end: End, /) -> _Visit | None:
        """Checks that a call may be made, and notes for whom it acts.

        Args:
            end: ends the call when its token ends.

        Raises:
            PermissionDenied: if it may not.
            Unauthenticated: if a token is required, and none that holds was shown.
        """
        if self._services is not None:
            self._services.require(method, context)
        if not roles.of_users(method):
            return None
        shown = [value for key, value in context.invocation_metadata() or () if key == METADATA_KEY]
        if len(shown) > 1:
            raise Unauthenticated(f"unauthenticated: the call shows {len(shown)} tokens, want one")
        if not shown:
            if self._required:
                raise Unauthenticated("unauthenticated: the call shows no token, want one")
            return None
        grant = self._tokens.bearer(_token(str(shown[0])))
        if grant.role not in roles.callers(method):
            raise denied(grant.role, f"call {method.rpartition('/')[2]}")
        acting(grant)
        scope.limit(grant.collections)
        callers.known.set(f"token {grant.token_id}")
        return _Visit(self._running.begin(grant, end))


class _Visit:
    """What goes with a call.

    Args:
        leave: called at its end.
    """

    def __init__(self, leave: Callable[[], None]) -> None:
        self._leave = leave

    def received(self, message: Any) -> None:
        pass

    async def sending(self, message: Any) -> None:
        pass

    def ended(self, _code: str, /) -> None:
        self._leave()

    async def settled(self) -> None:
        pass


def _token(shown: str) -> str:
    """Returns the token of a value of the metadata; the name of the scheme may have any case (RFC 9110)."""
    begins = shown[: len(SCHEME)]
    return shown[len(SCHEME) :].strip() if begins.lower() == SCHEME.lower() else shown
