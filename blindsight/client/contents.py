"""What a collection holds: its items are listed, counted, read, changed and deleted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

from blindsight.client import arguments, calls
from blindsight.client.calls import Connection
from blindsight.client.inputs import Values
from blindsight.client.items import Filters, filter_of, ids_of, metadata_of
from blindsight.errors import InvalidArgument, NotFound
from blindsight.rpc.keyholder.v1 import keyholder_pb2 as pb
from blindsight.runtime import transfer
from blindsight.wire.collections import CollectionInfo, Deletion
from blindsight.wire.items import ItemVector
from blindsight.wire.listing import (
    CountRequest,
    DeleteRequest,
    Item,
    ItemPage,
    ListRequest,
    Order,
    Updated,
    UpdateRequest,
)
from blindsight.wire.metadata import Where

UNARY_SECONDS = 60.0
# Ids that the keyholder takes in one call.
_MOST_DELETED = 10_000


@arguments.checked
class Contents:
    """The items of a collection, by the name or alias of a handle."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._stub = connection.keyholder
        self.name = arguments.text("collection name", name)

    def describe(self) -> CollectionInfo:
        """Returns the collection's settings, and the numbers of its items.

        Raises:
            NotFound: if there is no such collection.
        """
        request = pb.GetCollectionRequest(name=self.name)
        answer = self._connection.repeat(lambda: self._stub.GetCollection(request, timeout=UNARY_SECONDS))
        return CollectionInfo.from_message(answer.collection)

    def items(
        self,
        where: Filters | None = None,
        *,
        order: Order = "added",
        descending: bool = False,
        page_size: int = 1000,
    ) -> Iterator[Item]:
        """Yields the items that pass a filter, page by page.

        Args:
            where: as for `search`; None: all.
            order: by the time at which they came, those of one ingest as they were given; or by id.
            page_size: number of items that are asked for at once.

        Raises:
            NotFound: if there is no such collection.
        """
        token = ""
        while True:
            page = self.page(where, page_size, token, order=order, descending=descending)
            yield from page.items
            token = page.next_page_token
            if not token:
                return

    def page(
        self,
        where: Filters | None = None,
        page_size: int = 100,
        page_token: str = "",
        *,
        order: Order = "added",
        descending: bool = False,
    ) -> ItemPage:
        """Returns one page of the items that pass a filter; see `items`.

        Args:
            page_size: 1 to 1000.
            page_token: `next_page_token` of the page before; empty: the first page.

        Raises:
            NotFound: if there is no such collection.
            InvalidArgument: if the token is none of a list in this order.
        """
        asked = ListRequest(self.name, filter_of(where), page_size, page_token, order, descending)
        request = asked.to_message()
        answer = self._connection.repeat(lambda: self._stub.ListItems(request, timeout=UNARY_SECONDS))
        return ItemPage.from_message(answer)

    def count(self, where: Filters | None = None) -> int:
        """Returns the number of items that pass a filter; without one, of all.

        Raises:
            NotFound: if there is no such collection.
        """
        request = CountRequest(self.name, filter_of(where)).to_message()
        answer = self._connection.repeat(lambda: self._stub.CountItems(request, timeout=UNARY_SECONDS))
        return int(answer.items)

    def item(self, id: str | int) -> Item:  # noqa: A002 - the word that everybody expects
        """Returns what is known of an item: its metadata, its file's name and size; see `get` for the file.

        Raises:
            NotFound: if there is no such collection or item.
        """
        request = pb.GetItemRequest(collection=self.name, id=str(id))
        answer = self._connection.repeat(lambda: self._stub.GetItem(request, timeout=UNARY_SECONDS))
        return Item.from_message(answer.item)

    def vector(self, id: str | int, index: int = 0) -> ItemVector:  # noqa: A002 - as above
        """Returns a vector of an item, as it can be told from the encrypted columns.

        Its values are rounded as the collection's precision says, and with cosine its length is 1.

        Args:
            index: which of them, from 0, of an item that has several.

        Raises:
            NotFound: if there is no such collection or item, or the item has no such vector.
            DataLoss: if storage has damaged or lost what it is read from.
        """
        request = pb.GetVectorRequest(collection=self.name, id=str(id), index=index)
        answer = self._connection.repeat(lambda: self._stub.GetVector(request, timeout=UNARY_SECONDS))
        with transfer.answer_of(calls.PEER):
            return ItemVector.from_message(answer)

    def exists(self, id: str | int) -> bool:  # noqa: A002 - as above
        """Returns whether there is such an item.

        Raises:
            NotFound: if there is no such collection.
        """
        try:
            self.item(id)
        except NotFound:
            self.describe()  # raises if it is the collection that is missing
            return False
        return True

    def update(
        self,
        ids: str | int | Iterable[str | int] | None = None,
        *,
        where: Filters | None = None,
        set: Values | None = None,  # noqa: A002 - what it does
        remove: Iterable[str] = (),
    ) -> Updated:
        """Changes the metadata of items, given by their ids or by a filter.

        Args:
            set: keys that they are given, or other values of.
            remove: keys that they lose.

        Raises:
            NotFound: if there is no such collection.
            InvalidArgument: if both ids and a filter are given, or neither.
        """
        wanted, passing = ids_of(ids) if ids is not None else [], filter_of(where)
        _require_one_of(wanted, passing)
        given, removed = metadata_of(set), tuple(arguments.text("key", key) for key in remove)
        updated, unknown = 0, list[str]()
        for group in list(transfer.grouped(wanted, _size_of_id)) or [[]]:
            request = UpdateRequest(self.name, tuple(group), passing, given, removed).to_message()
            done = Updated.from_message(self._connection.repeat(partial(self._stub.UpdateItems, request)))
            updated += done.updated
            unknown.extend(done.unknown_ids)
        return Updated(updated, tuple(unknown))

    def delete(
        self, ids: str | int | Iterable[str | int] | None = None, *, where: Filters | None = None
    ) -> Deletion:
        """Deletes items, given by their ids or by a filter; an unknown id does not stop the others.

        Raises:
            NotFound: if there is no such collection.
            InvalidArgument: if both ids and a filter are given, or neither.
        """
        if where is not None:
            _require_one_of(ids_of(ids) if ids is not None else [], filter_of(where))
            request = DeleteRequest(self.name, (), filter_of(where)).to_message()
            answer = self._connection.repeat(partial(self._stub.DeleteItems, request), safe=False)
            return Deletion.from_message(answer)
        if ids is None:
            raise InvalidArgument("neither ids nor a filter, want one of them")
        wanted = ids_of(ids)
        deleted, unknown = 0, list[str]()
        for group in transfer.grouped(wanted, _size_of_id):
            request = pb.DeleteItemsRequest(collection=self.name, ids=group)
            answer = self._connection.repeat(partial(self._stub.DeleteItems, request), safe=False)
            deletion = Deletion.from_message(answer)
            deleted += deletion.deleted
            unknown.extend(deletion.unknown_ids)
        return Deletion(deleted, tuple(unknown))


def _require_one_of(ids: Sequence[str], where: Where | None) -> None:
    if bool(ids) == (where is not None):
        raise InvalidArgument(
            f"{'ids and a filter' if ids else 'neither ids nor a filter'}, want one of them"
        )


def _size_of_id(item_id: str) -> int:
    # At least what lets no more of the shortest into a message than the keyholder takes.
    return max(len(item_id.encode()) + 4, transfer.CHUNK_BYTES // _MOST_DELETED + 1)
