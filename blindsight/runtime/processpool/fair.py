"""A queue for threads whose lines, one of each tenant, are served in turn."""

from __future__ import annotations

import queue
import threading
from collections import deque
from typing import Generic, TypeVar

Entry = TypeVar("Entry")


class FairQueue(Generic[Entry]):
    """A queue that takes from its lines in turn, so that a long one keeps no other waiting."""

    def __init__(self) -> None:
        self._lines: dict[str, deque[Entry]] = {}
        self._filled = threading.Condition()

    def put(self, line: str, entry: Entry) -> None:
        """Puts an entry at the end of a line."""
        with self._filled:
            self._lines.setdefault(line, deque()).append(entry)
            self._filled.notify()

    def get(self, timeout: float | None = None) -> Entry:
        """Takes the first entry of the line whose turn it is; waits for one.

        Args:
            timeout: seconds; None for any time.

        Raises:
            queue.Empty: if none comes in time.
        """
        with self._filled:
            if not self._filled.wait_for(lambda: self._lines, timeout):
                raise queue.Empty
            name = next(iter(self._lines))
            line = self._lines.pop(name)
            entry = line.popleft()
            if line:
                self._lines[name] = line  # behind the others
            return entry
