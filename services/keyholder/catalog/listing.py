"""Pages of a collection's items in an order that writes in between do not change."""

from __future__ import annotations

import heapq
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from operator import itemgetter
from typing import Literal

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.trusted.keyring.handles import SHORT_ID_BYTES, id_of_block
from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.vault.collection import OpenCollection
from services.keyholder.catalog.rows import Selection
from services.keyholder.catalog.store import CatalogStore

Order = Literal["added", "id"]
# What items are ordered by, and what tells those apart that have the same.  Of a vector that is nothing but a
# short id nobody knows when it was stored: it comes first, shorter ids before longer ones, as numbers.
Key = tuple[int | str, bytes]
_READ_ITEMS = 500
# An id of 512 bytes in JSON, as base64, and some more.
_MOST_TOKEN_CHARACTERS = 8192

_Keys = npt.NDArray[np.bytes_]
_Blocks = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins.

    Attributes:
        after: the last item of the page before; None: from the start.
    """

    order: Order = "added"
    descending: bool = False
    after: Key | None = None

    @property
    def token(self) -> str:
        """The position as text for callers."""
        if self.after is None:
            return ""
        packed = json.dumps([self.order, self.descending, self.after[0], self.after[1].hex()])
        return urlsafe_b64encode(packed.encode()).decode()

    @classmethod
    def parse(cls, token: str, order: Order, *, descending: bool) -> Position:
        """Reads the token of a position of this order.

        Raises:
            InvalidArgument: if it is not one.
        """
        if not token:
            return cls(order, descending)
        try:
            if len(token) > _MOST_TOKEN_CHARACTERS:
                raise ValueError("too long")
            by, handle = (said := json.loads(urlsafe_b64decode(token)))[2], bytes.fromhex(said[3])
            position = cls(said[0], said[1], (by, handle))
            right_kind = type(by) is (int if order == "added" else str) and len(handle) == HANDLE_BYTES
            if type(by) is int and not 0 <= by < 1 << 63:
                raise ValueError("no time")
            str(by).encode()
        except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
            raise InvalidArgument("page_token is none that a list of items gave out") from error
        if (position.order, position.descending) != (order, descending) or not right_kind:
            raise InvalidArgument("page_token is of a list in another order, want that of the page before")
        return position


@dataclass(frozen=True, slots=True)
class Page:
    """Items, and where the next page begins; None at the end."""

    items: tuple[ItemMetadata, ...]
    following: Position | None


class Listing:
    """The items of a collection at one point of its log, in every order.

    Args:
        store: has the entries of those with sealed metadata.
    """

    def __init__(self, store: CatalogStore, collection: OpenCollection) -> None:
        self._store = store
        self._collection = collection
        self.slots = collection.slots
        self._sorted: dict[Order, tuple[_Keys, _Blocks]] = {}

    def page(self, position: Position, limit: int, selection: Selection) -> Page:
        """Returns the next items that are selected."""
        bare = self._bare(position) if selection.bare else iter(())
        merged = heapq.merge(
            self._entries(position, selection), bare, key=itemgetter(0), reverse=position.descending
        )
        found = list(islice(merged, limit + 1))
        items = tuple(item for _, item in found[:limit])
        if len(found) <= limit:
            return Page(items, None)
        return Page(items, Position(position.order, position.descending, found[limit - 1][0]))

    def _entries(self, position: Position, selection: Selection) -> Iterator[tuple[Key, ItemMetadata]]:
        """Yields items that have sealed metadata, with their keys."""
        after = position.after
        while True:
            entries = self._store.page(
                self._collection.record.collection_id,
                position.order,
                after,
                _READ_ITEMS,
                descending=position.descending,
            )
            passing = selection.entries([entry.handle for entry in entries])
            for entry, passes in zip(entries, passing, strict=True):
                metadata = entry.metadata
                by = metadata.added_microseconds if position.order == "added" else metadata.id
                after = by, entry.place
                if passes:
                    yield after, metadata
            if len(entries) < _READ_ITEMS:
                return

    def _bare(self, position: Position) -> Iterator[tuple[Key, ItemMetadata]]:
        """Yields items that are nothing but a short id, with their keys."""
        by_id = position.order == "id"
        if position.order not in self._sorted:
            self._sorted[position.order] = self._sort(by_id=by_id)
        keys, blocks = self._sorted[position.order]
        start = _start(position, keys)
        for row in range(start - 1, -1, -1) if position.descending else range(start, len(keys)):
            block = blocks[row].tobytes()
            item_id = id_of_block(block) or ""
            yield (item_id if by_id else 0, block), ItemMetadata(item_id)

    def _sort(self, *, by_id: bool) -> tuple[_Keys, _Blocks]:
        handles = [
            segment.handles[segment.items & (segment.unmarked_versions == 0)].tobytes()
            for segment in self.slots.segments.values()
        ]
        blocks = self._collection.blocks(b"".join(handles))
        raw = np.frombuffer(blocks, np.uint8).reshape(-1, HANDLE_BYTES)
        columns = raw[:, 1 : 1 + SHORT_ID_BYTES] if by_id else raw
        keys = np.ascontiguousarray(columns).view(f"S{columns.shape[1]}").ravel()
        order = np.argsort(keys, kind="stable")
        return keys[order], raw[order]


def _start(position: Position, keys: _Keys) -> int:
    """Returns how many sorted keys are before the position."""
    if position.after is None:
        return len(keys) if position.descending else 0
    by, block = position.after
    if position.order == "added" and by != 0:
        return len(keys)
    wanted = str(by).encode() if position.order == "id" else block
    # A longer id would lose its end in the keys' type, and be taken for another.
    wide = keys.astype(f"S{max(len(wanted), keys.dtype.itemsize)}")
    return int(
        np.searchsorted(wide, np.array(wanted, wide.dtype), "left" if position.descending else "right")
    )
