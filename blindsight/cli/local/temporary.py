"""Temporary services: `blindsight up` for the duration of a block."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import NoReturn

from blindsight.errors import Unavailable
from blindsight.runtime.profiles import CONFIG_VARIABLE

STOP_SECONDS = 60


@contextmanager
def services(data: Path, *, quiet: bool = False) -> Iterator[str]:
    """Runs all services on free ports while the block runs; yields the keyholder's address.

    Args:
        data: the data folder.
        quiet: whether to hide the messages of `up`.

    Raises:
        Unavailable: if the services do not start.
    """
    command = [sys.executable, "-P", "-m", "blindsight.cli", "up", "--json"]
    options = ["--data", str(data), "--port", "0"]
    said = subprocess.PIPE if quiet else None
    # Nobody reads the pipe until the end: `up` writes far less than it holds.
    with (
        ended_in_order(),
        subprocess.Popen(
            [*command, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            env={**os.environ, CONFIG_VARIABLE: ""},
            # Keeps Ctrl-C from the services: it ends the block, and the block stops them.
            start_new_session=True,
        ) as process,
    ):
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                raise Unavailable(f"the services did not start: {_reason(process)}")
            yield str(json.loads(line)["address"])
        finally:
            process.send_signal(signal.SIGTERM)
            _wait(process)


@contextmanager
def ended_in_order() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP raise SystemExit while the block runs, so that it cleans up as on Ctrl-C."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    heard = [number for number, handler in before.items() if handler is not signal.SIG_IGN]  # as by nohup
    for number in heard:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


def _reason(process: subprocess.Popen[str]) -> str:
    said = process.stderr.read().strip().splitlines() if process.stderr else []
    if not said:
        return "see above"
    try:
        return str(json.loads(said[-1])["message"])
    except (ValueError, KeyError, TypeError):
        return said[-1]


def _wait(process: subprocess.Popen[str]) -> None:
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
