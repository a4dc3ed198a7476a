"""The heads of collections' logs, by which a vault tells what storage gives out from what was written.

Every write has a link: an HMAC, under a key that storage does not have, of the state that it leads to and of
the link before it.  Who knows one link can tell whether a later one has the same history.  So a process that
keeps the newest link it has seen notices when storage is set back, and when it hides, repeats or exchanges
anything.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from hashlib import sha256

from blindsight.errors import BlindsightError, DataLoss
from blindsight.runtime import logs
from blindsight.trusted.secrets import Secret
from blindsight.trusted.slots import START, Point, SlotMap
from blindsight.wire.storage import Link, StoredCollection

_RECORD = (
    "collection_id",
    "name_tag",
    "sealed_config",
    "parameter_set",
    "key_id",
    "dimension",
    "stride",
    "fields",
)


class LogKey:
    """Makes and checks the links of one collection's log.

    Args:
        key: of this collection alone.
    """

    def __init__(self, key: Secret) -> None:
        self._key = key

    def link(self, before: bytes, slots: SlotMap, record: StoredCollection) -> Link:
        """Returns the link of a write.

        Args:
            before: the chain before it.
            slots: the slot map after it, of which the chain does not count.
            record: of the collection.
        """
        return self._signed(Link(slots.sequence, slots.epoch, before, slots.root(digest(record)), b""))

    def follow(
        self, known: Point, links: Sequence[Link], slots: SlotMap, record: StoredCollection
    ) -> SlotMap:
        """Checks a slot map, and that its history is one that goes on from a known point.

        Args:
            known: the newest point that was seen.
            links: those after the known point, or that of the known point alone.
            slots: the slot map.
            record: of the collection.

        Returns:
            The slot map with its chain.

        Raises:
            DataLoss: if it is older than the known point, has another history, or is not what was written.
        """
        if slots.sequence < known.sequence:
            raise DataLoss(
                f"storage has {slots.sequence} writes of the collection, and had {known.sequence}: "
                "it was set back"
            )
        if not slots.sequence:
            if slots.segments or slots.items_added or slots.epoch:
                raise DataLoss("storage has items of a collection that was never written to")
            return slots
        point = known
        links = [*links[:-1], *(self._newest(known, one, slots, record) for one in links[-1:])]
        for link in links:
            again = link.sequence == known.sequence and link.chain == known.chain
            if self._signed(link) != link or not (again or link.previous == point.chain):
                raise DataLoss(
                    "storage has another history of the collection: it was set back and written to since, "
                    "or mixed up"
                )
            point = Point(link.sequence, link.chain)
        newest = links[-1] if links else None
        made = newest and (newest.sequence, newest.epoch, newest.root)
        if made != (slots.sequence, slots.epoch, slots.root(digest(record))):
            raise DataLoss("storage's slots or record of the collection are not those that were written")
        return replace(slots, chain=point.chain)

    def _newest(self, known: Point, link: Link, slots: SlotMap, record: StoredCollection) -> Link:
        """Returns the newest link as it follows from the state, if that is what was written.

        So a link that is damaged where the state and the known point tell what it was does no harm.
        """
        chain = known.chain if link.sequence == known.sequence else link.chain
        made = replace(link, root=slots.root(digest(record)), chain=chain)
        return made if self._signed(made) == made else link

    def _signed(self, link: Link) -> Link:
        head = link.sequence.to_bytes(8, "little") + link.epoch.to_bytes(8, "little")
        chain = hmac.digest(self._key.reveal_secret(), head + link.previous + link.root, "sha256")
        return replace(link, chain=chain)


def digest(record: StoredCollection) -> bytes:
    """Returns a SHA-256 of what does not change in a collection's record once it has been written to."""
    return sha256(repr([getattr(record, name) for name in _RECORD]).encode()).digest()


class State(IntEnum):
    """What a vault knows of a collection: storage must have it, may have it, or must not have it."""

    LIVE = 1
    DELETING = 2
    DELETED = 3


@dataclass(frozen=True, slots=True)
class Head:
    """The newest point of a collection's log that was seen, and what the collection was called there.

    Attributes:
        name, aliases: see `CollectionConfig`.
    """

    name: str
    point: Point = START
    state: State = State.LIVE
    aliases: Mapping[str, int] = field(default_factory=dict)


class Heads:
    """The heads of all collections that this process knows.

    Args:
        known: by collection id.
        save: keeps a head over the end of the process; None: it is remembered no longer than that.
    """

    def __init__(
        self, known: Mapping[bytes, Head] | None = None, save: Callable[[bytes, Head], None] | None = None
    ) -> None:
        self._known = dict(known or {})
        self._save = save
        self._saved = dict(self._known)
        self._saving = asyncio.Lock()
        # By alias the highest number that was seen, and whose it is; None: to be made.
        self._aliases: dict[str, tuple[int, bytes]] | None = None

    def get(self, collection_id: bytes) -> Head | None:
        """Returns what is known of a collection; None if it was never seen."""
        return self._known.get(collection_id)

    def named(self, name: str) -> bytes | None:
        """Returns the id of the collection of this name that storage must have; None if there is none."""
        return next((key for key, known in self.live().items() if known == name), None)

    def live(self) -> dict[bytes, str]:
        """Returns the names of the collections that storage must have, by id."""
        return {key: head.name for key, head in self._known.items() if head.state is State.LIVE}

    def alias_number(self, alias: str) -> int:
        """Returns the highest number that an alias was seen with, also of what was deleted; 0 for none."""
        return self._newest_alias(alias)[0]

    def alias_holder(self, alias: str) -> bytes | None:
        """Returns the id of the collection that an alias means and storage must have; None if none is."""
        holder = self._known.get(self._newest_alias(alias)[1])
        return self._newest_alias(alias)[1] if holder is not None and holder.state is State.LIVE else None

    def _newest_alias(self, alias: str) -> tuple[int, bytes]:
        if self._aliases is None:
            self._aliases = {}
            for key, head in self._known.items():
                for one, number in head.aliases.items():
                    self._aliases[one] = max(self._aliases.get(one, (0, b"")), (number, key))
        return self._aliases.get(alias, (0, b""))

    async def reach(self, collection_id: bytes, head: Head) -> None:
        """Notes a point that was written or checked; an older one than is known changes nothing.

        A collection whose deletion failed is there again with it.
        """
        known = self._known.get(collection_id)
        if known is None or (known.state is not State.DELETED and known.point.sequence < head.point.sequence):
            await self.put(collection_id, head)

    async def put(self, collection_id: bytes, head: Head) -> None:
        """Replaces what is known of a collection, whatever it was.

        It is not an error if it cannot be saved: the write that it belongs to is done, and what is saved
        is older then, which only notices less.
        """
        before = self._known.get(collection_id)
        self._known[collection_id] = head
        if before is None or before.aliases != head.aliases:
            self._aliases = None
        if self._save is None:
            return
        async with self._saving:
            newest = self._known[collection_id]
            if self._saved.get(collection_id) == newest:
                return  # saved with a later one
            try:
                await asyncio.to_thread(self._save, collection_id, newest)
                self._saved[collection_id] = newest
            except BlindsightError as error:
                logs.get().warning("head_not_saved", reason=error.reason)
