"""Disk space that is kept for what frees space: on a full disk, a deletion must be written down first."""

from __future__ import annotations

import os
from pathlib import Path

from blindsight.errors import ResourceExhausted

# In errors, which callers of other services read, too.
DISK = "storage's disk"


class Reserve:
    """A file that holds space, and is removed for deletions and repacks that find none.

    Until it is there again nothing else is written, which would take what they free.

    Args:
        path: of the file.
        size_bytes: its size; 0 for none.
    """

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self.size_bytes = size_bytes
        self._held = False

    @property
    def held(self) -> bool:
        """Whether the space is held; True if it is none."""
        return self._held

    def release(self) -> None:
        """Gives the space to who needs it."""
        self._held = not self.size_bytes
        self._path.unlink(missing_ok=True)

    def hold(self) -> bool:
        """Takes the space, if it is not held; returns whether it is held now."""
        self._held = self._held or not self.size_bytes or self._take()
        return self._held

    def _take(self) -> bool:
        file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(file, 0, self.size_bytes)
        except OSError:
            self._path.unlink()  # a part of it would take what a deletion needs
            return False
        finally:
            os.close(file)
        return True

    def require(self) -> None:
        """Checks that the space is held, before anything is written that frees none.

        Raises:
            ResourceExhausted: if the disk is too full for it.
        """
        if not self.hold():
            raise ResourceExhausted(
                f"{DISK} is full: want {self.size_bytes} bytes for deletions before anything is stored"
            )
