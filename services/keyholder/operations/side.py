"""What belongs to one key set, for what moves collections to another one."""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.trusted.clients import StorageClient
from blindsight.trusted.crypto.pool import Crypto
from blindsight.trusted.vault.items import Items
from blindsight.trusted.vault.vault import Vault
from blindsight.trusted.vault.writer import Writer
from services.keyholder.operations.planes import Planes


@dataclass(frozen=True, slots=True)
class Side:
    """What belongs to one key set."""

    vault: Vault
    storage: StorageClient
    crypto: Crypto
    items: Items
    writer: Writer
    planes: Planes
