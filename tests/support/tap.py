"""A wire tap: forwards TCP connections, keeps every byte of both directions, can withhold answers."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Self

_READ_BYTES = 1 << 16
Note = Callable[[bytes, bytearray], bytes]


class Tap:
    """Stands between a client and a server, which know nothing of it.

    Args:
        server: HOST:PORT of the server; connections to `address` are passed on to it.
    """

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._server = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._answering = threading.Event()
        self._answering.set()
        self._until_silence = math.inf
        self._losing = self._deaf = self._cut = False
        self._records: list[bytearray] = []
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def recorded(self) -> list[bytes]:
        """What passed so far: for each connection one record of either direction."""
        with self._lock:
            return [bytes(record) for record in self._records]

    @property
    def size_bytes(self) -> int:
        """How much passed so far."""
        with self._lock:
            return sum(map(len, self._records))

    @contextmanager
    def silence_after(
        self, asked_bytes: int, *, for_ever: bool = False, deaf: bool = False
    ) -> Iterator[None]:
        """Once clients have sent so much, they hear nothing more until the end of the block.

        Deaf, the tap passes on nothing that they say from then on either: all TCP connections stay open, and
        nothing moves on them.

        What the server says meanwhile comes then; or never: then the server must be killed in the block,
        which ends its connections as a lost answer does.
        """
        with self._lock:
            self._until_silence, self._losing, self._deaf = asked_bytes, for_ever, deaf
        try:
            yield
        finally:
            with self._lock:
                self._until_silence = math.inf
                self._answering.set()

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Neither side hears the other until the end of the block; then all connections end.

        What is said meanwhile is lost, as by a cable that is pulled out.
        """
        with self._lock:
            self._cut = True
        try:
            yield
        finally:
            with self._lock:
                self._cut = False
                remaining = list(self._open)
            for one in remaining:
                _end(one)

    def close(self) -> None:
        """Takes no more connections and ends those that there are; the record stays."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes `accept`, which `close` alone does not
        self._listener.close()
        with self._lock:
            remaining = list(self._open)
        for one in remaining:
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()  # what a client of a server that is down sees, too
                continue
            with self._lock:
                self._open |= {client, server}
            self._start(self._ask, client, server)
            self._start(self._answer, server, client)

    def _start(self, note: Note, source: socket.socket, target: socket.socket) -> None:
        record = bytearray()
        with self._lock:
            self._records.append(record)
        threading.Thread(target=_pass_on, args=(source, target, record, note), daemon=True).start()

    def _ask(self, data: bytes, record: bytearray) -> bytes:
        with self._lock:
            record += data
            self._until_silence -= len(data)
            if self._until_silence <= 0:
                self._answering.clear()
            deaf, cut = self._deaf, self._cut
        if deaf:
            self._answering.wait()
        return b"" if cut else data

    @property
    def silent(self) -> bool:
        """Whether the silence has begun."""
        return not self._answering.is_set()

    def _answer(self, data: bytes, record: bytearray) -> bytes:
        with self._lock:
            record += data
            if self._cut or (self._losing and not self._answering.is_set()):
                return b""
        self._answering.wait()
        return data


def _pass_on(source: socket.socket, target: socket.socket, record: bytearray, note: Note) -> None:
    with suppress(OSError):
        while data := source.recv(_READ_BYTES):
            target.sendall(note(data, record))
    # Either direction's end is the end of a gRPC connection.
    _end(source)
    _end(target)


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
