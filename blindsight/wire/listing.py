"""Records of a collection's items: lists, changes of metadata, deletions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Literal

from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.wire.metadata import Metadata, Values, Where
from blindsight.wire.names import AskedNames
from blindsight.wire.records import Record
from blindsight.wire.times import to_datetime
from blindsight.wire.vectors import VectorLabel

Order = Literal["added", "id"]
ORDERS: dict[Order, int] = {"added": pb.ITEM_ORDER_ADDED, "id": pb.ITEM_ORDER_ID}
ORDER = AskedNames("order", ORDERS, unspecified="added")
MOST_PAGE_ITEMS = 1000


@dataclass(frozen=True, slots=True)
class Item(Record[pb.Item]):
    """An item of a collection.

    Attributes:
        name, media_type: of its file; empty for a vector.
        added: when it was first stored, which an upsert keeps; None for a vector that is nothing but its id.
        size_bytes: size of its file; 0: it has none.
        remark: what a search does not find of it, or what it lacks; mostly empty.
        metadata: what its owner says of it.
        vectors: its vectors in order, if it has several, or one with a name or a box.
    """

    id: str
    name: str = ""
    media_type: str = ""
    added: datetime | None = None
    size_bytes: int = 0
    remark: str = ""
    metadata: Values = field(default_factory=dict)
    vectors: tuple[VectorLabel, ...] = ()

    def to_message(self) -> pb.Item:
        """Converts the item to its message."""
        message = pb.Item(
            id=self.id,
            name=self.name,
            media_type=self.media_type,
            size_bytes=self.size_bytes,
            remark=self.remark,
            vectors=[one.to_message() for one in self.vectors],
        )
        if self.added is not None:
            message.added.FromDatetime(self.added)
        if self.metadata:
            message.metadata.CopyFrom(Metadata(self.metadata).to_message())
        return message

    @classmethod
    def from_message(cls, message: pb.Item) -> Item:
        """Makes the item from its message."""
        return cls(
            message.id,
            message.name,
            message.media_type,
            to_datetime(message.added) if message.HasField("added") else None,
            message.size_bytes,
            message.remark,
            Metadata.from_message(message.metadata).values,
            tuple(map(VectorLabel.from_message, message.vectors)),
        )


@dataclass(frozen=True, slots=True)
class ListRequest(Record[pb.ListItemsRequest]):
    """A request for a page of items.

    Attributes:
        where: only items that it passes; None: all.
        page_size: at most 1,000; 0: 100.
        page_token: that of the page before; empty: from the start.
        order: by the time at which they came, or by id.
    """

    collection: str
    where: Where | None = None
    page_size: int = 0
    page_token: str = ""
    order: Annotated[Order, ORDER] = "added"
    descending: bool = False


@dataclass(frozen=True, slots=True)
class ItemPage(Record[pb.ListItemsResponse]):
    """A page of items, and the token of the next; empty at the end."""

    items: tuple[Item, ...]
    next_page_token: str


@dataclass(frozen=True, slots=True)
class CountRequest(Record[pb.CountItemsRequest]):
    """A request for the number of items that pass a filter; None: of all."""

    collection: str
    where: Where | None = None


@dataclass(frozen=True, slots=True)
class UpdateRequest(Record[pb.UpdateItemsRequest]):
    """A change of metadata.

    Attributes:
        ids: of the items; none: all that pass the filter.
        set: keys that they are given, or other values of.
        remove: keys that they lose.
    """

    collection: str
    ids: tuple[str, ...] = ()
    where: Where | None = None
    set: Metadata | None = None
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Updated(Record[pb.UpdateItemsResponse]):
    """The number of items that were changed, and the ids that were not found."""

    updated: int
    unknown_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteRequest(Record[pb.DeleteItemsRequest]):
    """A deletion of items by id, or of all that pass a filter."""

    collection: str
    ids: tuple[str, ...] = ()
    where: Where | None = None
