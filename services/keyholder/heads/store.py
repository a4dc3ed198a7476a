"""The heads of collections' logs on the disk, in one SQLite file of the keyholder's folder.

They are what the keyholder remembers of storage's past.  That the file was lost is not noticed, and then the
first state of a collection that storage shows is believed, if it was written at some time: so the file
belongs to backups.
"""

from __future__ import annotations

import json
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.runtime.sqlite import Schema, Store
from blindsight.trusted.keyring.sealing import Sealer
from blindsight.trusted.slots import Point
from blindsight.trusted.vault.heads import Head, State
from blindsight.wire.storage import DIGEST_BYTES, ID_BYTES

FILE_NAME = "heads.db"
SCHEMA = Schema(__package__, "a database of log heads", version=1, application_id=0x42534C48)  # "BSLH"


class HeadStore(Store):
    """A store of heads.

    Args:
        path: of the file; created if it does not exist.
        sealer: seals the names of collections, and their aliases.
    """

    schema = SCHEMA

    def __init__(self, path: Path, sealer: Sealer) -> None:
        super().__init__(path)
        self._sealer = sealer

    def load(self) -> dict[bytes, Head]:
        """Returns all heads, by collection id.

        Raises:
            DataLoss: if one is damaged.
        """
        with self._transaction() as db:
            return dict(map(self._head, db.execute("SELECT * FROM heads")))

    def save(self, collection_id: bytes, head: Head) -> None:
        """Saves a collection's head; it is on the disk when this returns."""
        name = self._sealer.seal(_called(head).encode(), _place(collection_id))
        row = collection_id, name, head.point.sequence, head.point.chain, head.state
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO heads VALUES (?, ?, ?, ?, ?)", row)

    def _head(self, row: tuple[bytes, bytes, int, bytes, int]) -> tuple[bytes, Head]:
        collection_id, name, sequence, chain, state = row
        if len(collection_id) != ID_BYTES or len(chain) != DIGEST_BYTES or state not in set(State):
            raise DataLoss("a log head of the keyholder is damaged: restore heads.db from a copy")
        called, _, aliases = self._sealer.open(name, _place(collection_id)).decode().partition("\n")
        named = json.loads(aliases) if aliases else {}
        return collection_id, Head(called, Point(sequence, chain), State(state), named)


def _called(head: Head) -> str:
    """Returns a collection's name; behind it, on a line of their own, its aliases if it has any."""
    return "\n".join([head.name, *([json.dumps(dict(head.aliases))] if head.aliases else [])])


def _place(collection_id: bytes) -> bytes:
    return b"head:" + collection_id
