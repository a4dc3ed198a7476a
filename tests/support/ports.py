"""Ports for servers that tests start, stop and start again at the same place."""

from __future__ import annotations

import os
import random
import socket
from contextlib import ExitStack, suppress

# Below those that Linux gives to outgoing connections: a connection of any other test would take a server's
# port while it is restarted.  Each test process draws from a range of its own, for the same reason.
_FIRST, _RANGES = 10_000, 16
_EACH = (32_768 - _FIRST) // _RANGES
_RANGE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _RANGES
_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at, one after the other, and that nobody else is given."""
    while True:
        first = _FIRST + _RANGE * _EACH + random.randrange(_EACH - count)
        ports = range(first, first + count)
        if not _given.isdisjoint(ports):
            continue
        with ExitStack() as probes, suppress(OSError):
            for port in ports:
                probes.enter_context(socket.create_server(("127.0.0.1", port)))
            _given.update(ports)
            return list(ports)
