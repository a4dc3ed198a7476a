"""Callers: which connection a call came on, and of which tenant, for what is shared fairly among them."""

from __future__ import annotations

from contextvars import ContextVar

# The address of the current call's connection, as gRPC names it; "" outside a call.
current: ContextVar[str] = ContextVar("caller", default="")
# The tenant of the current call's caller; "" for the owner of the service, and outside a call.
tenant: ContextVar[str] = ContextVar("tenant", default="")
