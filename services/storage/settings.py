from __future__ import annotations

from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from blindsight.runtime.settings import ServiceSettings
from services.storage.validation import MAX_APPEND_BYTES


class StorageSettings(ServiceSettings):
    """Settings of the storage service, from `BLINDSIGHT_STORAGE_*`.

    Attributes:
        store: where the bytes lie, a name in `stores.STORES`.
        max_disk_bytes: appends that would need more are refused; 0 for as much as the disk holds.
        reserve_bytes: space on the disk that is kept for deletions and repacks; 0 for none.
        receive_bytes: memory for appends that are on their way in; more of them wait their turn.
        read_streams: reads of blocks, slots and originals at a time; more of them wait their turn.
        turn_seconds: appends to one collection take turns; one lasts no longer, and none waits longer for it.
        lease_seconds: a keyholder that is silent for so long may be replaced by another of the same keys.
    """

    model_config = SettingsConfigDict(env_prefix="BLINDSIGHT_STORAGE_", extra="forbid", frozen=True)

    store: Literal["sqlite"] = "sqlite"
    max_disk_bytes: int = Field(default=0, ge=0)
    reserve_bytes: int = Field(default=128 << 20, ge=0)
    receive_bytes: int = Field(default=2 * MAX_APPEND_BYTES, ge=MAX_APPEND_BYTES)
    read_streams: int = Field(default=16, ge=1)
    turn_seconds: float = Field(default=5.0, gt=0)
    lease_seconds: float = Field(default=15.0, gt=0, le=3600)
