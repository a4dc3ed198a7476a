"""The log of a service that runs under `blindsight up`: bounded, no line lost, each an object of JSON."""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

MAX_LOG_BYTES = 50 << 20
_READ_BYTES = 1 << 16
_LONGEST_LINE = 1 << 20
# The event of a line that was none of JSON: the last words of a process, or those of a library in C.
SAID = "said"


def parsed(line: bytes | str) -> dict[str, Any] | None:
    """Returns the object of a line of JSON; None for any other line."""
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


class ServiceLog:
    """Writes what a service says to a file; when that is full, it becomes the older of two.

    In a thread of its own, so that nothing which holds up this process holds up the service.  A service that
    rotated its own log would leave its worker processes with the old one.

    Args:
        path: the file; the older one is beside it, and ends with `.1`.
        service: whose log it is.
        most_bytes: the size of a full one.
    """

    def __init__(self, path: Path, service: str, most_bytes: int = MAX_LOG_BYTES) -> None:
        self._path = path
        self._service = service
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
                lines, _, begun = (begun + part).rpartition(b"\n")
                if len(begun) > _LONGEST_LINE:
                    lines, begun = lines + b"\n" + begun, b""
                self._write(self._as_json(lines))
        self._write(self._as_json(begun))
        os.close(self._file)

    def _as_json(self, lines: bytes) -> bytes:
        every = (line for line in lines.split(b"\n") if line.strip())
        return b"".join((line if parsed(line) else self._quoted(line)) + b"\n" for line in every)

    def _quoted(self, line: bytes) -> bytes:
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        about = {"event": SAID, "level": "warning", "service": self._service, "timestamp": now}
        return json.dumps({**about, "message": line.decode("utf-8", "replace")}, sort_keys=True).encode()

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
