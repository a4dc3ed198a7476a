"""Addresses, HOST:PORT."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

from blindsight.errors import InvalidArgument

_FORM = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%\w+)?\]|[^\s:/@\[\]]+):([0-9]{1,5})", re.ASCII)
_MOST_PORT = (1 << 16) - 1


class Place(NamedTuple):
    """The host of an address, without brackets, and its port."""

    host: str
    port: int


def parse(address: str, what: str = "address") -> Place:
    """Returns the host and the port of an address.

    Args:
        address: HOST:PORT.
        what: what it is the address of, or where it stands, for errors.

    Raises:
        InvalidArgument: if it is none; says so if it is a URL, or lacks brackets or a port.
    """
    if found := _FORM.fullmatch(address):
        host, port = found[1].strip("[]"), int(found[2])
        if port > _MOST_PORT:
            raise InvalidArgument(f"{what} {address!r} has port {port}, want at most {_MOST_PORT}")
        return Place(host, port)
    scheme, sign, _ = address.partition("://")
    if sign:
        raise InvalidArgument(f"{what} {address!r} is a URL, want HOST:PORT without {scheme + sign!r}")
    if address.count(":") > 1:
        raise InvalidArgument(
            f"{what} {address!r}, want HOST:PORT, with [ ] around the host if it has colons"
        )
    raise InvalidArgument(f"{what} {address!r}, want HOST:PORT")


def is_loopback(address: str) -> bool:
    """Returns whether an address is one of this machine alone.

    Raises:
        InvalidArgument: see `parse`.
    """
    host, _ = parse(address)
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
