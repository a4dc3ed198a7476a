"""Whether a caller may make a call: its certificate says its role, and the policy what that role may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import grpc.aio

from blindsight.errors import BlindsightError, PermissionDenied
from blindsight.runtime.callers import known as known_caller
from blindsight.runtime.policy import callers
from blindsight.runtime.roles import Role, role_of
from blindsight.runtime.tls import Identity, serial_of

_TLS = "TLSv1.3"


End = Callable[[BlindsightError], None]
"""Ends a running call, which fails with this error."""


class Companion(Protocol):
    """Goes with a call that may be made, to its end."""

    def received(self, message: Any) -> None:
        """Takes note of a message of the caller; raises if it is one too many."""

    async def sending(self, message: Any) -> None:
        """Does what must be done before an answer, or a part of one, goes out."""

    def ended(self, code: str, /) -> None:
        """Takes note of the end of the call, by the name of its status; of the first alone."""

    async def settled(self) -> None:
        """Waits until what was noted of the call outlives this process."""


class Doorkeeper(Protocol):
    """Decides of each call whether it may be made."""

    async def require(
        self, method: str, context: grpc.aio.ServicerContext[Any, Any], end: End, /
    ) -> Companion | None:
        """Checks that a call may be made, and returns what goes with it; raises if not.

        Args:
            end: ends the call, when it may go on no longer.
        """


class Access:
    """The access of callers to a service.

    Args:
        own: returns the certificate of the service: callers must be of its vault, and not revoked.
        plaintext: as whom those count who come by an address without TLS, which is on loopback; None: nobody.
    """

    def __init__(self, own: Callable[[], Identity], plaintext: Role | None = None) -> None:
        self._own = own
        self._plaintext = plaintext

    async def require(
        self, method: str, context: grpc.aio.ServicerContext[Any, Any], _end: End | None = None, /
    ) -> Companion | None:
        """Checks that a call may be made, and notes the number of its caller's certificate, if it has one.

        Raises:
            PermissionDenied: if it may not; it does not say why.
        """
        role, known = self._caller(context)
        if role not in callers(method):
            raise PermissionDenied("permission denied: this caller may not make this call")
        known_caller.set(known)
        return None

    def _caller(self, context: grpc.aio.ServicerContext[Any, Any]) -> tuple[Role | None, str]:
        shown = context.auth_context()
        if _one(shown, "transport_security_type") == "insecure":
            return self._plaintext, ""
        named = role_of(_one(shown, "peer_uri"))
        own = self._own()
        if named is None or named[0] != own.vault or _one(shown, "ssl_tls_version") != _TLS:
            return None, ""
        serial = serial_of(_one(shown, "x509_pem_cert"))
        return (named[1], f"certificate {serial:x}") if serial not in own.revoked else (None, "")


def _one(shown: Any, name: str) -> str:
    """Returns a property of the connection; "" unless it has exactly one value."""
    values = shown.get(name, ())
    return bytes(values[0]).decode(errors="replace") if len(values) == 1 else ""
