"""Items that take the places of others with many more vectors than their own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from support.keysets import shared_key_set
from support.services import Process
from support.vaults import vectors_config

from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.embedders import EXTERNAL
from blindsight.trusted.records import ItemMetadata, NewItem
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import DELETE_ROWS, Writer


def item(collection: OpenCollection, number: int, handle: bytes, vectors: int) -> NewItem:
    key = ItemKey.new(handle)
    sealed = collection.seal_metadata(key, ItemMetadata(str(number), "photo.jpg"))
    return NewItem(handle, sealed, version=key.version, vectors=vectors)


async def test_more_rows_may_go_than_one_write_takes(storage_alone: Process, crypto: Crypto) -> None:
    storage, evaluator = StorageClient(storage_alone.address), EvaluatorClient(storage_alone.address)
    opener = Vault(shared_key_set(), storage, evaluator)
    config = replace(vectors_config("many to few", 8), embedder=EXTERNAL)
    collection, writer = await opener.create(config), Writer(opener, storage, crypto)
    vectors, count = 256, DELETE_ROWS // 256 + 2
    handles = collection.handles([str(number) for number in range(count)])
    many = [item(collection, number, handle, vectors) for number, handle in enumerate(handles)]
    rows = collection.linear().rows(np.random.default_rng(1).normal(size=(count * vectors, 8)))
    await writer.replace(collection, rows, many)
    assert (collection.slots.items, collection.slots.rows) == (count, count * vectors)
    few = [item(collection, number, handle, 1) for number, handle in enumerate(handles)]
    await writer.replace(collection, rows[:count], few)
    assert (collection.slots.items, collection.slots.rows) == (count, count)
    assert await writer.delete(collection, handles) == handles
    assert collection.slots.rows == 0
    await storage.close()
    await evaluator.close()
