"""`blindsight up`: services, queue and workers on this machine, zones in separate folders."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from blindsight.cli import options, output
from blindsight.cli.local import detaching, ports, running, setup
from blindsight.cli.local.fleet import QUEUE, WORKER, ZONES, Fleet, Plan
from blindsight.cli.local.keys import PassphraseFile
from blindsight.cli.local.supervisor import Child
from blindsight.cli.options import DEFAULT_ADDRESS, Json
from blindsight.cli.status import ZONE_STYLES
from blindsight.runtime.roles import Role

DEFAULT_HOST, _, _PORT = DEFAULT_ADDRESS.rpartition(":")
_QUEUE_FILE_NAME = "ingest.db"


def up(
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", envvar=options.DATA, help="Where everything is kept."),
    ],
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="The keyholder's.")
    ] = int(_PORT),
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Where the keyholder listens.")
    ] = DEFAULT_HOST,
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
            help="Where photos wait for workers: embedded:FILE, or RabbitMQ's amqps://USER:PASSWORD@HOST/.",
            show_default="a file in --data",
        ),
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", help="Return when everything is ready; `blindsight down` stops it.")
    ] = False,
    ask_passphrase: Annotated[
        bool, typer.Option("--ask-passphrase", help="At the first start, rather than make a passphrase.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run keyholder, evaluator, storage and a worker until Ctrl-C, SIGTERM or `blindsight down`.

    The first start creates the key set, and a passphrase, and says where they are. Prints the keyholder's
    address when all of them are ready. Beyond this machine users need the certificate in DIR/owner, as
    BLINDSIGHT_TLS.
    """
    from blindsight.runtime.addresses import is_loopback
    from blindsight.trusted.queue import require_scheme

    scheme = require_scheme(queue) if queue is not None else ""
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    of_metrics = ports.metrics_ports(metrics_port, port, workers)
    for place in ((host, port), *((ports.METRICS_HOST, one) for one in of_metrics.values())):
        ports.check_free(*place)
    names = (*ZONES, QUEUE, WORKER, setup.AUTHORITY)
    with (
        setup.folders(data, names) as folders,
        setup.passphrase(folders["keyholder"], passphrase_file, ask=ask_passphrase) as passphrase,
    ):
        certificates = _certificates(
            folders, of_queue=scheme == "amqps", owner=None if is_loopback(address) else data.resolve()
        )
        with certificates.issuing():
            setup.ensure_keys(folders["keyholder"], folders["storage"], passphrase)
        queue_url = queue or f"embedded:{folders[QUEUE] / _QUEUE_FILE_NAME}"
        plan = Plan(folders, address, passphrase, of_metrics, queue_url, workers, certificates)
        fleet = Fleet(plan, partial(_show, of_metrics), _report)
        leave = detaching.detach(data.resolve()) if detach else None
        with running.told(data.resolve()):
            how = f"`blindsight down --data {shlex.quote(str(data))}`" if detach else "Ctrl-C"
            asyncio.run(fleet.until_stopped(partial(_announce, of_metrics, how, leave, as_json=as_json)))


def _certificates(folders: Mapping[str, Path], *, of_queue: bool, owner: Path | None) -> setup.Certificates:
    """Returns the certificates of services and workers.

    Args:
        of_queue: whether one is for a broker, too.
        owner: in whose folder of this the certificate of an owner is; None: users need none.
    """
    own = {Role(name): folders[name] / setup.TLS for name in (*ZONES, WORKER)}
    if of_queue:
        own[Role.QUEUE] = folders[QUEUE] / setup.TLS
    if owner is not None:
        own[Role.OWNER] = owner / Role.OWNER.value
    return setup.Certificates(folders[setup.AUTHORITY], own)


def _show(of_metrics: Mapping[str, int], child: Child, seconds: float) -> None:
    """Prints the line of a service that has started."""
    name, zone = child.recipe.name, child.recipe.zone
    line = output.text(
        ("✓ ", "green"),
        (f"{name:<10}", "bold"),
        f"{child.address:<16} ",
        (f"{zone:<10}", ZONE_STYLES[zone]),
        (f"  {output.duration(seconds)}", "dim"),
        (f"  {ports.metrics_url(of_metrics, name) or ''}", "dim"),
    )
    line.rstrip()
    output.step(line)


def _announce(
    of_metrics: Mapping[str, int],
    how: str,
    leave: Callable[[], None] | None,
    children: Sequence[Child],
    *,
    as_json: bool,
) -> None:
    """Prints the keyholder's address; as JSON also all services and workers.

    Args:
        of_metrics: ports of metrics by name.
        how: what stops everything.
        leave: called when all is said; None: this process stays where it is.
        children: services and workers.
        as_json: whether to print JSON.
    """
    address = next(child.address for child in children if child.recipe.name == "keyholder")
    if as_json:
        output.answer(json.dumps({"event": "ready", "address": address, **_running(of_metrics, children)}))
    else:
        output.answer(f"Ready at {address}. {how} stops everything." if _to_person() else address)
    sys.stdout.flush()
    if leave is not None:
        leave()


def _to_person() -> bool:
    return all(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr))


def down(
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", envvar=options.DATA, help="That of `blindsight up`.")
    ],
    as_json: Json = False,
) -> None:
    """Stop what `blindsight up` runs on a data folder, and wait until it has ended."""
    with output.spinner("stopping"):
        stopped = running.stop(data)
    if as_json:
        output.document({"data": str(data), "stopped": stopped})
    else:
        output.answer("Stopped." if stopped else f"Nothing runs on {data}.")


def _running(of_metrics: Mapping[str, int], children: Sequence[Child]) -> dict[str, Any]:
    services: dict[str, Any] = {}
    workers = []
    for child in children:
        name, log = child.recipe.name, str(child.recipe.log)
        told = {"process_id": child.process_id, "log": log, "metrics": ports.metrics_url(of_metrics, name)}
        if child.recipe.serves:
            services[name] = {"address": child.address, "zone": child.recipe.zone, **told}
        else:
            workers.append(told)
    return {"services": services, "workers": workers}


def _report(message: str) -> None:
    # A closed standard error must not stop the services.
    with contextlib.suppress(BrokenPipeError):
        output.note(message)
