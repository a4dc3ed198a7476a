"""Queries per day, counted on the disk: a restart gives nobody new ones."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from blindsight.errors import ResourceExhausted
from blindsight.runtime.sqlite import Schema, Store

FILE_NAME = "limits.db"
SCHEMA = Schema(__package__, "a database of limits", version=1, application_id=0x42534C4D)  # "BSLM"
_DAY_SECONDS = 86_400
# So many more than were asked are on the disk, which is then written once for as many.  After kill -9 they
# count as asked.
_AHEAD = 64


@dataclass(slots=True)
class _Count:
    day: int
    used: int
    kept: int


class Budgets(Store):
    """What each key asked today, in UTC.

    Args:
        path: of the file; created if it does not exist.
        clock: returns the seconds since 1970.
    """

    schema = SCHEMA

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        super().__init__(path)
        self._clock = clock
        today = self._today()
        with self._transaction() as db:
            db.execute("DELETE FROM used WHERE day < ?", (today - 1,))
            rows = db.execute("SELECT key, queries FROM used WHERE day = ?", (today,)).fetchall()
        self._counts = {key: _Count(today, queries, queries) for key, queries in rows}

    def _today(self) -> int:
        return int(self._clock() // _DAY_SECONDS)

    def used(self, key: str) -> int:
        """Returns how many queries a key asked today; after kill -9, as many as it may have asked."""
        count = self._counts.get(key)
        return count.used if count is not None and count.day == self._today() else 0

    def take(self, key: str, queries: int, most: int | None) -> None:
        """Counts queries; they are on the disk when this returns.

        Args:
            most: how many a day has; None: any number.

        Raises:
            ResourceExhausted: if there are not so many left, and none of them is counted; `retry_seconds`
                says when there are. Or if the disk is full.
        """
        day, used = self._today(), self.used(key)
        if most is not None and used + queries > most:
            begins = (day + 1) * _DAY_SECONDS
            again = datetime.fromtimestamp(begins, UTC)
            raise ResourceExhausted(
                f"{used} of {most} queries of this day are used and {queries} more came, want them from "
                f"{again:%Y-%m-%d %H:%M} UTC on",
                retry_seconds=round(begins - self._clock(), 3),
            )
        count = self._counts.get(key)
        if count is None or count.day != day:
            count = _Count(day, 0, 0)
        if used + queries > count.kept:
            ahead = used + queries + _AHEAD
            count.kept = ahead if most is None else min(ahead, most)
            self._keep({key: count}, lambda one: one.kept)
        count.used = used + queries
        self._counts[key] = count

    def _keep(self, counts: dict[str, _Count], what: Callable[[_Count], int]) -> None:
        rows = [(key, one.day, what(one)) for key, one in counts.items()]
        with self._transaction() as db:
            db.executemany("INSERT OR REPLACE INTO used VALUES (?, ?, ?)", rows)

    def forget(self, key: str) -> None:
        """Forgets a key."""
        self._counts.pop(key, None)
        with self._transaction() as db:
            db.execute("DELETE FROM used WHERE key = ?", (key,))

    def close(self) -> None:
        """Keeps exactly what was asked, and closes the database."""
        try:
            self._keep(self._counts, lambda one: one.used)
        finally:
            super().close()
