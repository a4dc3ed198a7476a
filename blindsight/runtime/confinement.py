"""Confinement of a process to computing: it answers on the sockets that it has, and reaches nothing else.

Native code that reads what strangers sent may come to run what they sent.  It then has what its process has,
so a process of this kind has no secret, can open no file and no socket, start no program, look into or signal
no other process, and make no memory executable.  The kernel holds it to that twice: by limits, which every
kernel has, and by a filter of system calls (seccomp), which forbids all but some thirty.

The filter is a program for the kernel's classic BPF machine.  It is written here because libseccomp, for
which there are Python bindings, would have to be in every image, and because it is short: a list, and three
calls whose arguments are looked at.  See seccomp(2), and userspace-api/seccomp_filter in the kernel's
documentation.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

# Calls by number, with seccomp(2) itself: x86_64's own table, and the common one of newer machines.
_X86_64 = {
    "read": 0, "write": 1, "close": 3, "fstat": 5, "poll": 7, "mmap": 9, "mprotect": 10, "munmap": 11,
    "brk": 12, "rt_sigaction": 13, "rt_sigprocmask": 14, "rt_sigreturn": 15, "sched_yield": 24, "mremap": 25,
    "madvise": 28, "nanosleep": 35, "getpid": 39, "sendto": 44, "recvfrom": 45, "clone": 56, "exit": 60,
    "getrusage": 98, "gettid": 186, "futex": 202, "sched_getaffinity": 204, "restart_syscall": 219,
    "clock_gettime": 228, "clock_nanosleep": 230, "exit_group": 231, "ppoll": 271, "set_robust_list": 273,
    "seccomp": 317, "getrandom": 318, "rseq": 334, "clone3": 435,
}  # fmt: skip
_AARCH64 = {
    "close": 57, "read": 63, "write": 64, "ppoll": 73, "fstat": 80, "exit": 93, "exit_group": 94, "futex": 98,
    "set_robust_list": 99, "nanosleep": 101, "clock_gettime": 113, "clock_nanosleep": 115,
    "sched_getaffinity": 123, "sched_yield": 124, "restart_syscall": 128, "rt_sigaction": 134,
    "rt_sigprocmask": 135, "rt_sigreturn": 139, "getrusage": 165, "getpid": 172, "gettid": 178,
    "sendto": 206, "recvfrom": 207, "brk": 214, "munmap": 215, "mremap": 216, "clone": 220, "mmap": 222,
    "mprotect": 226, "madvise": 233, "seccomp": 277, "getrandom": 278, "rseq": 293, "clone3": 435,
}  # fmt: skip
# With the name by which the kernel knows a machine's calls (<linux/audit.h>).
_MACHINES = {"x86_64": (0xC000003E, _X86_64), "aarch64": (0xC00000B7, _AARCH64)}
# Bits of an argument, and whether they must be set: threads but no processes, memory but no code.
_CLONE_THREAD, _PROT_EXEC = 0x10000, 0x4
_LOOKED_AT = {
    "clone": (0, _CLONE_THREAD, True),
    "mmap": (2, _PROT_EXEC, False),
    "mprotect": (2, _PROT_EXEC, False),
}

_LOAD, _IF_EQUAL, _IF_BITS, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _REFUSE, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_NUMBER, _MACHINE, _ARGUMENTS = 0, 4, 16
_PR_SET_NO_NEW_PRIVS = 38
_SET_FILTER, _IS_KNOWN, _ALL_THREADS = 1, 2, 1
_INSTRUCTION = struct.Struct("<HBBI")


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def has_filters() -> bool:
    """Returns whether this kernel has filters of system calls, for a machine that is known here."""
    if platform.machine() not in _MACHINES:
        return False
    _, numbers = _MACHINES[platform.machine()]
    refused = ctypes.c_uint32(_REFUSE)
    return bool(ctypes.CDLL(None).syscall(numbers["seccomp"], _IS_KNOWN, 0, ctypes.byref(refused)) == 0)


def confine(room_bytes: int) -> None:
    """Confines this process for good; everything that it will import must have been imported.

    Of what it has open it keeps its sockets; what it would print goes nowhere.

    Args:
        room_bytes: how much more memory it may take than it has, in addresses.

    Raises:
        OSError: if the kernel has filters and refuses this one.
    """
    with Path(os.devnull).open("r+b", buffering=0) as nothing:
        for descriptor in {0, 1, 2, *(int(link.name) for link in Path("/proc/self/fd").iterdir())}:
            with suppress(OSError):  # the listing itself had one, which is closed
                if descriptor < 3 or not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                    os.dup2(nothing.fileno(), descriptor)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + room_bytes
    for limit, value in (
        (resource.RLIMIT_AS, most),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_NOFILE, 0),  # what is open stays so
    ):
        resource.setrlimit(limit, (value, value))
    if has_filters():
        _set_filter()


def _set_filter() -> None:
    machine, numbers = _MACHINES[platform.machine()]
    program = b"".join(_instructions(machine, numbers))
    libc = ctypes.CDLL(None, use_errno=True)
    given = ctypes.byref(_Program(len(program) // _INSTRUCTION.size, program))
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.syscall(
        numbers["seccomp"], _SET_FILTER, _ALL_THREADS, given
    ):
        raise OSError(ctypes.get_errno(), "the kernel refuses a filter of system calls")


def _instructions(machine: int, numbers: dict[str, int]) -> Iterator[bytes]:
    """Yields the filter's instructions; a jump says how many to leave out if it holds, and if it does not."""
    yield _INSTRUCTION.pack(_LOAD, 0, 0, _MACHINE)
    yield _INSTRUCTION.pack(_IF_EQUAL, 1, 0, machine)  # numbers mean other calls on another machine
    yield _INSTRUCTION.pack(_RETURN, 0, 0, _KILL)
    yield _INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER)
    for name, number in numbers.items():
        if name in _LOOKED_AT:
            argument, bits, wanted = _LOOKED_AT[name]
            yield _INSTRUCTION.pack(_IF_EQUAL, 0, 4, number)
            yield _INSTRUCTION.pack(_LOAD, 0, 0, _ARGUMENTS + 8 * argument)  # its lower half
            yield _INSTRUCTION.pack(_IF_BITS, not wanted, wanted, bits)
            yield _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW)
            yield _INSTRUCTION.pack(_RETURN, 0, 0, _REFUSE | errno.EPERM)
        elif name == "clone3":  # its flags lie in memory; told that there is none, the C library takes clone
            yield _INSTRUCTION.pack(_IF_EQUAL, 0, 1, number)
            yield _INSTRUCTION.pack(_RETURN, 0, 0, _REFUSE | errno.ENOSYS)
        elif name != "seccomp":
            yield _INSTRUCTION.pack(_IF_EQUAL, 0, 1, number)
            yield _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW)
    yield _INSTRUCTION.pack(_RETURN, 0, 0, _REFUSE | errno.EPERM)
