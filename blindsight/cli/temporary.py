"""The three services for the length of a block, as `blindsight up` runs them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from blindsight.errors import Unavailable

STOP_SECONDS = 60
_PREFIX = "blindsight: error: "


@contextmanager
def services(data: Path, *, quiet: bool = False) -> Iterator[str]:
    """Starts all three on free ports; yields the keyholder's address.

    Args:
        data: where everything is kept.
        quiet: keeps what `up` says from standard error.

    Raises:
        Unavailable: when they do not start.
    """
    command = [
        sys.executable,
        "-P",
        "-m",
        "blindsight.cli",
        "up",
        "--data",
        str(data),
        "--port",
        "0",
        "--json",
    ]
    said = subprocess.PIPE if quiet else None
    # Few lines are said, far less than a pipe holds.
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said, text=True
    ) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise Unavailable(f"the services did not start: {_reason(process)}")
            yield str(json.loads(line)["address"])
        finally:
            process.send_signal(signal.SIGTERM)
            _wait(process)


def _reason(process: subprocess.Popen[str]) -> str:
    said = process.stderr.read().strip().splitlines() if process.stderr else []
    return said[-1].removeprefix(_PREFIX) if said else "see above"


def _wait(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
