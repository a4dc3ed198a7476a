"""Damage to what storage keeps: changes of its database behind its back."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

from support.services import Services

# A blob with four of its bytes changed.
FLIPPED = "CAST(substr(bytes, 1, 99) || x'00112233' || substr(bytes, 104) AS BLOB)"


def change_database(services: Services, *statements: str) -> None:
    """Runs statements on storage's database while storage is stopped; each must change something."""
    services["storage"].stop()
    with closing(sqlite3.connect(services.folder / "storage" / "storage.sqlite3")) as db, db:
        for statement in statements:
            assert db.execute(statement).rowcount > 0, statement
    services["storage"].start()


def forget_copies(services: Services, *, catalog: bool = True) -> None:
    """Has evaluator and keyholder lose their copies, so that they read storage's.

    Args:
        catalog: whether the keyholder loses what it knows of items, too.
    """
    for name in ("keyholder", "evaluator"):
        services[name].stop()
    shutil.rmtree(services.folder / "evaluator")
    for path in (services.folder / "keyholder").glob("catalog.db*" if catalog else "nothing"):
        path.unlink()
    (services.folder / "keyholder" / "answer_keys.db").unlink(missing_ok=True)
    for name in ("evaluator", "keyholder"):
        services[name].start()
