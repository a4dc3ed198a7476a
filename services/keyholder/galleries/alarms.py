"""A record of answers that were not what they should be: somebody's machine is broken, or lies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from blindsight.errors import DataLoss
from blindsight.runtime import logs
from services.keyholder import metrics

_NAMED = "collection"


class Alarms:
    """The alarms since the keyholder started."""

    def __init__(self) -> None:
        self.count = 0
        self._last = ""

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Records a DataLoss of the block, which it raises on.

        Args:
            what: the collection that was asked, or what else was.
        """
        try:
            yield
        except DataLoss as error:
            if _NAMED in error.metadata:  # it was recorded further in
                raise
            error.metadata[_NAMED] = what
            self.note(what, error.message)
            raise

    def note(self, what: str, message: str) -> None:
        """Records that something was refused."""
        self.count += 1
        when = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        self._last = f"{when}, {what}: {message}"
        metrics.ANSWER_ERRORS.inc()
        logs.get().error("answer_refused", collection=what, reason=DataLoss.reason)

    def text(self, unreadable: int = 0, lost: Sequence[str] = ()) -> str:
        """Returns a sentence for people; an empty one if there is nothing to tell.

        Args:
            unreadable: number of collections whose settings storage has changed.
            lost: names of collections that storage does not have any more.
        """
        told = []
        if self.count:
            answers = "1 answer was" if self.count == 1 else f"{self.count} answers were"
            told.append(
                f"{answers} refused because the untrusted side sent something else than it should; "
                f"{self._last}"
            )
        if unreadable:
            them = "1 collection" if unreadable == 1 else f"{unreadable} collections"
            told.append(f"storage has changed the settings of {them}, which cannot be opened")
        if lost:
            told.append(
                f"storage has lost {'collection' if len(lost) == 1 else 'collections'} {', '.join(lost)}"
            )
        return "; ".join(told)
