"""What native code would try in a process that it has taken over; OSError says that it is forbidden."""

from __future__ import annotations

import ctypes
import mmap
import os
import resource
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np

from blindsight.runtime import confinement

_libc = ctypes.CDLL(None, use_errno=True)
_PTRACE_ATTACH, _PTRACE_DETACH = 16, 17
_PR_SET_DUMPABLE = 4


def _checked(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def open_for_reading(path: str) -> None:
    Path(path).read_bytes()


def open_for_writing(path: str) -> None:
    with Path(path).open("ab") as file:
        file.write(b"x")


def make_folder(path: str) -> None:
    Path(path + ".made").mkdir()


def remove(path: str) -> None:
    Path(path).unlink()


def look_around(path: str) -> None:
    Path(path).stat()


def connect(_: str) -> None:
    socket.socket().close()


def talk_to_itself(_: str) -> None:
    socket.socketpair()


def open_memory_file(_: str) -> None:
    os.close(os.memfd_create("x"))


def fork(_: str) -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)


def start_a_program(_: str) -> None:
    subprocess.run(["/bin/true"], check=True)


def signal_its_parent(_: str) -> None:
    os.kill(os.getppid(), 0)


def read_its_parents_memory(_: str) -> None:
    class Part(ctypes.Structure):
        _fields_ = (("start", ctypes.c_void_p), ("size", ctypes.c_size_t))

    buffer = ctypes.create_string_buffer(1)
    # A fork has the addresses of its parent.
    own, other = Part(ctypes.addressof(buffer), 1), Part(id(None), 1)
    _checked(_libc.process_vm_readv(os.getppid(), ctypes.byref(own), 1, ctypes.byref(other), 1, 0))


def trace_its_parent(_: str) -> None:
    _checked(_libc.ptrace(_PTRACE_ATTACH, os.getppid(), None, None))
    os.waitpid(os.getppid(), 0)
    _checked(_libc.ptrace(_PTRACE_DETACH, os.getppid(), None, None))


def make_code(_: str) -> None:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()


def turn_data_into_code(_: str) -> None:
    page = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    _checked(_libc.mprotect(ctypes.c_void_p(address), 4096, mmap.PROT_READ | mmap.PROT_EXEC))


def change_its_limits(_: str) -> None:
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except ValueError as error:  # what Python makes of EPERM here
        raise PermissionError from error


def become_readable(_: str) -> None:
    _checked(_libc.prctl(_PR_SET_DUMPABLE, 1))


ESCAPES = [
    open_for_reading,
    open_for_writing,
    make_folder,
    look_around,
    remove,
    connect,
    talk_to_itself,
    open_memory_file,
    fork,
    start_a_program,
    signal_its_parent,
    read_its_parents_memory,
    trace_its_parent,
    make_code,
    turn_data_into_code,
    change_its_limits,
    become_readable,
]
# What limits forbid where the kernel has no filters.
WITHOUT_FILTER = [open_for_reading, open_for_writing, connect, talk_to_itself, open_memory_file]


def confine_by_limits(room_bytes: int) -> None:
    """Confines this process as on a kernel without filters."""
    confinement.has_filters = lambda: False
    confinement.confine(room_bytes)


def compute() -> float:
    """Uses threads, memory and the library of linear algebra, as decoders do."""
    made: list[float] = []
    ones = np.ones((700, 700))
    threads = [threading.Thread(target=lambda: made.append(float((ones @ ones).sum()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(made)
