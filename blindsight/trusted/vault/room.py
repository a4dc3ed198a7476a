"""The room that a write has within quotas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from blindsight.errors import ResourceExhausted
from blindsight.trusted.records import NewItem
from blindsight.trusted.slots import SlotMap
from blindsight.trusted.vault import batching


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a quota.

    Attributes:
        quota: all of it.
        left: what is left.
    """

    quota: int
    left: int


@dataclass(frozen=True, slots=True)
class Room:
    """The room of one write.

    Attributes:
        items: each vector of an item counts; None: no limit.
        size_bytes: None: no limit.
    """

    items: Left | None = None
    size_bytes: Left | None = None

    def fitting(self, slots: SlotMap, items: Sequence[NewItem], *, replaces: bool) -> int:
        """Returns how many of the first items one write may take, at least one; several take what is left.

        Args:
            slots: what is there.
            items: what comes.
            replaces: whether it takes the places of those that have its handles.

        Raises:
            ResourceExhausted: if there is no room for the first.
        """
        count = len(items)
        while self.items is not None:
            gone = batching.live_rows(slots, [one.handle for one in items[:count]]) if replaces else ()
            if sum(one.vectors for one in items[:count]) - len(gone) <= self.items.left:
                break
            if count == 1:
                has = self.items.quota - self.items.left
                raise ResourceExhausted(
                    f"quota of {self.items.quota} items: {has} are stored, want fewer; "
                    "delete some, or ask for more"
                )
            count //= 2
        return count

    def require_bytes(self, blocks: Sequence[bytes], items: Sequence[NewItem]) -> None:
        """Checks that there is room for these bytes; planes count with the next write.

        Raises:
            ResourceExhausted: if there is not.
        """
        if self.size_bytes is None:
            return
        sealed = sum(
            len(one.sealed_metadata) + len(one.sealed_original) + len(one.sealed_keypoints) for one in items
        )
        size = sum(map(len, blocks)) + sealed
        if size > self.size_bytes.left:
            has = self.size_bytes.quota - self.size_bytes.left
            raise ResourceExhausted(
                f"quota of {self.size_bytes.quota} bytes: {has} are stored and {size} come, want fewer; "
                "delete some, or ask for more"
            )
