"""Memory that the service and its workers share: files in memory, which have no name in any folder.

Queries and results pass through them without a copy, and a worker that dies takes nothing along.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from blindsight.errors import Unavailable


@dataclass(frozen=True, slots=True)
class SharedRef:
    """Names a piece of shared memory to a worker.

    Attributes:
        path: opens it while its owner keeps it.
        inode: tells it from a later one under the same path.
        size_bytes: all of it.
    """

    path: str
    inode: int
    size_bytes: int

    def map(self, *, writable: bool = False) -> mmap.mmap:
        """Maps it into this process; the mapping goes when the last view of it does.

        Raises:
            Unavailable: if its owner gave it up: nobody waits for this work any more.
        """
        try:
            file = os.open(self.path, os.O_RDWR if writable else os.O_RDONLY)
        except FileNotFoundError as error:
            raise Unavailable("the caller is gone") from error
        try:
            if os.fstat(file).st_ino != self.inode:
                raise Unavailable("the caller is gone")
            access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
            return mmap.mmap(file, self.size_bytes, mmap.MAP_SHARED | mmap.MAP_POPULATE, access)
        finally:
            os.close(file)


class SharedMemory:
    """A piece of shared memory, given up on leaving the `with` block.

    Args:
        size_bytes: of zeros to begin with; `append` adds to it.
    """

    def __init__(self, size_bytes: int = 0) -> None:
        # A Python file: one that nobody closes is closed when it is forgotten, with a ResourceWarning.
        self._file = os.fdopen(os.memfd_create("blindsight"), "r+b", buffering=0)
        self._size = size_bytes
        self._file.truncate(size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def size_bytes(self) -> int:
        """Bytes of it now."""
        return self._size

    @property
    def ref(self) -> SharedRef:
        """What a worker needs to find it."""
        descriptor = self._file.fileno()
        path = f"/proc/{os.getpid()}/fd/{descriptor}"
        return SharedRef(path, os.fstat(descriptor).st_ino, self._size)

    def append(self, data: bytes) -> None:
        """Adds bytes at the end."""
        self.write(self._size, data)
        self._size += len(data)

    def write(self, offset: int, data: bytes) -> None:
        """Writes bytes at an offset."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[written:], offset + written

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Copies bytes out."""
        return os.pread(self._file.fileno(), size_bytes, offset)

    def close(self) -> None:
        """Gives it up; the memory is free once no worker maps it."""
        self._file.close()
