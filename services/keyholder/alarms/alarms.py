"""A record of answers that were not what they should be: somebody's machine is broken, or lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

from blindsight.errors import NO_COLLECTION, BlindsightError, DataLoss, NotFound
from blindsight.runtime import logs
from blindsight.wire.collections import Alarm
from services.keyholder import metrics
from services.keyholder.alarms.store import AlarmStore

_NAMED = "collection"


class Alarms:
    """The alarms that the owner has not acknowledged, one for each collection.

    Args:
        store: keeps them; None: they are forgotten with this object.
    """

    def __init__(self, store: AlarmStore | None = None) -> None:
        self._store = store
        self._standing = {one.collection: one for one in store.load()} if store is not None else {}
        self._newest = store.newest() if store is not None else 0

    @property
    def standing(self) -> tuple[Alarm, ...]:
        """The alarms, the newest last."""
        return tuple(sorted(self._standing.values(), key=lambda one: one.number))

    @contextmanager
    def watching(self, what: str) -> Iterator[None]:
        """Records a DataLoss of the block, which it raises on; a collection that is not there gets its name.

        Args:
            what: the collection that was asked, or what else was.
        """
        try:
            yield
        except NotFound as error:
            if not error.metadata.items() >= NO_COLLECTION.items():
                raise
            raise NotFound(f"collection {what!r} is gone: it was deleted, or storage has lost it") from error
        except DataLoss as error:
            if _NAMED in error.metadata:  # it was recorded further in
                raise
            error.metadata[_NAMED] = what
            self.note(what, error.message)
            raise

    def note(self, what: str, message: str) -> None:
        """Records that something was refused."""
        metrics.ANSWER_ERRORS.inc()
        logs.get().error("answer_refused", collection=what, reason=DataLoss.reason)
        now = datetime.now(UTC).replace(microsecond=0)
        self._newest += 1
        before = self._standing.get(what)
        made = Alarm(self._newest, what, message, 1, now, now)
        if before is not None:
            made = replace(made, count=before.count + 1, first=before.first)
        self._standing[what] = made
        self._save(made, [before.number] if before is not None else [])

    def _save(self, made: Alarm, instead_of: Sequence[int]) -> None:
        if self._store is not None:
            try:
                self._store.save(made, instead_of)
            except BlindsightError as error:  # a full disk; the answer is refused all the same
                logs.get().error("alarm_not_saved", reason=error.reason)

    def rename(self, old: str, new: str) -> None:
        """Lets what was noted of a collection stand under its new name."""
        before = self._standing.pop(old, None)
        if before is None:
            return
        other = self._standing.get(new)  # of a collection that was deleted
        made = replace(before, collection=new)
        if other is not None:
            newest = max(before, other, key=lambda one: one.number)
            made = replace(
                newest,
                collection=new,
                count=before.count + other.count,
                first=min(before.first, other.first),
            )
        self._standing[new] = made
        self._save(made, [one.number for one in (before, other) if one is not None])

    def acknowledge(self, up_to: int) -> int:
        """Removes the alarms that the owner has seen, up to a number; returns how many."""
        seen = [one for one in self.standing if one.number <= up_to]
        if self._store is not None and seen:
            self._store.remove([one.number for one in seen])
        for one in seen:
            del self._standing[one.collection]
        return len(seen)

    def text(self, unreadable: int = 0, lost: Sequence[str] = ()) -> str:
        """Returns a sentence for people; an empty one if there is nothing to tell.

        Args:
            unreadable: number of collections whose settings storage has changed.
            lost: names of collections that storage does not have any more.
        """
        told = []
        if self._standing:
            last = self.standing[-1]
            count = sum(one.count for one in self.standing)
            answers = "1 answer was" if count == 1 else f"{count} answers were"
            when = f"{last.last:%Y-%m-%d %H:%M:%S UTC}"
            told.append(
                f"{answers} refused because the untrusted side sent something else than it should; "
                f"{when}, {last.collection}: {last.message}"
            )
        if unreadable:
            them = "1 collection" if unreadable == 1 else f"{unreadable} collections"
            told.append(f"storage has changed the settings of {them}, which cannot be opened")
        if lost:
            told.append(
                f"storage has lost {'collection' if len(lost) == 1 else 'collections'} {', '.join(lost)}"
            )
        return "; ".join(told)
