"""Callers: which connection a call came on, and of which tenant, for what is shared fairly among them."""

from __future__ import annotations

from contextvars import ContextVar
from ipaddress import IPv6Address, ip_address, ip_network
from urllib.parse import unquote

# The address of the current call's connection, as gRPC names it; "" outside a call.
current: ContextVar[str] = ContextVar("caller", default="")
# The tenant of the current call's caller; "" for the owner of the service, and outside a call.
tenant: ContextVar[str] = ContextVar("tenant", default="")
# What the current call's caller has shown, a token or a certificate; "" if its address alone is known.
known: ContextVar[str] = ContextVar("known", default="")


def address_of(peer: str) -> str:
    """Returns what a connection that gRPC names so, as `ipv4:127.0.0.1:5000`, is counted by."""
    return network(unquote(peer.partition(":")[2].rpartition(":")[0]).strip("[]"))


def network(address: str) -> str:
    """Returns what an address is counted by: itself, or of IPv6 its network of 64 bits, as of one host."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    mapped = parsed.ipv4_mapped
    return str(mapped) if mapped is not None else str(ip_network((parsed, 64), strict=False))
