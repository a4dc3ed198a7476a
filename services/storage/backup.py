"""Backups of what storage keeps: `python -P -m services.storage.backup save|verify|restore DIR`."""

from __future__ import annotations

import sys

from blindsight.backup.command import main
from blindsight.backup.parts import Database, Service
from services.storage.stores.sqlite import FILE_NAME
from services.storage.stores.sqlite.connections import SCHEMA

SERVICE = Service(
    "storage",
    "untrusted",
    (
        Database(
            FILE_NAME,
            SCHEMA.version,
            "SELECT version FROM schema_version",
            {
                "collections": "SELECT COUNT(*) FROM collections",
                "items": "SELECT COALESCE(SUM(items), 0) FROM collections",
            },
            # Whoever starts with the copy need not wait for the end of a lease.
            forget="UPDATE leases SET holder_id = x''",
            required=True,
        ),
    ),
)

if __name__ == "__main__":
    sys.exit(main(SERVICE, sys.argv[1:]))
