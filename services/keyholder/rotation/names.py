"""The names of copies: they get those of their collections when nothing is written any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.vault.collection import OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer


def settled(collection: OpenCollection, twin: OpenCollection) -> CollectionConfig:
    """Returns the settings of a copy that takes the place of its collection.

    The next vector without an id of its own has the number that it would have had.
    """
    numbered = collection.next_number - twin.slots.items_added
    config = collection.config
    return replace(twin.config, name=config.name, aliases=config.aliases, numbered_from=numbered)


async def settle(
    vault: Vault, writer: Writer, pairs: Mapping[bytes, tuple[OpenCollection, OpenCollection]]
) -> None:
    """Gives copies the names and aliases of their collections.

    Args:
        vault, writer: of the copies.
        pairs: collections and copies, by the ids of the collections.
    """
    # One that was cut off has given some, and collections may have got each other's since.
    for collection, twin in pairs.values():
        if twin.config != settled(collection, twin):
            await _configure(vault, writer, twin, replace(twin.config, name=interim(collection), aliases={}))
    for collection, twin in pairs.values():
        await _configure(vault, writer, twin, settled(collection, twin))


def interim(collection: OpenCollection) -> str:
    """Returns the name of a copy until then, which nobody sees."""
    return f"rotating {collection.record.collection_id.hex()}"


async def _configure(vault: Vault, writer: Writer, twin: OpenCollection, config: CollectionConfig) -> None:
    async with twin.lock, vault.naming:
        await writer.configure(twin, lambda _: config)
