"""An item that is deleted while a search for what is like it and others is being prepared."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.services import Process
from support.vaults import vectors_config

from blindsight.errors import NotFound
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.records import NewItem
from blindsight.trusted.secrets import Secret
from blindsight.trusted.vault.items import Items
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from services.keyholder.catalog.catalog import Catalog
from services.keyholder.catalog.store import CatalogStore
from services.keyholder.operations import vectors


@pytest.fixture
async def vault(storage_alone: Process) -> AsyncIterator[tuple[Vault, StorageClient]]:
    storage, evaluator = StorageClient(storage_alone.address), EvaluatorClient(storage_alone.address)
    yield Vault(shared_key_set(), storage, evaluator), storage
    await storage.close()
    await evaluator.close()


async def test_no_item_is_taken_for_another_one(
    vault: tuple[Vault, StorageClient],
    crypto: Crypto,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    opener, storage = vault
    collection, writer = await opener.create(vectors_config("meanwhile", 8)), Writer(opener, storage, crypto)
    items = [NewItem(collection.handle(name)) for name in "ab"]
    await writer.append_new(collection, np.eye(2, 8), items)
    catalog = Catalog(CatalogStore(tmp_path / "catalog.db", Secret(bytes(32))), Items(opener, storage))
    stored = vectors.StoredVectors(opener, storage, crypto, catalog)
    handles, found = await stored.read(collection, ["a", "b"])
    assert handles == [item.handle for item in items]
    np.testing.assert_allclose(found, np.eye(2, 8), atol=1e-4)
    searchable = vectors.searchable

    async def beside(by: Any, among: Any, item_id: str) -> bytes:
        handle = await searchable(by, among, item_id)
        if item_id == "b":
            await writer.delete(collection, [items[0].handle])
        return handle

    monkeypatch.setattr(vectors, "searchable", beside)
    with pytest.raises(NotFound, match="no item 'a'"):
        await stored.read(collection, ["a", "b"])
