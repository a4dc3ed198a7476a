"""The services of one `blindsight up`: started in order, kept alive, and drained in reverse order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from blindsight.cli import output
from blindsight.cli.local.keys import KEY_FILE_NAME
from blindsight.cli.local.setup import TLS, Certificates, Passphrase
from blindsight.cli.local.supervisor import Child, Recipe, drain
from blindsight.errors import CertificateError
from blindsight.runtime.announcing import announced
from blindsight.runtime.owner_notes import OWNER_TOKEN_FILE, noted

ZONES = {"storage": "untrusted", "evaluator": "untrusted", "keyholder": "trusted"}
WORKER_ZONE = ZONES["keyholder"]
# Folders beside those of the services: the embedded queue of bulk ingest, and the workers' logs.
QUEUE, WORKER = "queue", "worker"
_ANY_PORT = "127.0.0.1:0"
# The keyholder serves users at an address of its own.
_FOR_WORKERS = "worker_address"
_DAY_SECONDS = 86_400.0


def worker_name(number: int) -> str:
    """Returns the name of a worker; numbers begin at 1."""
    return f"{WORKER}-{number}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The settings of a fleet.

    Attributes:
        folders: folders by service, and by `QUEUE` and `WORKER`.
        address: address of the keyholder.
        passphrase: passphrase of the key set.
        metrics_ports: ports by name of a service or worker; empty for none.
        queue_url: URL of the queue of bulk ingest.
        workers: number of workers.
        certificates: by which they know each other.
    """

    folders: Mapping[str, Path]
    address: str
    passphrase: Passphrase
    metrics_ports: Mapping[str, int]
    queue_url: str
    workers: int
    certificates: Certificates


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
            self._report("stopping: workers and keyholder first, then evaluator and storage")
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
        self._announcing.enter_context(announced(plan.address))
        storage = await self._start_service("storage", {"address": _ANY_PORT}, {})
        places = {"storage_address": storage.address}
        evaluator = await self._start_service("evaluator", {"address": _ANY_PORT}, places)
        places["evaluator_address"] = evaluator.address
        trusted = places | {"passphrase_file": plan.passphrase.path, "queue_url": plan.queue_url}
        serving = {"address": plan.address, _FOR_WORKERS: _ANY_PORT}
        keyholder = await self._start_service("keyholder", serving, trusted)
        self._announcing.enter_context(announced(keyholder.address))  # if its port was any
        owner = plan.folders["keyholder"] / OWNER_TOKEN_FILE
        self._announcing.enter_context(noted(keyholder.address, owner))
        key_file = str(plan.folders["keyholder"] / KEY_FILE_NAME)
        of_worker = trusted | {"keyholder_address": keyholder.addresses[_FOR_WORKERS], "key_file": key_file}
        for number in range(1, plan.workers + 1):
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
        # The untrusted zone must not inherit the passphrase.
        descriptors = self._plan.passphrase.descriptors if zone == WORKER_ZONE else ()
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
