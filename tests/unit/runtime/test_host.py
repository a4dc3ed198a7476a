"""What a service and its workers take of the machine."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.services import variables

from blindsight.runtime import host

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
    before = host.cpu_seconds()
    child = worker(BUSY)
    running = host.cpu_seconds()
    child.communicate()
    assert running - before >= 0.45
    assert host.cpu_seconds() >= running - 0.05  # of ticks, rounded


MEMORY = f"""
import subprocess, sys
from blindsight.runtime import host
before = host.memory_bytes()
child = subprocess.Popen([sys.executable, "-c", {LARGE!r}], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
child.stdout.readline()
running = host.memory_bytes()
child.communicate()
print(running - before, running - host.memory_bytes())
"""


def test_memory_counts_workers_that_run() -> None:
    # In a process of its own: workers that other tests left in this one grow and end meanwhile.
    ran = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    taken, given_back = map(int, ran.stdout.split())
    assert taken >= 100 << 20
    assert given_back > 90 << 20


CYCLES, ARRAYS, ARRAY_BYTES = 10, 8, 2 << 20
FAULTS = f"""
import resource, sys
from blindsight.runtime import host
if sys.argv[1] == "keep":
    host.keep_photos()
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


THRESHOLDS = """
import ctypes, importlib, sys
from blindsight import errors
from blindsight.runtime import server

class Mallinfo(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in names.split()]

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Mallinfo
libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]

def mapped(size):
    before = libc.mallinfo2().hblks
    block = libc.malloc(size)
    after = libc.mallinfo2().hblks
    libc.free(block)
    return after > before

def kept(size):
    for block in [libc.malloc(1 << 20) for _ in range(size >> 20)]:
        libc.free(block)
    return libc.mallinfo2().keepcost >= size

async def probe(*given, **named):
    blocks = max(size for size in range(1, 65) if not mapped((size << 20) - 4096))
    print(blocks, max(size for size in range(1, 129) if kept(size << 20)))
    raise errors.Unavailable("it was looked at")

server.Server.start = probe
sys.exit(importlib.import_module(sys.argv.pop()).main())
"""


@pytest.mark.parametrize(
    ("service", "settings", "blocks_mib", "kept_mib"),
    [("storage", {}, 32, 64), ("evaluator", {"storage_address": "127.0.0.1:1", "workers": "1"}, 8, 32)],
)
def test_a_service_that_serves_keeps_as_much_memory_as_it_asked_for(
    tmp_path: Path, service: str, settings: dict[str, str], blocks_mib: int, kept_mib: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", THRESHOLDS, f"services.{service}.__main__"],
        env=variables(service, {"data": str(tmp_path), **settings}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "it was looked at" in ended.stderr
    blocks, kept = map(int, ended.stdout.split())
    assert blocks == blocks_mib
    # What the service holds beside lies on top of it, or what it has freed below.
    assert kept_mib - 4 <= kept <= kept_mib


@pytest.mark.parametrize(
    ("groups", "files", "wanted"),
    [
        ("0::/", {"memory.max": 700 << 20}, 700 << 20),
        ("0::/pods/one", {"pods/one/memory.max": "max", "pods/memory.max": 300 << 20}, 300 << 20),
        ("5:cpu:/a\n4:memory:/a", {"memory/a/memory.limit_in_bytes": 1 << 20}, 1 << 20),
        ("4:memory:/a", {"memory/memory.limit_in_bytes": 2 << 20}, 2 << 20),
        ("0::/", {"memory.max": "max"}, None),
        ("0::/", {"memory.max": 1 << 60}, None),
        (None, {}, None),
    ],
)
def test_the_memory_limit_is_the_least_of_machine_and_control_groups(
    tmp_path: Path, groups: str | None, files: dict[str, object], wanted: int | None
) -> None:
    listed, tree = tmp_path / "cgroup", tmp_path / "tree"
    if groups is not None:
        listed.write_text(groups + "\n")
    for name, value in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"{value}\n")
    assert host.memory_limit_bytes(listed, tree) == (wanted or psutil.virtual_memory().total)
