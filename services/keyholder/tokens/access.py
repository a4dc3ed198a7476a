"""Whether a user may make a call: the token that it shows says its role, and for which collections."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import grpc.aio

from blindsight.errors import BlindsightError, PermissionDenied, Unauthenticated
from blindsight.runtime import callers
from blindsight.runtime.access import Access, End
from blindsight.runtime.roles import Role
from blindsight.runtime.status import CODES
from blindsight.trusted.vault import scope
from blindsight.wire.tokens import METADATA_KEY, SCHEME, Reveal, TokenRole
from services.keyholder.audit.audit import NOBODY, Audit, AuditedCall
from services.keyholder.audit.wire import queries_of
from services.keyholder.limits.limits import Limiter
from services.keyholder.tokens import roles
from services.keyholder.tokens.oidc.issuer import Issuer
from services.keyholder.tokens.reveal import beyond
from services.keyholder.tokens.running import Running
from services.keyholder.tokens.store import Grant
from services.keyholder.tokens.tokens import PREFIX, Tokens, acting, caller, denied


class UserAccess:
    """The access of users and workers to the keyholder.

    Args:
        services: what certificates allow; None: there are none, and workers prove themselves by their keys.
        tokens: of users.
        running: ends the calls of tokens that end.
        audit: records calls, also those that are refused.
        limiter: keeps tokens to their limits.
        enter: opens what a call of a tenant needs, once it may be made.
        required: whether a call without a token is refused; else it is the owner's.
        issuer: vouches for users without a token of the vault's own; None: nobody does.
        tenant_of: returns the id of the tenant of this name.
        find: returns the ids of the caller's collections of these names, those that there are.
    """

    def __init__(
        self,
        services: Access | None,
        tokens: Tokens,
        running: Running,
        audit: Audit,
        limiter: Limiter,
        enter: Callable[[], Awaitable[None]],
        *,
        required: bool,
        issuer: Issuer | None,
        tenant_of: Callable[[str], str],
        find: Callable[[Sequence[str]], Awaitable[frozenset[bytes]]],
    ) -> None:
        self._services = services
        self._tokens = tokens
        self._running = running
        self._audit = audit
        self._limiter = limiter
        self._enter = enter
        self._required = required
        self._issuer = issuer
        self._tenant_of = tenant_of
        self._find = find

    async def require(self, method: str, context: grpc.aio.ServicerContext[Any, Any], end: End, /) -> _Visit:
        """Checks that a call may be made, and notes for whom it acts.

        Args:
            end: ends the call when its token ends.

        Raises:
            PermissionDenied: if it may not.
            Unauthenticated: if a token is required, and none that holds was shown.
            Busy: if the token may not be used so often.
            ResourceExhausted: if it must be on record, and the audit log cannot be written.
        """
        try:
            role = await self._role(method, context)
        except BlindsightError as error:
            refused = caller()
            code = CODES[type(error)].name
            if refused is None:
                self._audit.refused(method, "", NOBODY, code)
            else:
                role = refused.role.name.lower()
                self._audit.refused(method, refused.token_id, role, code, refused.tenant)
            raise
        grant = caller()
        if grant is None:
            return _Visit(self._audit.call(method, "", role))
        call = self._audit.call(method, grant.token_id, role, grant.tenant)
        leave = self._running.begin(grant, end)
        return _Visit(call, leave, partial(self._limiter.ask, grant.token_id, grant.limits))

    async def _role(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """Returns the name of the caller's role, if it may make the call."""
        if self._services is not None:
            await self._services.require(method, context)
        if not roles.of_users(method):
            return Role.WORKER.value
        shown = [value for key, value in context.invocation_metadata() or () if key == METADATA_KEY]
        if len(shown) > 1:
            raise Unauthenticated(f"unauthenticated: the call shows {len(shown)} tokens, want one")
        if not shown:
            if self._required:
                raise Unauthenticated("unauthenticated: the call shows no token, want one")
            return TokenRole.OWNER.name.lower()
        grant, named = await self._bearer(_token(str(shown[0])))
        acting(grant)
        # A tenant counts as one caller, however many tokens it makes.
        callers.known.set(f"tenant {grant.tenant}" if grant.tenant else f"token {grant.token_id}")
        if grant.role not in roles.callers(method):
            raise denied(grant.role, f"call {method.rpartition('/')[2]}")
        if grant.tenant and not roles.of_tenants(method):
            raise PermissionDenied(
                f"permission denied: a token of a tenant may not call {method.rpartition('/')[2]}"
            )
        rpc = method.rpartition("/")[2]
        if grant.reveal is Reveal.DECISIONS and rpc not in roles.OF_DECISIONS:
            raise beyond(grant, f"call {rpc}")
        self._limiter.call(grant.token_id, grant.limits)
        await self._enter()
        if named is not None:
            grant = replace(grant, collections=await self._find(named))
            acting(grant)
        scope.limit(grant.collections)
        return grant.role.name.lower()

    async def _bearer(self, shown: str) -> tuple[Grant, Sequence[str] | None]:
        """Returns what a token is for, and the names of its collections, if it says them so."""
        if self._issuer is None or shown.startswith(PREFIX):
            return self._tokens.bearer(shown), None
        vouched = await self._issuer.bearer(shown)
        if vouched.tenant is None:
            return vouched.grant, vouched.collections
        return replace(vouched.grant, tenant=self._tenant_of(vouched.tenant)), vouched.collections


class _Visit:
    """What goes with a call.

    Args:
        call: its audit.
        leave: called at its end; None: nothing is.
        ask: called with the number of queries before they are answered; raises if they are too many.
    """

    def __init__(
        self,
        call: AuditedCall,
        leave: Callable[[], None] | None = None,
        ask: Callable[[int], None] | None = None,
    ) -> None:
        self._call = call
        self._leave = leave
        self._ask = ask
        self.sending = call.sending
        self.settled = call.settled

    def received(self, message: Any) -> None:
        queries = queries_of(message)
        if self._ask is not None:
            self._ask(queries)
        self._call.asked(queries)

    def ended(self, code: str, /) -> None:
        if self._leave is not None:
            self._leave()
        self._call.ended(code)


def _token(shown: str) -> str:
    """Returns the token of a value of the metadata; the name of the scheme may have any case (RFC 9110)."""
    begins = shown[: len(SCHEME)]
    return shown[len(SCHEME) :].strip() if begins.lower() == SCHEME.lower() else shown
