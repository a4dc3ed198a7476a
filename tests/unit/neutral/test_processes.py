"""What a service and its workers take of the machine."""

from __future__ import annotations

import subprocess
import sys

from blindsight import processes

BUSY = "import sys, time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\nsys.stdin.read()"
LARGE = "import sys\nkept = b'x' * (100 << 20)\nprint(flush=True)\nsys.stdin.read()"


def worker(program: str) -> subprocess.Popen[str]:
    """A child that has done its work and waits."""
    child = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    return child


def test_processor_time_counts_workers_that_run_and_those_that_have_ended() -> None:
    before = processes.cpu_seconds()
    child = worker(BUSY)
    running = processes.cpu_seconds()
    child.communicate()
    assert running - before >= 0.45
    assert processes.cpu_seconds() >= running - 0.05  # of ticks, rounded


def test_memory_counts_workers_that_run() -> None:
    before = processes.memory_bytes()
    child = worker(LARGE)
    running = processes.memory_bytes()
    child.communicate()
    assert running - before >= 100 << 20
    assert processes.memory_bytes() < running - (90 << 20)
