"""Settings of the keyholder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from blindsight.errors import InvalidArgument
from blindsight.runtime.access import Access
from blindsight.runtime.addresses import is_loopback
from blindsight.runtime.host import cores, memory_limit_bytes
from blindsight.runtime.roles import Role
from blindsight.runtime.server import Listener
from blindsight.runtime.settings import Address, ServiceSettings
from blindsight.trusted.queue.settings import QueueSettings
from services.keyholder.tokens.oidc.settings import OidcSettings


class KeyholderSettings(ServiceSettings, QueueSettings, OidcSettings):
    """BLINDSIGHT_KEYHOLDER_*; the key file is `keys.bsky` in the data folder.

    Attributes:
        storage_address, evaluator_address: the untrusted services, HOST:PORT.
        worker_address: where workers are served, with TLS; "" for where users are. With `tls`, an address of
            users on loopback is unencrypted; another one is encrypted, and wants the certificate of an owner.
        passphrase_file: opens the key file.
        require_tokens: refuse users' calls without a token; else who reaches the address is the owner.
        create_keys: make a key file where there is none.
        combine_seconds: a weighted sum that would take longer, by an estimate, is refused.
        imaging_bytes: memory of all image processing at once, by estimates; jobs wait for their part of it.
        upload_bytes: what all callers together may send before it is used; more is read later.
        keep_jobs_days: bulk ingests that ended so long ago are forgotten, see `jobs.retention`; 0 keeps them.
        audit_bytes: of the audit log; the oldest records are deleted for room.
        audit_days: files of the audit log whose records are all older are deleted; 0 keeps them.
        workers: processes that encrypt, decrypt and embed.
    """

    model_config = SettingsConfigDict(env_prefix="BLINDSIGHT_KEYHOLDER_", extra="forbid", frozen=True)

    storage_address: Address
    evaluator_address: Address
    worker_address: Address | Literal[""] = ""
    passphrase_file: Path
    require_tokens: bool = True
    create_keys: bool = False
    combine_seconds: float = Field(default=1800.0, gt=0)
    imaging_bytes: int = Field(default_factory=lambda: memory_limit_bytes() // 2, ge=1)
    upload_bytes: int = Field(default_factory=lambda: memory_limit_bytes() // 4, ge=1 << 20)
    keep_jobs_days: float = Field(default=30.0, ge=0)
    audit_bytes: int = Field(default=1 << 30, ge=1 << 20)
    audit_days: float = Field(default=400.0, ge=0)
    workers: int = Field(default_factory=cores, ge=1)

    @property
    def listeners(self) -> list[Listener]:
        """Where to serve users, and workers.

        Raises:
            InvalidArgument: if workers have an address of their own, and there is no certificate for it.
        """
        own = self.certificates
        users = Listener("address", self.address, None if is_loopback(self.address) else own)
        if not self.worker_address:
            return [users]
        if own is None:
            raise InvalidArgument(
                "setting BLINDSIGHT_KEYHOLDER_WORKER_ADDRESS, want BLINDSIGHT_KEYHOLDER_TLS, too"
            )
        return [users, Listener("worker_address", self.worker_address, own)]

    @property
    def access(self) -> Access | None:
        """Whether a caller may make a call; without a certificate it is the owner, who is on this machine."""
        own = self.certificates
        return Access(lambda: own.current, plaintext=Role.OWNER) if own is not None else None

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
