"""Settings of the keyholder."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from blindsight.runtime.host import cores, memory_limit_bytes
from blindsight.runtime.settings import Address, ServiceSettings
from blindsight.trusted.queue.settings import QueueSettings


class KeyholderSettings(ServiceSettings, QueueSettings):
    """BLINDSIGHT_KEYHOLDER_*; the key file is `keys.bsky` in the data folder.

    Attributes:
        storage_address, evaluator_address: the untrusted services, HOST:PORT.
        passphrase_file: opens the key file.
        create_keys: make a key file where there is none.
        combine_seconds: a weighted sum that would take longer, by an estimate, is refused.
        imaging_bytes: memory of all image processing at once, by estimates; jobs wait for their part of it.
        upload_bytes: what all callers together may send before it is used; more is read later.
        keep_jobs_days: bulk ingests that ended so long ago are forgotten, see `jobs.retention`; 0 keeps them.
        workers: processes that encrypt, decrypt and embed.
    """

    model_config = SettingsConfigDict(env_prefix="BLINDSIGHT_KEYHOLDER_", extra="forbid", frozen=True)

    storage_address: Address
    evaluator_address: Address
    passphrase_file: Path
    create_keys: bool = False
    combine_seconds: float = Field(default=1800.0, gt=0)
    imaging_bytes: int = Field(default_factory=lambda: memory_limit_bytes() // 2, ge=1)
    upload_bytes: int = Field(default_factory=lambda: memory_limit_bytes() // 4, ge=1 << 20)
    keep_jobs_days: float = Field(default=30.0, ge=0)
    workers: int = Field(default_factory=cores, ge=1)

    @property
    def key_file(self) -> Path:
        """The path of the sealed key set."""
        return self.data / KEY_FILE_NAME

    @property
    def jobs_file(self) -> Path:
        """The path of the job database of bulk ingest."""
        return self.data / JOBS_FILE_NAME


KEY_FILE_NAME = "keys.bsky"
JOBS_FILE_NAME = "jobs.db"
