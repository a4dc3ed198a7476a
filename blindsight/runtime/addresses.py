"""Addresses, HOST:PORT."""

from __future__ import annotations

import ipaddress

from blindsight.errors import InvalidArgument


def is_loopback(address: str) -> bool:
    """Returns whether an address is one of this machine alone.

    Raises:
        InvalidArgument: if the address has no port.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        raise InvalidArgument(f"address {address!r}, want HOST:PORT")
    host = host.strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
