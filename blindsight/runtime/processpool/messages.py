"""Messages between a service and one of its workers: eight bytes of length, little-endian, and so many bytes.

A socket is given a timeout only if there is one: a confined worker may not change its sockets.
"""

from __future__ import annotations

import socket
import struct
import time

_LENGTH = struct.Struct("<Q")


class TooLong(Exception):
    """A message is longer than it may be."""


def send(connection: socket.socket, message: bytes | memoryview, seconds: float | None = None) -> None:
    """Sends a message.

    Args:
        seconds: how long the other side may take to receive it; None for as long as it likes.

    Raises:
        OSError: if the other side is gone, or takes longer.
    """
    if seconds is not None:
        connection.settimeout(seconds)
    connection.sendall(_LENGTH.pack(len(message)))
    connection.sendall(message)


def receive(connection: socket.socket, *, most: int | None = None, seconds: float | None = None) -> bytearray:
    """Receives a message.

    Args:
        most: largest number of bytes that is accepted; None for any.
        seconds: how long the whole message may take; None for as long as it likes.

    Raises:
        TooLong: if more bytes are announced; none of them are received.
        EOFError: if the connection ends before the message.
        OSError: if the connection is broken, or the message takes longer.
    """
    until = None if seconds is None else time.monotonic() + seconds
    (size,) = _LENGTH.unpack(_read(connection, _LENGTH.size, until))
    if most is not None and size > most:
        raise TooLong(f"{size} bytes, want at most {most}")
    return _read(connection, size, until)


def _read(connection: socket.socket, size: int, until: float | None) -> bytearray:
    data = bytearray(size)
    with memoryview(data) as rest:
        read = 0
        while read < size:
            if until is not None:
                # Nought would not wait at all; what has come already is received however late it is.
                connection.settimeout(max(until - time.monotonic(), 1e-3))
            count = connection.recv_into(rest[read:], flags=socket.MSG_WAITALL if until is None else 0)
            if not count:
                raise EOFError
            read += count
    return data
