"""What the embedded queue of `blindsight up` keeps; a broker's is the broker's to back up."""

from __future__ import annotations

from blindsight.backup.parts import Database, Service
from blindsight.trusted.queue.database import SCHEMA

# As `blindsight up` names it.
FILE_NAME = "ingest.db"

SERVICE = Service(
    "queue",
    "trusted",
    (Database(FILE_NAME, SCHEMA.version, counts={"messages": "SELECT COUNT(*) FROM messages"}),),
)
