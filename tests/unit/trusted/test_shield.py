"""Processes with keys keep their memory to themselves."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

# Root may read everything, so both processes become nobody.  (That alone would hide them.)
NOBODY = """
import ctypes, os, sys
if os.geteuid() == 0:
    os.setgroups([]), os.setgid(65534), os.setuid(65534)
    ctypes.CDLL(None).prctl(4, 1)
"""
HOLDER = f"""
from blindsight.trusted.keyring.shield import raise_shield
{NOBODY}
if sys.argv[1] == "shielded":
    raise_shield()
print(flush=True)
sys.stdin.read()
"""
READER = f"""
{NOBODY}
for name in ("environ", "mem"):
    try:
        open(f"/proc/{{sys.argv[1]}}/{{name}}", "rb").close()
        print("read")
    except PermissionError:
        print("refused")
print(open(f"/proc/{{sys.argv[1]}}/limits").read().split("Max core file size")[1].split()[0])
"""


@contextmanager
def holder(how: str) -> Iterator[int]:
    """The process id of a process that has something to hide."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"\n"
    try:
        yield process.pid
    finally:
        process.communicate()


def seen(pid: int) -> list[str]:
    """What another process of the same user can read: environment, memory; and the limit of core dumps."""
    ran = subprocess.run([sys.executable, "-c", READER, str(pid)], capture_output=True, text=True, check=True)
    return ran.stdout.split()


def test_a_process_with_keys_cannot_be_read_or_dumped_by_others_of_its_user() -> None:
    with holder("open") as pid:
        if seen(pid)[:2] != ["read", "read"]:
            pytest.skip("this kernel lets no process read another anyway")
    with holder("shielded") as pid:
        assert seen(pid) == ["refused", "refused", "0"]
