"""Whether a caller may make a call: its certificate says its role, and the policy what that role may."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc.aio

from blindsight.errors import PermissionDenied
from blindsight.runtime.policy import callers
from blindsight.runtime.roles import Role, role_of

_TLS = "TLSv1.3"


class Access:
    """The access of callers to a service.

    Args:
        vault: returns the vault that certificates must be of.
        plaintext: as whom those count who come by an address without TLS, which is on loopback; None: nobody.
    """

    def __init__(self, vault: Callable[[], str], plaintext: Role | None = None) -> None:
        self._vault = vault
        self._plaintext = plaintext

    def require(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Checks that a call may be made.

        Raises:
            PermissionDenied: if it may not; it does not say why.
        """
        if self._role(context) not in callers(method):
            raise PermissionDenied("this caller may not make this call")

    def _role(self, context: grpc.aio.ServicerContext[Any, Any]) -> Role | None:
        shown = context.auth_context()
        if _one(shown, "transport_security_type") == "insecure":
            return self._plaintext
        named = role_of(_one(shown, "peer_uri"))
        if named is None or named[0] != self._vault() or _one(shown, "ssl_tls_version") != _TLS:
            return None
        return named[1]


def _one(shown: Any, name: str) -> str:
    """Returns a property of the connection; "" unless it has exactly one value."""
    values = shown.get(name, ())
    return bytes(values[0]).decode(errors="replace") if len(values) == 1 else ""
