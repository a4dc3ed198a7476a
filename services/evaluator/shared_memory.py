"""Memory that the service and its worker processes share: anonymous files in memory (memfd).

Queries and results pass through them without a copy, and nothing is lost if a worker process dies.
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
    """A reference to shared memory, for a worker process.

    Attributes:
        path: path under which it can be opened while its owner keeps it.
        inode: distinguishes it from a later one under the same path.
        size_bytes: its size.
    """

    path: str
    inode: int
    size_bytes: int

    def map(self, *, writable: bool = False) -> mmap.mmap:
        """Maps the memory into this process, until the last view of the mapping is gone.

        Raises:
            Unavailable: if its owner has closed it, so that the result is not needed any more.
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
    """Shared memory, which is closed at the end of the `with` block.

    Args:
        size_bytes: its initial size, filled with zeros; `append` adds to it.
    """

    def __init__(self, size_bytes: int = 0) -> None:
        # A Python file object, so that one that is not closed is closed by the garbage collector, with a
        # ResourceWarning.
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
        """The current size."""
        return self._size

    @property
    def ref(self) -> SharedRef:
        """A reference by which a worker process can map the memory."""
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
        """Returns a copy of some bytes."""
        return os.pread(self._file.fileno(), size_bytes, offset)

    def close(self) -> None:
        """Closes the memory, which is freed once no worker process maps it."""
        self._file.close()
