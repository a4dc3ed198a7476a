"""Whether a user may make a call: the token that it shows says its role, and for which collections."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio

from blindsight.errors import BlindsightError, Unauthenticated
from blindsight.runtime import callers
from blindsight.runtime.access import Access, End
from blindsight.runtime.roles import Role
from blindsight.runtime.status import CODES
from blindsight.trusted.vault import scope
from blindsight.wire.tokens import METADATA_KEY, SCHEME, TokenRole
from services.keyholder.audit.audit import NOBODY, Audit, AuditedCall
from services.keyholder.tokens import roles
from services.keyholder.tokens.running import Running
from services.keyholder.tokens.tokens import Tokens, acting, caller, denied


class UserAccess:
    """The access of users and workers to the keyholder.

    Args:
        services: what certificates allow; None: there are none, and workers prove themselves by their keys.
        tokens: of users.
        running: ends the calls of tokens that end.
        audit: records calls, also those that are refused.
        required: whether a call without a token is refused; else it is the owner's.
    """

    def __init__(
        self, services: Access | None, tokens: Tokens, running: Running, audit: Audit, *, required: bool
    ) -> None:
        self._services = services
        self._tokens = tokens
        self._running = running
        self._audit = audit
        self._required = required

    def require(self, method: str, context: grpc.aio.ServicerContext[Any, Any], end: End, /) -> _Visit:
        """Checks that a call may be made, and notes for whom it acts.

        Args:
            end: ends the call when its token ends.

        Raises:
            PermissionDenied: if it may not.
            Unauthenticated: if a token is required, and none that holds was shown.
            ResourceExhausted: if it must be on record, and the audit log cannot be written.
        """
        try:
            role = self._role(method, context)
        except BlindsightError as error:
            refused = caller()
            token, name = (refused.token_id, refused.role.name.lower()) if refused else ("", NOBODY)
            self._audit.refused(method, token, name, CODES[type(error)].name)
            raise
        grant = caller()
        call = self._audit.call(method, grant.token_id if grant is not None else "", role)
        return _Visit(call, self._running.begin(grant, end) if grant is not None else None)

    def _role(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """Returns the name of the caller's role, if it may make the call."""
        if self._services is not None:
            self._services.require(method, context)
        if not roles.of_users(method):
            return Role.WORKER.value
        shown = [value for key, value in context.invocation_metadata() or () if key == METADATA_KEY]
        if len(shown) > 1:
            raise Unauthenticated(f"unauthenticated: the call shows {len(shown)} tokens, want one")
        if not shown:
            if self._required:
                raise Unauthenticated("unauthenticated: the call shows no token, want one")
            return TokenRole.OWNER.name.lower()
        grant = self._tokens.bearer(_token(str(shown[0])))
        acting(grant)
        scope.limit(grant.collections)
        callers.known.set(f"token {grant.token_id}")
        if grant.role not in roles.callers(method):
            raise denied(grant.role, f"call {method.rpartition('/')[2]}")
        return grant.role.name.lower()


class _Visit:
    """What goes with a call.

    Args:
        call: its audit.
        leave: called at its end; None: nothing is.
    """

    def __init__(self, call: AuditedCall, leave: Callable[[], None] | None) -> None:
        self._call = call
        self._leave = leave
        self.received = call.received
        self.sending = call.sending
        self.settled = call.settled

    def ended(self, code: str, /) -> None:
        if self._leave is not None:
            self._leave()
        self._call.ended(code)


def _token(shown: str) -> str:
    """Returns the token of a value of the metadata; the name of the scheme may have any case (RFC 9110)."""
    begins = shown[: len(SCHEME)]
    return shown[len(SCHEME) :].strip() if begins.lower() == SCHEME.lower() else shown
