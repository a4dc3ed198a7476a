"""What a service and its workers take of the machine."""

from __future__ import annotations

import resource
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


CYCLES, ARRAYS, ARRAY_BYTES = 10, 8, 2 << 20
FAULTS = f"""
import resource, sys
from blindsight import processes
if sys.argv[1] == "keep":
    processes.keep_freed_memory()
def work():
    return [bytearray(b"x") * {ARRAY_BYTES} for _ in range({ARRAYS})]
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range({CYCLES}):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Pages that the kernel gave a process which takes and frees the same memory again and again."""
    ended = subprocess.run([sys.executable, "-c", FAULTS, how], stdout=subprocess.PIPE, check=True)
    return int(ended.stdout)


def test_memory_that_a_process_keeps_need_not_be_had_from_the_kernel_again() -> None:
    pages = ARRAYS * ARRAY_BYTES // resource.getpagesize()
    assert faults("give back") > CYCLES * pages / 2
    assert faults("keep") < pages / 2
