"""Lists, counts and changes of a collection's items."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from blindsight.errors import DataLoss, InvalidArgument, NotFound
from blindsight.trusted.records import ItemMetadata
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from blindsight.wire.listing import MOST_PAGE_ITEMS, Item, ItemPage, Order
from blindsight.wire.metadata import Filter, Values, checked, checked_key
from services.keyholder.catalog.catalog import Catalog
from services.keyholder.catalog.listing import Position
from services.keyholder.operations.naming import naming

MOST_IDS = 10_000
_PAGE_ITEMS = 100
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ItemOperations:
    """The operations on items.

    Args:
        vault: refreshes slot maps.
        catalog: has the items.
        writer: changes them at storage.
    """

    def __init__(self, vault: Vault, catalog: Catalog, writer: Writer) -> None:
        self._vault = vault
        self._catalog = catalog
        self._writer = writer

    async def page(
        self,
        collection: OpenCollection,
        where: Filter | None,
        *,
        size: int,
        token: str,
        order: Order,
        descending: bool,
    ) -> ItemPage:
        """Returns a page of the items that pass a filter.

        Raises:
            InvalidArgument: if size or token is none of such a list.
        """
        if size > MOST_PAGE_ITEMS:
            raise InvalidArgument(f"page_size {size}, want at most {MOST_PAGE_ITEMS}")
        position = Position.parse(token, order, descending=descending)
        await self._vault.refresh(collection)
        page = await self._catalog.page(collection, where, position, size or _PAGE_ITEMS)
        following = page.following.token if page.following is not None else ""
        return ItemPage(tuple(map(described, page.items)), following)

    async def count(self, collection: OpenCollection, where: Filter | None) -> int:
        """Returns the number of items that pass a filter."""
        await self._vault.refresh(collection)
        return await self._catalog.count(collection, where)

    async def get(self, collection: OpenCollection, item_id: str) -> ItemMetadata:
        """Returns an item's metadata.

        Raises:
            NotFound: if there is no such item.
            DataLoss: if its metadata are damaged.
        """
        handle = collection.handle(item_id)
        found = (await self._catalog.find(collection, [handle])).get(handle)
        if found is None:
            await self._vault.refresh(collection)
            found = (await self._catalog.find(collection, [handle])).get(handle)
        if found is None:
            raise NotFound(f"no item {item_id!r} in collection {collection.config.name!r}")
        if isinstance(found, str):
            raise DataLoss(found)
        return found

    async def update(
        self,
        collection: OpenCollection,
        ids: Sequence[str],
        where: Filter | None,
        given: Values,
        removed: Sequence[str],
    ) -> tuple[int, list[str]]:
        """Changes metadata of items; returns how many, and the ids that are unknown.

        Raises:
            InvalidArgument: if nothing is changed, or an item would have too much metadata.
            Conflict: if other writers keep writing; some of the items may have been changed.
        """
        for key in removed:
            checked_key(key)
        if not (given or removed):
            raise InvalidArgument("a change of no metadata, want keys to set or to remove")

        async def change(handles: Sequence[bytes]) -> Mapping[bytes, ItemMetadata]:
            found = await self._catalog.find(collection, handles)
            known = {one: found[one] for one in handles if one in found}
            damaged = sum(isinstance(one, str) for one in known.values())
            if damaged:
                raise DataLoss(
                    f"metadata of {damaged} items to change are damaged; `blindsight check` says which"
                )
            return {
                handle: _changed(collection, metadata, given, removed)
                for handle, metadata in known.items()
                if isinstance(metadata, ItemMetadata)
            }

        async with collection.lock:
            named = await self._meant(collection, ids, where)
            done = await self._writer.update(collection, list(named), change)
            await self._catalog.changed(collection, done)
        return len(done), [
            item_id for handle, item_id in named.items() if item_id is not None and handle not in done
        ]

    async def delete(
        self, collection: OpenCollection, ids: Sequence[str], where: Filter | None
    ) -> tuple[int, list[str]]:
        """Deletes items; returns how many, and the ids that are unknown.

        Raises:
            Conflict: if other writers keep writing; some of the items may be gone.
        """
        async with collection.lock:
            named = await self._meant(collection, ids, where)
            gone = set(await self._writer.delete(collection, list(named)))
            await self._catalog.remove(collection, list(gone))
        return len(gone), [
            item_id for handle, item_id in named.items() if item_id is not None and handle not in gone
        ]

    async def _meant(
        self, collection: OpenCollection, ids: Sequence[str], where: Filter | None
    ) -> dict[bytes, str | None]:
        """Returns the handles of the items that are meant, with their ids if these were given.

        Raises:
            InvalidArgument: if neither ids nor a filter is given, or both are, or too many ids.
        """
        if bool(ids) == (where is not None):
            both = "ids and a filter" if ids else "neither ids nor a filter"
            raise InvalidArgument(f"{both}, want one of them")
        if len(ids) > MOST_IDS:
            raise InvalidArgument(f"{len(ids)} ids, want 1 to {MOST_IDS}")
        if ids:
            return dict(zip(collection.handles(ids), ids, strict=True))
        await self._vault.refresh(collection)
        return dict.fromkeys(await self._catalog.handles(collection, where), None)


def described(metadata: ItemMetadata) -> Item:
    """Returns an item as callers are told of it."""
    added = None
    if metadata.added_microseconds:
        added = _EPOCH + timedelta(microseconds=metadata.added_microseconds)
    return Item(
        metadata.id,
        metadata.name,
        metadata.media_type,
        added,
        metadata.size_bytes,
        metadata.remark,
        metadata.values,
        metadata.vectors,
    )


def _changed(
    collection: OpenCollection, metadata: ItemMetadata, given: Values, removed: Sequence[str]
) -> ItemMetadata:
    kept = {key: value for key, value in metadata.values.items() if key not in removed}
    with naming((collection.config.name, metadata.id)):
        return replace(metadata, values=checked({**kept, **given}))
