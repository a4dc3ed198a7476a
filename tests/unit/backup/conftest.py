"""A data folder with real databases in it, as `blindsight up` lays one out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.queues import published

from blindsight.backup.parts import Kept, kept_by
from blindsight.backup.saving import save
from blindsight.trusted.queue import backup as queue
from blindsight.trusted.queue import open_queue
from services.keyholder import backup as keyholder
from services.keyholder.jobs.store import JobStore
from services.storage import backup as storage
from services.storage.stores import STORES

SERVICES = (storage.SERVICE, queue.SERVICE, keyholder.SERVICE)
COLLECTION = bytes(16)


@pytest.fixture(scope="session")
def kept() -> Callable[[Path], list[Kept]]:
    """What all services may keep below a folder."""
    return lambda root: [one for service in SERVICES for one in kept_by(service, root / service.name)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two imports, three messages, keys and a passphrase."""
    root = tmp_path / "data"
    for service in SERVICES:
        (root / service.name).mkdir(parents=True)
    STORES["sqlite"](root / "storage", 0, 0).close()
    with open_queue(f"embedded:{root / 'queue' / queue.FILE_NAME}") as opened:
        published(opened, 3)
    with closing(JobStore(root / "keyholder" / "jobs.db")) as jobs:
        jobs.open(COLLECTION, "first")
        jobs.open(COLLECTION, "second")
    (root / "keyholder" / "keys.bsky").write_bytes(b"BSKY and so on")
    (root / "keyholder" / "passphrase").write_text("not to be guessed\n")
    return root


@pytest.fixture
def copied(data: Path, kept: Callable[[Path], list[Kept]], tmp_path: Path) -> Path:
    """A backup of it."""
    save(kept(data), tmp_path / "copied")
    return tmp_path / "copied"
