"""The power goes, at any moment: what was acknowledged is there afterwards, and everything works."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from support.lived import Held, live
from support.powerloss import Journal
from support.services import SHORT_LEASE, Services

import blindsight
from blindsight.errors import BlindsightError
from services.keyholder.settings import KEY_FILE_NAME

ROUNDS = 3

Story = tuple[Journal, list[tuple[int, Held]]]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The journal of a vault's disk, and what was acknowledged at which points of it."""
    folder = tmp_path_factory.mktemp("powered")
    journal = Journal(tmp_path_factory.mktemp("journal") / "journal", folder)
    services = Services(folder, extra=journal.variables)
    acknowledged: list[tuple[int, Held]] = []
    try:
        with blindsight.connect(services.start().address()) as vault:
            live(vault, lambda held: acknowledged.append((journal.size(), held)))
    finally:
        services.stop()
    return journal, acknowledged


def restored(journal: Journal, folder: Path, point: int, luck: random.Random) -> Services:
    """Services on what the disk may hold, with the keys that were there before."""
    journal.restore(folder, point, luck)
    for name in ("keyholder.passphrase", f"keyholder/{KEY_FILE_NAME}"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True, mode=0o700)
        shutil.copy2(journal.root / name, folder / name)
    return Services(folder, own_keys=True, settings={"storage": SHORT_LEASE})


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_what_was_acknowledged_outlives_the_power(story: Story, tmp_path: Path, seed: int) -> None:
    journal, acknowledged = story
    luck = random.Random(seed)
    at = luck.randrange(len(acknowledged) - 1)
    (point, held), (later, following) = acknowledged[at : at + 2]
    if seed % 2:  # else right after it was acknowledged, when the least is on the disk
        point = luck.randint(point, later)
        held = held.without(following.deleted - held.deleted)
    services = restored(journal, tmp_path / "restored", point, luck)
    try:
        services.start()
        with blindsight.connect(services.address()) as vault:
            held.check(vault)
    finally:
        services.stop()


def test_a_vault_whose_disk_forgot_what_was_synced_would_be_noticed(story: Story, tmp_path: Path) -> None:
    journal, acknowledged = story
    point, held = acknowledged[-1]
    forgetful = Journal(journal.path, journal.root, ignores_syncs=True)
    lost = 0
    for seed in range(2):
        services = restored(forgetful, tmp_path / str(seed), point, random.Random(seed))
        try:
            services.start()
            with blindsight.connect(services.address(), retry_seconds=5) as vault:
                held.check(vault)
        except (RuntimeError, AssertionError, BlindsightError):
            lost += 1
        finally:
            services.stop()
    assert lost
