"""`blindsight up`: services, queue and workers on this machine, zones in separate folders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from blindsight.cli import output
from blindsight.cli.local import keys
from blindsight.cli.local.keys import KEY_FILE_NAME, PassphraseFile
from blindsight.cli.local.supervisor import Child, Recipe, drain
from blindsight.cli.options import DEFAULT_ADDRESS, Json
from blindsight.cli.status import ZONE_STYLES
from blindsight.errors import InvalidArgument, KeyFileError, Unavailable
from blindsight.runtime.folder_lock import LOCK_NAME, locked

DEFAULT_HOST, _, _PORT = DEFAULT_ADDRESS.rpartition(":")
GENERATED_NAME = "passphrase"
ZONES = {"storage": "untrusted", "evaluator": "untrusted", "keyholder": "trusted"}
# Beside the services' folders: the embedded queue of bulk ingest, and the workers' logs.
_QUEUE, _WORKER = "queue", "worker"
_QUEUE_FILE_NAME = "ingest.db"
_ANY_PORT = "127.0.0.1:0"
# Where services serve /metrics, whatever --host is, and their ports from --metrics-port on.
_METRICS_HOST = "127.0.0.1"
_METRICS_ORDER = ("keyholder", "evaluator", "storage")
_LAST_PORT = 65535
# What stands in a storage folder before anything was stored.
_STORAGE_HOUSEHOLD = {LOCK_NAME, "log.jsonl", "log.jsonl.1"}


def up(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="Where everything is kept.")],
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="The keyholder's.")
    ] = int(_PORT),
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Where the keyholder listens.")
    ] = DEFAULT_HOST,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow an unencrypted --host beyond this machine.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    metrics_port: Annotated[
        int,
        typer.Option(
            "--metrics-port",
            metavar="N",
            min=0,
            max=65533,
            help="Prometheus metrics on loopback: the keyholder's; the others take the next ones.",
            show_default="none",
        ),
    ] = 0,
    workers: Annotated[
        int, typer.Option("--workers", metavar="N", min=0, max=64, help="Of bulk ingest (`ingest --bulk`).")
    ] = 1,
    queue: Annotated[
        str | None,
        typer.Option(
            "--queue",
            metavar="URL",
            envvar="BLINDSIGHT_QUEUE_URL",
            help="Where photos wait for workers: embedded:FILE, or RabbitMQ's amqp://USER:PASSWORD@HOST/.",
            show_default="a file in --data",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run keyholder, evaluator, storage and a worker until Ctrl-C or SIGTERM.

    The first start creates the key set, and asks for a passphrase; without a terminal, or in the background,
    it makes one and says where it is. Prints the keyholder's address when all of them are ready.
    """
    from blindsight.runtime.server import check_bind
    from blindsight.trusted.queue import require_scheme

    if queue is not None:
        require_scheme(queue)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    check_bind(address, insecure=insecure)
    metrics_ports = _metrics_ports(metrics_port, port, workers)
    for place in ((host, port), *((_METRICS_HOST, one) for one in metrics_ports.values())):
        _check_free(*place)
    with _folders(data) as folders, _passphrase(folders, passphrase_file) as passphrase:
        _ensure_keys(folders, passphrase)
        bulk = _Bulk(queue or f"embedded:{folders[_QUEUE] / _QUEUE_FILE_NAME}", workers)
        run = _Run(folders, address, passphrase, metrics_ports, bulk, insecure=insecure, as_json=as_json)
        asyncio.run(run.until_stopped())


def _metrics_ports(first: int, taken: int, workers: int) -> dict[str, int]:
    """The port of the metrics of each service and worker; none at all for 0.

    Raises:
        InvalidArgument: when there are not so many ports, or the keyholder itself is to serve at one of them.
    """
    if not first:
        return {}
    names = (*_METRICS_ORDER, *(_worker_name(number) for number in range(1, workers + 1)))
    ports = {name: first + offset for offset, name in enumerate(names)}
    last = max(ports.values())
    if last > _LAST_PORT:
        raise InvalidArgument(
            f"--metrics-port {first} takes {first} to {last}, want ports up to {_LAST_PORT}"
        )
    if taken in ports.values():
        raise InvalidArgument(
            f"--metrics-port {first} takes {first} to {last}, of which --port is {taken}; want others"
        )
    return ports


def _worker_name(number: int) -> str:
    return f"{_WORKER}-{number}"


def _check_free(host: str, port: int) -> None:
    """Says that a port is taken before anything is started for it."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except OSError as error:
        raise Unavailable(f"cannot listen on {host}:{port}: {error.strerror}") from None


@contextmanager
def _folders(data: Path) -> Iterator[dict[str, Path]]:
    """The services' folders, mode 0700, for this process alone."""
    root = data.resolve()
    folders = {name: root / name for name in (*ZONES, _QUEUE, _WORKER)}
    with ExitStack() as stack:
        try:
            for folder in (root, *folders.values()):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            stack.enter_context(locked(root, f"another `blindsight up` is running on {data}", folder=True))
        except OSError as error:
            raise Unavailable(f"cannot use {data}: {error.strerror}") from None
        yield folders


@dataclass(frozen=True, slots=True)
class _Passphrase:
    """Where children read the passphrase: a path, and the open file that it may stand for."""

    path: str
    descriptors: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Bulk:
    """Bulk ingest: where the queue is, and how many workers take from it."""

    queue_url: str
    workers: int


@contextmanager
def _passphrase(folders: dict[str, Path], given: Path | None) -> Iterator[_Passphrase]:
    """From the file given, else one generated before, else a prompt, else one generated now."""
    generated = folders["keyholder"] / GENERATED_NAME
    key_file = folders["keyholder"] / KEY_FILE_NAME
    if given is not None or generated.exists():
        path = (given or generated).resolve()
        keys.read_passphrase(path)  # a file that cannot be used is refused before anything starts
        yield _Passphrase(str(path))
    elif output.interactive():
        with _in_memory(twice=not key_file.exists()) as passphrase:
            yield passphrase
    elif key_file.exists():
        raise KeyFileError(f"{key_file} is sealed: want --passphrase-file FILE, or a terminal to ask on")
    else:
        keys.generate_passphrase(generated)
        output.note(f"generated a passphrase into {generated}; who has it and {key_file} has everything")
        yield _Passphrase(str(generated))


@contextmanager
def _in_memory(*, twice: bool) -> Iterator[_Passphrase]:
    """An answer typed in, as a file in memory that children inherit: no disk and no argument sees it."""
    if twice:
        output.note("first start: choose the passphrase that seals the key set")
    answer = keys.ask_passphrase(twice=twice)
    descriptor = os.memfd_create("passphrase", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, answer.reveal_secret())
        yield _Passphrase(f"/proc/self/fd/{descriptor}", (descriptor,))
    finally:
        os.close(descriptor)


def _ensure_keys(folders: dict[str, Path], passphrase: _Passphrase) -> None:
    """Makes the key set at the very first start, before storage has anything.

    Raises:
        KeyFileError: when there is data whose key file is gone: a new key would not open it.
    """
    key_file = folders["keyholder"] / KEY_FILE_NAME
    if key_file.exists():
        return
    if {path.name for path in folders["storage"].iterdir()} - _STORAGE_HOUSEHOLD:
        raise KeyFileError(
            f"{key_file} is missing, and {folders['storage']} holds what it sealed: restore it"
        )
    # In a process of its own: this one lives long and has no business with secret keys.
    command = [sys.executable, "-P", "-m", "blindsight.cli", "keys", "create", "--out", str(key_file)]
    with output.spinner("creating the key set"):
        made = subprocess.run(
            [*command, "--passphrase-file", passphrase.path],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            pass_fds=passphrase.descriptors,
            check=False,
        )
    if made.returncode != 0:
        last = (made.stderr.strip().splitlines() or ["no reason known"])[-1]
        raise KeyFileError(last.removeprefix("blindsight: error: "))
    output.note(f"created the key set {key_file}")


class _Run:
    """One life of the three services."""

    def __init__(
        self,
        folders: dict[str, Path],
        address: str,
        passphrase: _Passphrase,
        metrics_ports: dict[str, int],
        bulk: _Bulk,
        *,
        insecure: bool,
        as_json: bool,
    ) -> None:
        self._bulk = bulk
        self._folders = folders
        self._address = address
        self._passphrase = passphrase
        self._metrics_ports = metrics_ports
        self._insecure = insecure
        self._as_json = as_json
        self._children: list[Child] = []

    async def until_stopped(self) -> None:
        """Starts all and keeps them alive until a signal; then drains workers, keyholder, evaluator, storage.

        Raises:
            Unavailable: when one does not start, or dies again and again.
        """
        stop, hurry = asyncio.Event(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, _ask, stop, hurry)
        running = asyncio.create_task(self._serve())
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        failure = running.exception() if running.done() else None
        running.cancel()
        stopping.cancel()
        await asyncio.wait({running, stopping})
        if failure is None:
            _tell("stopping: workers and keyholder first, then evaluator and storage")
        await drain(self._children[::-1], hurry)
        if failure is not None:
            raise failure
        _tell("stopped")

    async def _serve(self) -> None:
        storage = await self._start("storage", _ANY_PORT, {})
        evaluator = await self._start("evaluator", _ANY_PORT, {"storage_address": storage.address})
        settings = {
            "storage_address": storage.address,
            "evaluator_address": evaluator.address,
            "passphrase_file": self._passphrase.path,
            "insecure": str(self._insecure).lower(),
            "queue_url": self._bulk.queue_url,
        }
        keyholder = await self._start("keyholder", self._address, settings, self._passphrase.descriptors)
        await self._start_workers(storage, evaluator, keyholder)
        self._announce(keyholder.address)
        keepers = {asyncio.create_task(child.keep()) for child in self._children}
        try:
            done, _ = await asyncio.wait(keepers, return_when=asyncio.FIRST_COMPLETED)
            done.pop().result()  # a keeper ends only by raising
        finally:
            for keeper in keepers:
                keeper.cancel()
            await asyncio.gather(*keepers, return_exceptions=True)

    async def _start_workers(self, storage: Child, evaluator: Child, keyholder: Child) -> None:
        settings = {
            "storage_address": storage.address,
            "evaluator_address": evaluator.address,
            "keyholder_address": keyholder.address,
            "key_file": str(self._folders["keyholder"] / KEY_FILE_NAME),
            "passphrase_file": self._passphrase.path,
            "queue_url": self._bulk.queue_url,
        }
        for number in range(1, self._bulk.workers + 1):
            name = _worker_name(number)
            recipe = Recipe(
                name,
                "trusted",
                self._folders[_WORKER],
                settings | self._metrics_settings(name),
                self._passphrase.descriptors,
                serves=False,
            )
            await self._run(Child(recipe, "", _tell))

    async def _start(
        self, name: str, address: str, settings: dict[str, str], descriptors: tuple[int, ...] = ()
    ) -> Child:
        settings = settings | self._metrics_settings(name)
        recipe = Recipe(name, ZONES[name], self._folders[name], settings, descriptors)
        return await self._run(Child(recipe, address, _tell))

    async def _run(self, child: Child) -> Child:
        name = child.recipe.name
        self._children.append(child)
        started = time.monotonic()
        with output.spinner(f"starting {name}"):
            await child.start()
        zone = child.recipe.zone
        line = Text.assemble(
            ("✓ ", "green"),
            (f"{name:<10}", "bold"),
            f"{child.address:<16} ",
            (f"{zone:<10}", ZONE_STYLES[zone]),
            (f"  {output.duration(time.monotonic() - started)}", "dim"),
            (f"  {self._metrics_url(name) or ''}", "dim"),
        )
        line.rstrip()
        output.stderr().print(line, soft_wrap=True)
        return child

    def _metrics_settings(self, name: str) -> dict[str, str]:
        return {"metrics_port": str(self._metrics_ports[name])} if name in self._metrics_ports else {}

    def _metrics_url(self, name: str) -> str | None:
        if name not in self._metrics_ports:
            return None
        return f"http://{_METRICS_HOST}:{self._metrics_ports[name]}/metrics"

    def _announce(self, address: str) -> None:
        if not self._as_json:
            to_person = sys.stdout.isatty() and output.interactive()
            told = f"Ready at {address}. Ctrl-C stops everything." if to_person else address
            output.answer(told)
        else:
            running = {
                child.recipe.name: {
                    "address": child.address,
                    "process_id": child.process_id,
                    "zone": child.recipe.zone,
                    "log": str(child.recipe.log),
                    "metrics": self._metrics_url(child.recipe.name),
                }
                for child in self._children
            }
            document = {
                "event": "ready",
                "address": address,
                "services": {name: running[name] for name in ZONES},
                "workers": [
                    {
                        "process_id": child.process_id,
                        "log": str(child.recipe.log),
                        "metrics": self._metrics_url(child.recipe.name),
                    }
                    for child in self._children
                    if not child.recipe.serves
                ],
            }
            print(json.dumps(document))  # noqa: T201
        sys.stdout.flush()


def _ask(stop: asyncio.Event, hurry: asyncio.Event) -> None:
    if not stop.is_set():
        stop.set()
    elif not hurry.is_set():
        _tell("stopping at once")
        hurry.set()


def _tell(message: str) -> None:
    # Who closed our standard error does not want to hear; the services go on.
    with contextlib.suppress(BrokenPipeError):
        output.note(message)
