"""Servers that are not Python packages: `tools/test-servers` installs them, tests run their own."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

TESTS = Path(__file__).parent.parent
LIST = TESTS / "servers.list"


def require(package: str) -> Path:
    """The file that a Debian package brings; without it the test is skipped, or fails where CI is set."""
    rows = [line.split() for line in LIST.read_text().splitlines() if line and not line.startswith("#")]
    path = Path({name: file for file, name in rows}[package])
    if not path.exists():
        message = f"{package} is not installed: apt-get install {package}, or make test as root on Debian"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports
