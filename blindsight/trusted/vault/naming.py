"""Names and aliases of collections: each changes in one write of a collection's log (ADR 0024)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from types import MappingProxyType

from blindsight.errors import AlreadyExists, BlindsightError, NotFound
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.names import check_name, composed, taken
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer


class Naming:
    """The giving of names.

    Args:
        vault: knows who has which name.
        writer: changes the settings of collections.
    """

    def __init__(self, vault: Vault, writer: Writer) -> None:
        self._vault = vault
        self._writer = writer

    async def rename(self, name: str, new: str) -> OpenCollection:
        """Gives a collection another name; one of its own aliases may become it.

        Raises:
            NotFound: if there is no such collection.
            AlreadyExists: if another collection has the new name, as its own or as an alias.
            InvalidArgument: if the new name is none.
        """
        new = composed(new)
        check_name(new)
        async with self._held(name) as collection:
            await self._vault.require_free(new, collection.record.collection_id)
            try:
                await self._writer.configure(collection, partial(_named, name=new))
            except AlreadyExists:  # its settings are damaged, so that nobody knows its name
                raise taken(new) from None
        return collection

    async def set_alias(self, alias: str, name: str) -> OpenCollection:
        """Gives a collection an alias, which another one has no more then.

        Raises:
            NotFound: if there is no such collection.
            AlreadyExists: if a collection has the alias as its name.
            ResourceExhausted: if the collection has too many.
            InvalidArgument: if the alias is no name.
        """
        alias = composed(alias)
        check_name(alias)
        async with self._held(name) as collection:
            use = await self._vault.use(alias)
            if use.named is not None:
                raise AlreadyExists(f"{alias!r} is the name of a collection; take another alias")
            if use.means == collection.record.collection_id:
                return collection
            await self._configure(collection, {alias: use.number + 1})
        for former in use.holders:
            with suppress(BlindsightError):  # its number is lower for ever
                await self._clear(former, unless_busy=True)
        return collection

    async def remove_alias(self, alias: str) -> OpenCollection:
        """Takes an alias from its collection.

        Raises:
            NotFound: if no collection has it.
        """
        alias = composed(alias)
        while True:
            # Those that it meant before must not be meant again.
            for former in (await self._vault.use(alias)).holders[1:]:
                await self._clear(former)
            async with self._held(alias) as collection:
                if alias == collection.config.name:
                    raise NotFound(f"{alias!r} is the name of a collection, not an alias")
                if len((await self._vault.use(alias)).holders) > 1:
                    continue
                await self._configure(collection, gone=alias)
                return collection

    async def _clear(self, collection_id: bytes, *, unless_busy: bool = False) -> None:
        """Takes from a collection the aliases that were moved to others."""
        collection = await self._vault.get_by_id(collection_id)
        if unless_busy and collection.lock.locked():
            return
        async with collection.lock:
            await self._configure(collection)

    async def _configure(
        self, collection: OpenCollection, given: Mapping[str, int] = MappingProxyType({}), gone: str = ""
    ) -> None:
        """Changes the aliases of a collection; those that were moved to others go in any case."""

        def changed(config: CollectionConfig) -> CollectionConfig:
            kept = {**self._vault.aliases(collection), **given}
            kept.pop(gone, None)
            return replace(config, aliases=kept)

        await self._writer.configure(collection, changed)

    @asynccontextmanager
    async def _held(self, name: str) -> AsyncIterator[OpenCollection]:
        """Holds a collection, and the right to give names, while the block runs."""
        while True:
            collection = await self._vault.get(name)
            async with collection.lock, self._vault.naming:
                # Else it got another name while this waited, or another one got this name.
                if await self._vault.get(name) is collection:
                    yield collection
                    return


def _named(config: CollectionConfig, name: str) -> CollectionConfig:
    aliases = {alias: number for alias, number in config.aliases.items() if alias != name}
    return replace(config, name=name, aliases=aliases)
