"""Services with relays on every way between them, which change what one of them says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

import blindsight
from blindsight.client import Vault
from blindsight.errors import DataLoss
from support.command import run_here
from support.relay import Relay
from support.services import SHORT_LEASE, Services, wait_until

SERVICE = "/blindsight.storage.v1.StorageService/"
LOOKS = tuple(f"{SERVICE}{name}" for name in ("GetItems", "ReadOriginal"))
EVALUATOR, STORAGE, LOG = ("keyholder", "evaluator"), ("keyholder", "storage"), ("evaluator", "storage")


@dataclass
class World:
    """Services with a relay on every way between them."""

    services: Services
    relays: dict[tuple[str, str], Relay]
    vault: Vault

    @property
    def relay(self) -> Relay:
        """Between keyholder and storage."""
        return self.relays[STORAGE]

    def lie(
        self, way: tuple[str, str], method: str, change: Callable[[list[bytes]], Iterable[bytes]]
    ) -> None:
        """Changes the whole answer of a method."""

        def changed(asked: str, answers: Iterable[bytes]) -> Iterable[bytes]:
            return change(list(answers)) if asked == method else answers

        self.relays[way].change = changed

    def tell_the_truth(self) -> None:
        for relay in self.relays.values():
            relay.change = lambda _, answers: answers

    def looked_up(self) -> int:
        """How often the keyholder asked storage for items or originals."""
        calls = self.relays["keyholder", "storage"].calls
        return sum(call.method in LOOKS for call in calls)

    def restart_keyholder(self, *, forgetful: bool = False, kill: bool = False) -> None:
        """Restarts the keyholder; a forgetful one has lost what it keeps of galleries."""
        keyholder = self.services["keyholder"]
        keyholder.kill() if kill else keyholder.stop()
        if forgetful:
            (self.services.folder / "keyholder" / "answer_keys.db").unlink()
        keyholder.start()

    def alarm(self) -> str:
        return self.vault.status().services[0].alarm

    def checked(self, *options: str) -> tuple[int, dict[str, Any]]:
        """The exit code of `check`, and what it tells."""
        done = run_here("check", *options, "--json", "--address", self.services.address())
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def start_anew(self) -> None:
        """Tells the truth, and leaves no collection and no alarm."""
        self.tell_the_truth()
        states = []

        def all_answer() -> bool:
            states.append(self.vault.status())
            return all(one.reachable for one in states[-1].services)

        # One that does not answer in three seconds has no collections in a status.
        wait_until(all_answer, 60)
        state = states[-1]
        for name in [*(one.name for one in state.collections), *state.lost]:
            self.vault.delete_collection(name)
        self.vault.acknowledge_alarms(self.vault.status())


Lying = TypeVar("Lying", bound=World)


@contextmanager
def lying_services(folder: Path, kind: type[Lying]) -> Iterator[Lying]:
    """Runs services in a folder, which tell the truth until a test has one lie."""
    relays: dict[tuple[str, str], Relay] = {}

    def way(client: str, server: str, address: str) -> str:
        if (client, server) not in relays:
            relays[client, server] = Relay(address)
        return relays[client, server].address

    services = Services(folder, way=way, settings={"storage": SHORT_LEASE})
    try:
        services.start()
        with blindsight.connect(services.address()) as vault:
            yield kind(services, relays, vault)
    finally:
        for relay in relays.values():
            relay.close()
        services.stop()


def refused(world: World, ask: Callable[[], object]) -> str:
    """Asks, and returns why there is no answer: nothing was looked up before, and an alarm tells of it."""
    before, alarm = world.looked_up(), world.alarm()
    with pytest.raises(DataLoss) as caught:
        ask()
    assert world.looked_up() == before
    assert world.alarm() != alarm
    return str(caught.value)
