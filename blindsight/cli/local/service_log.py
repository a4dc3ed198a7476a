"""The log of a service that runs under `blindsight up`: bounded while it runs, and without a line lost."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

MAX_LOG_BYTES = 50 << 20
_READ_BYTES = 1 << 16
_LONGEST_LINE = 1 << 20


class ServiceLog:
    """Writes what a service says to a file; when that is full, it becomes the older of two.

    In a thread of its own, so that nothing which holds up this process holds up the service.  A service that
    rotated its own log would leave its worker processes with the old one.

    Args:
        path: the file; the older one is beside it, and ends with `.1`.
        most_bytes: the size of a full one.
    """

    def __init__(self, path: Path, most_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._file = self._open()
        self._written = self.size_bytes
        self._reading: threading.Thread | None = None

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    @property
    def size_bytes(self) -> int:
        """The size of the file."""
        return os.fstat(self._file).st_size

    def pipe(self) -> int:
        """Returns the end of a new pipe that a service writes to; close it once the service has it."""
        read, write = os.pipe2(os.O_CLOEXEC)
        self._reading = threading.Thread(target=self._follow, args=(read,), name="log", daemon=True)
        self._reading.start()
        return write

    def _follow(self, descriptor: int) -> None:
        begun = b""
        with open(descriptor, "rb", buffering=0) as said:
            while part := said.read(_READ_BYTES):
                lines, newline, begun = (begun + part).rpartition(b"\n")
                if len(begun) > _LONGEST_LINE:
                    newline, begun = begun, b""
                self._write(lines + newline)
        self._write(begun)
        os.close(self._file)

    def _write(self, lines: bytes) -> None:
        if not lines:
            return
        if self._written and self._written + len(lines) > self._most_bytes:
            self._rotate()
        view = memoryview(lines)
        with suppress(OSError):  # a full disk: no service may stop because of its log
            while view:
                written = os.write(self._file, view)
                self._written += written
                view = view[written:]

    def _rotate(self) -> None:
        with suppress(OSError):
            self._path.replace(self._path.with_suffix(".jsonl.1"))
            full, self._file = self._file, self._open()
            os.close(full)
            self._written = 0

    def finish(self, seconds: float) -> None:
        """Waits until all is written that was said, and no longer than this: a worker process may linger."""
        if self._reading is not None:
            self._reading.join(seconds)
