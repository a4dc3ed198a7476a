"""The connections of one address, of which a server keeps so many, and the files that connections need.

gRPC's core counts connections over all addresses, and lets Python neither accept nor close one.  But they are
open files of this process: those that are too many are shut down here, and the core notices that they ended.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from blindsight.runtime import logs
from blindsight.runtime.callers import network

_FILES = Path("/proc/self/fd")
_LOOK_SECONDS = 0.5
# Of a flood that goes on, a line is logged so often.
_SAY_SECONDS = 60.0
# What a service has open beside connections: databases, segments, pipes of workers.
_OWN_FILES = 1024

Peer = tuple[str, int]


class ConnectionWatch:
    """Closes the newest connections of addresses that hold too many.

    Args:
        ports: where this process listens.
        most: connections that one address may hold.
    """

    def __init__(self, ports: Collection[int], most: int) -> None:
        self._ports = frozenset(ports)
        self._most = most
        self._known: dict[Peer, None] = {}  # the longest known first
        self._said = -_SAY_SECONDS

    async def run(self) -> None:
        """Looks again and again until it is cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(OSError):  # as when no file can be opened just now
                self._look()

    def _look(self) -> None:
        files = [one.name for one in _FILES.iterdir()]
        if len(files) <= self._most:  # so no address has more: the usual case, which costs next to nothing
            return
        now = dict.fromkeys(peer for peer, _ in _connections(files, self._ports))
        self._known = {peer: None for peer in (*self._known, *now) if peer in now}
        held: Counter[str] = Counter()
        excess = set()
        for peer in self._known:
            held[network(peer[0])] += 1
            if held[network(peer[0])] > self._most:
                excess.add(peer)
        if not excess:
            return
        for peer, connection in _connections(files, self._ports):
            if peer in excess:
                with suppress(OSError):  # its other end was faster
                    connection.shutdown(socket.SHUT_RDWR)
        self._say(len(excess))

    def _say(self, closed: int) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._said >= _SAY_SECONDS:
            self._said = now
            logs.get().warning("connections_closed", closed=closed, most_per_peer=self._most)


def _connections(files: Collection[str], ports: Collection[int]) -> Iterator[tuple[Peer, socket.socket]]:
    """Yields connections to some ports of this process, each as a copy that is closed again."""
    for name in files:
        try:
            file = os.dup(int(name))
        except OSError:  # closed meanwhile
            continue
        if not stat.S_ISSOCK(os.fstat(file).st_mode):
            os.close(file)
            continue
        with socket.socket(fileno=file) as copy, suppress(OSError):
            if copy.family in (socket.AF_INET, socket.AF_INET6) and copy.getsockname()[1] in ports:
                host, port, *_ = copy.getpeername()
                yield (host, port), copy


def make_room(connections: int) -> int:
    """Lets this process open files for so many connections; returns for how many there is room.

    A process that may open no more files answers nobody, and stores nothing.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OWN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return connections
    room = max(1, min(connections, soft // 2))
    logs.get().warning("few_files", may_open=soft, connections=room)
    return room
