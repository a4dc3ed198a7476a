"""The services of one `blindsight up`: started in order, kept alive, and drained in reverse order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from blindsight.cli import output
from blindsight.cli.local.keys import KEY_FILE_NAME
from blindsight.cli.local.setup import TLS, Certificates, Passphrase, Received
from blindsight.cli.local.supervisor import Child, Recipe, drain
from blindsight.cli.local.zones import ZONES, Places, Zone
from blindsight.errors import CertificateError, Unavailable
from blindsight.runtime.announcing import announced
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE, noted
from blindsight.runtime.roles import Role

WORKER_ZONE = ZONES["keyholder"]
# Folders beside those of the services: the embedded queue of bulk ingest, and the workers' logs.
QUEUE, WORKER = "queue", "worker"
_ANY_PORT = "127.0.0.1:0"
# The keyholder serves users at an address of its own.
_FOR_WORKERS = "worker_address"
_DAY_SECONDS = 86_400.0
# Services elsewhere may start at the same time.
_SERVER_SECONDS, _SERVER_PAUSE_SECONDS = 30.0, 1.0


def worker_name(number: int) -> str:
    """Returns the name of a worker; numbers begin at 1."""
    return f"{WORKER}-{number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a fleet.

    Attributes:
        zone: which services it has.
        folders: folders by service, and by `QUEUE` and `WORKER`.
        places: where storage and evaluator serve; of the trusted zone alone, where they are.
        certificates: by which they know each other.
        metrics_ports: ports by name of a service or worker; empty for none.
        trusted: of the trusted zone; None without it.
    """

    zone: Zone
    folders: Mapping[str, Path]
    places: Places
    certificates: Certificates | Received
    metrics_ports: Mapping[str, int]
    trusted: Trusted | None


@dataclass(frozen=True, slots=True)
class Trusted:
    """The settings of the trusted zone.

    Attributes:
        address: address of the keyholder.
        passphrase: passphrase of the key set.
        queue_url: URL of the queue of bulk ingest.
        workers: number of workers.
    """

    address: str
    passphrase: Passphrase
    queue_url: str
    workers: int


class Fleet:
    """The services and workers of one run.

    Args:
        plan: the settings.
        started: called with each child once it serves, and the seconds that its start took.
        report: called with human-readable lines.
    """

    def __init__(
        self, plan: Plan, started: Callable[[Child, float], None], report: Callable[[str], None]
    ) -> None:
        self._plan = plan
        self._started = started
        self._report = report
        self._children: list[Child] = []
        self._announcing = ExitStack()

    async def until_stopped(self, ready: Callable[[Sequence[Child]], None]) -> None:
        """Starts all and keeps them alive until a signal; then drains workers, keyholder, evaluator, storage.

        Args:
            ready: called with all children, the services first, once the last has started.

        Raises:
            Unavailable: if a child does not start, or a service dies repeatedly.
        """
        stop, hurry = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, self._ask, stop, hurry)
        running = asyncio.create_task(self._run(ready))
        stopping = asyncio.create_task(stop.wait())
        with self._announcing:  # not while it drains
            await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        failure = running.exception() if running.done() else None
        running.cancel()
        stopping.cancel()
        await asyncio.wait({running, stopping})
        if failure is None:
            self._report(f"stopping {', '.join(child.recipe.name for child in self._children[::-1])}")
        await drain(self._children[::-1], hurry)
        if failure is not None:
            raise failure
        self._report("stopped")

    def _ask(self, stop: asyncio.Event, hurry: asyncio.Event) -> None:
        if not stop.is_set():
            stop.set()
        elif not hurry.is_set():
            self._report("stopping at once")
            hurry.set()

    async def _run(self, ready: Callable[[Sequence[Child]], None]) -> None:
        await self._start_all()
        ready(self._children)
        keepers = {asyncio.create_task(child.keep()) for child in self._children}
        keepers.add(asyncio.create_task(self._renew()))
        try:
            done, _ = await asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()  # raises: they end only with an exception
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _renew(self) -> None:
        """Renews certificates in time: services take them without a restart."""
        while True:
            await asyncio.sleep(_DAY_SECONDS)
            try:
                await asyncio.to_thread(self._plan.certificates.renew)
            except CertificateError as error:
                self._report(f"certificates are not renewed: {error.message}")

    async def _start_all(self) -> None:
        plan = self._plan
        if plan.trusted is not None:
            self._announcing.enter_context(announced(plan.trusted.address))
        if plan.zone is Zone.TRUSTED:
            places = await self._find_server(plan.places)
        else:
            places = await self._start_untrusted(plan.places)
        if plan.trusted is not None:
            await self._start_trusted(plan.trusted, places)

    async def _find_server(self, places: Places) -> Places:
        """Waits for storage and evaluator elsewhere, which a keyholder would wait for without a word.

        Raises:
            Unavailable: if they stay away.
        """
        from blindsight.runtime import health

        certificate = self._plan.folders["keyholder"] / TLS
        for role, address in ((Role.STORAGE, places.storage), (Role.EVALUATOR, places.evaluator)):
            ask = partial(health.require_serving, address, tls=certificate, role=role)
            with output.spinner(f"waiting for {role} at {address}"):
                await _until_answered(ask, f"{role} at {address}")
        return places

    async def _start_untrusted(self, places: Places) -> Places:
        storage = await self._start_service("storage", {"address": places.storage}, {})
        known = {"storage_address": storage.address}
        evaluator = await self._start_service("evaluator", {"address": places.evaluator}, known)
        return Places(storage.address, evaluator.address)

    async def _start_trusted(self, trusted: Trusted, places: Places) -> None:
        plan = self._plan
        known = {
            "storage_address": places.storage,
            "evaluator_address": places.evaluator,
            "passphrase_file": trusted.passphrase.path,
            "queue_url": trusted.queue_url,
        }
        serving = {"address": trusted.address, _FOR_WORKERS: _ANY_PORT}
        keyholder = await self._start_service("keyholder", serving, known)
        self._announcing.enter_context(announced(keyholder.address))  # if its port was any
        owner = plan.folders["keyholder"] / OWNER_TOKEN_FILE
        self._announcing.enter_context(noted(keyholder.address, owner))
        key_file = str(plan.folders["keyholder"] / KEY_FILE_NAME)
        of_worker = known | {"keyholder_address": keyholder.addresses[_FOR_WORKERS], "key_file": key_file}
        for number in range(1, trusted.workers + 1):
            recipe = self._recipe(worker_name(number), WORKER_ZONE, plan.folders[WORKER], of_worker)
            await self._start(Child(recipe, {}, self._report))

    async def _start_service(
        self, name: str, addresses: Mapping[str, str], settings: Mapping[str, str]
    ) -> Child:
        recipe = self._recipe(name, ZONES[name], self._plan.folders[name], settings)
        return await self._start(Child(recipe, addresses, self._report))

    def _recipe(self, name: str, zone: str, folder: Path, settings: Mapping[str, str]) -> Recipe:
        port = self._plan.metrics_ports.get(name)
        metrics = {"metrics_port": str(port)} if port is not None else {}
        trusted = self._plan.trusted
        # The untrusted zone must not inherit the passphrase.
        descriptors = trusted.passphrase.descriptors if trusted is not None and zone == WORKER_ZONE else ()
        serves = name in ZONES
        own = {**settings, **metrics, "tls": str(folder / TLS)}
        return Recipe(name, zone, folder, own, descriptors, serves=serves)

    async def _start(self, child: Child) -> Child:
        self._children.append(child)
        started = time.monotonic()
        with output.spinner(f"starting {child.recipe.name}"):
            await child.start()
        self._started(child, time.monotonic() - started)
        return child


async def _until_answered(ask: Callable[[], None], what: str) -> None:
    deadline = time.monotonic() + _SERVER_SECONDS
    while True:
        try:
            return await asyncio.to_thread(ask)
        except Unavailable:
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"{what} does not answer, or not to this vault's certificate; tried for "
                    f"{_SERVER_SECONDS:g} seconds: start it there with `blindsight up --zone untrusted`"
                ) from None
        await asyncio.sleep(_SERVER_PAUSE_SECONDS)
