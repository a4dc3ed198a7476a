"""The tenants on the disk, in one SQLite file of the keyholder's folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.runtime.sqlite import Schema, Store
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.secrets import Secret
from blindsight.wire.tenants import Quotas

FILE_NAME = "tenants.db"
# Of the tenants' own folders, by their ids.
FOLDER_NAME = "tenants"
SCHEMA = Schema(__package__, "a database of tenants", version=1, application_id=0x4253544E)  # "BSTN"


@dataclass(frozen=True, slots=True)
class Entry:
    """What is kept of a tenant.

    Attributes:
        tenant_id: 32 hex digits.
        created: seconds since 1970.
        name: for the operator.
        quotas: what it may use.
        key_id: of its key set, 16 bytes.
        secret: opens its key file; None: the keys are destroyed.
    """

    tenant_id: str
    created: int
    name: str
    quotas: Quotas
    key_id: bytes
    secret: Secret | None


class TenantStore(Store):
    """A store of tenants.

    Args:
        path: of the file; created if it does not exist.
        sealer: seals what is told of a tenant.
    """

    schema = SCHEMA

    def __init__(self, path: Path, sealer: Sealer) -> None:
        super().__init__(path)
        self._sealer = sealer
        with self._transaction() as db:
            db.execute("PRAGMA secure_delete = ON")

    def load(self) -> list[Entry]:
        """Returns all tenants, the oldest first.

        Raises:
            DataLoss: if one is damaged.
        """
        with self._transaction() as db:
            rows = db.execute("SELECT id, created, sealed FROM tenants ORDER BY created, rowid")
            return [self._entry(*row) for row in rows]

    def save(self, entry: Entry) -> None:
        """Saves a tenant in place of what was kept of it; it is on the disk when this returns."""
        sealed = self._sealer.seal(_packed(entry), _place(entry.tenant_id, entry.created))
        row = entry.tenant_id, entry.created, sealed
        with self._transaction() as db:
            db.execute(
                "INSERT INTO tenants VALUES (?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET sealed = excluded.sealed",
                row,
            )

    def remove(self, tenant_id: str) -> None:
        """Removes a tenant."""
        with self._transaction() as db:
            db.execute("DELETE FROM tenants WHERE id = ?", (tenant_id,))

    def _entry(self, tenant_id: str, created: int, sealed: bytes) -> Entry:
        try:
            told = json.loads(self._sealer.open(sealed, _place(tenant_id, created)))
            secret = Secret(bytes.fromhex(told["secret"])) if told["secret"] else None
            key_id, quotas = bytes.fromhex(told["key_id"]), Quotas(**told["quotas"])
            return Entry(tenant_id, created, str(told["name"]), quotas, key_id, secret)
        except (DataLoss, ValueError, TypeError, KeyError):
            raise DataLoss(f"a tenant of the keyholder is damaged: restore {FILE_NAME}") from None


def _packed(entry: Entry) -> bytes:
    secret = entry.secret.reveal_secret().hex() if entry.secret is not None else ""
    told = {
        "name": entry.name,
        "quotas": asdict(entry.quotas),
        "key_id": entry.key_id.hex(),
        "secret": secret,
    }
    return json.dumps(told).encode()


def _place(tenant_id: str, created: int) -> bytes:
    return f"tenant {tenant_id} {created}".encode()
