"""A process that is told to end does end, even one whose event loop is stuck."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, time
from blindsight.runtime import logs
from blindsight.runtime import shutdown

shutdown.CLOSING_SECONDS = 0.2

async def main():
    logs.configure("stuck")
    watching = shutdown.Shutdown(float({seconds}))
    print("up", flush=True)
    await watching.begun.wait()
    print("begun", flush=True)
    {then}

asyncio.run(main())
"""
STUCK = "time.sleep(60)"
PATIENT = "await watching.wait_for(asyncio.Event()); time.sleep(60)"


@pytest.mark.parametrize(
    ("seconds", "then", "signals"), [(0.2, STUCK, 1), (3000, PATIENT, 2)], ids=["deadline", "second signal"]
)
def test_a_stuck_process_ends_soon_after_its_deadline(seconds: float, then: str, signals: int) -> None:
    program = PROGRAM.format(seconds=seconds, then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        for line in ("up\n", "begun\n")[:signals]:
            assert process.stdout.readline() == line
            process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 1
    assert json.loads(errors.splitlines()[-1])["event"] == "overdue"
