"""Backup of the embedded queue of `blindsight up`; queues at a broker are backed up there."""

from __future__ import annotations

from blindsight.backup.parts import Database, Service
from blindsight.trusted.queue.database import SCHEMA

# The name that `blindsight up` gives the file.
FILE_NAME = "ingest.db"

SERVICE = Service(
    "queue",
    "trusted",
    (Database(FILE_NAME, SCHEMA.version, counts={"messages": "SELECT COUNT(*) FROM messages"}),),
)
