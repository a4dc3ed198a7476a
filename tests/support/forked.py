"""Services started by a template process (`template.py`), with what tests use of `subprocess.Popen`."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import IO

TEMPLATE = Path(__file__).with_name("template.py")
_NUMBER = struct.Struct("<i")


class Forked:
    """One service; the part of `subprocess.Popen` that tests use.

    Args:
        name: of the service.
        environment: all of it.
        log: where its standard error goes.
    """

    def __init__(self, name: str, environment: Mapping[str, str], log: IO[bytes]) -> None:
        request = {"name": name, "environment": dict(environment), "folder": str(Path.cwd())}
        printed, print_to = os.pipe()
        self._report, report_to = os.pipe()
        descriptors = [print_to, log.fileno(), report_to]
        try:
            _TEMPLATE.ask(json.dumps(request).encode(), descriptors)
        finally:
            os.close(print_to)
            os.close(report_to)
        self.stdout: IO[str] = TextIOWrapper(os.fdopen(printed, "rb"))
        self.returncode: int | None = None
        self.pid = self._number()

    def _number(self) -> int:
        (number,) = _NUMBER.unpack(os.read(self._report, _NUMBER.size))
        return int(number)

    def poll(self) -> int | None:
        """The exit code, once there is one."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout: float | None = None) -> int:
        """Waits for the end; returns the exit code, of a signal below zero."""
        if self.returncode is None:
            poller = select.poll()
            poller.register(self._report, select.POLLIN)
            if not poller.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired([str(TEMPLATE)], timeout or 0)
            self.returncode = self._number()
            os.close(self._report)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Sends a signal, unless it has ended."""
        if self.poll() is None:
            with suppress(ProcessLookupError):  # the template, its parent, may have buried it since
                os.kill(self.pid, number)

    def kill(self) -> None:
        """kill -9."""
        self.send_signal(signal.SIGKILL)


class _Template:
    """The template of this process, started with the first service; it ends with this process."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._requests, self._served = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def ask(self, request: bytes, descriptors: Sequence[int]) -> None:
        with self._starting:
            if self._process is None:
                self._process = subprocess.Popen(
                    [sys.executable, "-P", str(TEMPLATE), str(self._served.fileno())],
                    stdin=subprocess.DEVNULL,
                    pass_fds=[self._served.fileno()],
                )
                self._served.close()
        socket.send_fds(self._requests, [request], descriptors)


_TEMPLATE = _Template()
