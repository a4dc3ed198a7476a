"""Servers that are not Python packages: `tools/test-servers` installs them, tests run their own."""

from __future__ import annotations

import os
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
