"""Backups of what the keyholder keeps: `python -P -m services.keyholder.backup save|verify|restore DIR`."""

from __future__ import annotations

import re
import sys

from blindsight.backup.command import main
from blindsight.backup.parts import Database, File, Repeated, Service
from blindsight.wire.workers import ItemState
from services.keyholder.alarms.store import FILE_NAME as ALARMS_FILE_NAME
from services.keyholder.alarms.store import SCHEMA as ALARMS_SCHEMA
from services.keyholder.heads.store import FILE_NAME as HEADS_FILE_NAME
from services.keyholder.heads.store import SCHEMA as HEADS_SCHEMA
from services.keyholder.jobs.store import SCHEMA
from services.keyholder.limits.budgets import FILE_NAME as LIMITS_FILE_NAME
from services.keyholder.limits.budgets import SCHEMA as LIMITS_SCHEMA
from services.keyholder.rotation.switching import FOLDER_NAME as ROTATION
from services.keyholder.settings import JOBS_FILE_NAME, KEY_FILE_NAME
from services.keyholder.tenants.store import FILE_NAME as TENANTS_FILE_NAME
from services.keyholder.tenants.store import FOLDER_NAME
from services.keyholder.tenants.store import SCHEMA as TENANTS_SCHEMA
from services.keyholder.tokens.store import FILE_NAME as TOKENS_FILE_NAME
from services.keyholder.tokens.store import SCHEMA as TOKENS_SCHEMA

_HEADS = Database(
    HEADS_FILE_NAME,
    HEADS_SCHEMA.version,
    counts={"known collections": "SELECT COUNT(*) FROM heads WHERE state = 1"},
)
_ALARMS = Database(ALARMS_FILE_NAME, ALARMS_SCHEMA.version, counts={"alarms": "SELECT COUNT(*) FROM alarms"})
# The key file is restored last: with data and no keys the keyholder does not start.
SERVICE = Service(
    "keyholder",
    "trusted",
    (
        Database(
            JOBS_FILE_NAME,
            SCHEMA.version,
            counts={
                "imports": "SELECT COUNT(*) FROM jobs",
                "waiting": f"SELECT COUNT(*) FROM items WHERE state = {ItemState.QUEUED:d}",  # noqa: S608
            },
        ),
        _HEADS,
        _ALARMS,
        Database(
            TENANTS_FILE_NAME, TENANTS_SCHEMA.version, counts={"tenants": "SELECT COUNT(*) FROM tenants"}
        ),
        Database(TOKENS_FILE_NAME, TOKENS_SCHEMA.version, counts={"tokens": "SELECT COUNT(*) FROM tokens"}),
        Database(LIMITS_FILE_NAME, LIMITS_SCHEMA.version),
        File("passphrase"),  # where `blindsight up` generated one
        File(KEY_FILE_NAME, required=True),
    ),
    Repeated(FOLDER_NAME, re.compile("[0-9a-f]{32}"), (_HEADS, _ALARMS, File(KEY_FILE_NAME))),
    moving=ROTATION,
)

if __name__ == "__main__":
    sys.exit(main(SERVICE, sys.argv[1:]))
