"""Settings of a worker."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from blindsight.runtime.host import cores
from blindsight.runtime.settings import Address, ProcessSettings
from blindsight.trusted.queue.settings import QueueSettings


class WorkerSettings(ProcessSettings, QueueSettings):
    """BLINDSIGHT_WORKER_*.  What is not stored within `drain_seconds` is given back to the queue.

    Attributes:
        key_file, passphrase_file: the owner's key set, and what opens it.
        keyholder_address, storage_address, evaluator_address: the services, HOST:PORT.
        processes: that decode, embed and encrypt.
        prefetch: photos that a worker has at a time, all of them in memory; fewer when they are large.
        tries: a photo that is opened alone so often, and kills its process each time, has failed.
        linger_seconds: how long a photo waits for others to fill its batch before a batch is stored.
    """

    model_config = SettingsConfigDict(env_prefix="BLINDSIGHT_WORKER_", extra="forbid", frozen=True)

    key_file: Path
    passphrase_file: Path
    keyholder_address: Address
    storage_address: Address
    evaluator_address: Address
    processes: int = Field(default_factory=cores, ge=1)
    prefetch: int = Field(default=256, ge=1, le=65535)
    tries: int = Field(default=5, ge=1)
    linger_seconds: float = Field(default=2.0, ge=0)

    @property
    def batch(self) -> int:
        """Photos that are stored at once, while the rest of those in hand are opened."""
        return max(self.prefetch // 2, 1)
