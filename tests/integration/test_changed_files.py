"""One byte of any file of a vault is changed: it is refused in one clear line, or everything is right."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.lived import Held, live
from support.services import SHORT_LEASE, Services

import blindsight
from blindsight.client import Vault
from blindsight.errors import BlindsightError

ROUNDS = 8
# A lock holds nothing; SQLite makes the index of its write-ahead log anew.
HOLD_NOTHING = (".lock", "-shm")


@dataclass(frozen=True)
class Left:
    """What a vault leaves on its disk when its processes are killed, and what it has acknowledged."""

    folder: Path
    held: Held

    def files(self) -> list[Path]:
        return sorted(
            path.relative_to(self.folder)
            for zone in ("storage", "evaluator", "keyholder")
            for path in (self.folder / zone).rglob("*")
            if path.is_file() and path.stat().st_size and not path.name.endswith(HOLD_NOTHING)
        )


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder = tmp_path_factory.mktemp("left")
    services = Services(folder)
    acknowledged: list[Held] = []
    with blindsight.connect(services.start().address()) as vault:
        live(vault, acknowledged.append)
    for name in ("keyholder", "evaluator", "storage"):
        services[name].kill()
    return Left(folder, acknowledged[-1])


def change(path: Path, luck: random.Random) -> int:
    """Changes one bit; half of the time where a file says what it is."""
    size = path.stat().st_size
    place = luck.randrange(luck.choice((min(size, 128), size)))
    with path.open("r+b") as file:
        file.seek(place)
        (byte,) = file.read(1)
        file.seek(place)
        file.write(bytes([byte ^ (1 << luck.randrange(8))]))
    return place


def told(services: Services) -> Iterator[str]:
    """What the logs say, line by line."""
    for log in services.folder.glob("*.log"):
        yield from log.read_text().splitlines()


def refusal(services: Services, held: Held) -> str:
    """What is said when the vault is started and used; nothing if all is right."""
    try:
        services.start()
        with blindsight.connect(services.address(), retry_seconds=5) as vault:
            uses(vault, held)
    except BlindsightError as error:
        return error.message
    except RuntimeError as error:  # of a service that did not start
        return str(error).partition(": ")[2].strip()
    finally:
        services.stop()
    return ""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_a_changed_byte_anywhere_is_refused_or_changes_nothing(left: Left, tmp_path: Path, seed: int) -> None:
    luck = random.Random(seed)
    folder = tmp_path / "changed"
    shutil.copytree(left.folder, folder, ignore=shutil.ignore_patterns("*.log"))
    file = luck.choice(left.files())
    place = change(folder / file, luck)
    services = Services(folder, own_keys=True, settings={"storage": SHORT_LEASE})
    said = refusal(services, left.held)
    assert "\n" not in said, (file, place, said)
    assert not [line for line in told(services) if "Traceback" in line], (file, place, said)


def uses(vault: Vault, held: Held) -> None:
    """Uses all that the vault holds."""
    vault.status()
    vault.collections()
    held.check(vault)
