"""Announcements that a keyholder is kept alive at a port of this machine: one that restarts is waited for.

An abstract socket of Linux carries it: it is of the network that the port is of, leaves no file behind, and
ends with the process that made it, however that ends.  Elsewhere nothing is announced.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

_NAME = "\0blindsight keyholder at port "


@contextmanager
def announced(address: str) -> Iterator[None]:
    """Announces the keyholder at an address, HOST:PORT, while the block runs, if nobody else does."""
    with closing(_socket()) as own:
        with suppress(OSError):  # another has the name, or there are none
            own.bind(_name(address))
        yield


def is_announced(address: str) -> bool:
    """Returns whether the keyholder at an address of this machine is announced."""
    with closing(_socket()) as asked:
        return asked.connect_ex(_name(address)) == 0


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _name(address: str) -> str:
    return _NAME + address.rpartition(":")[2]
