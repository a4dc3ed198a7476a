"""`blindsight up`: services, queue and workers on this machine, zones in separate folders or machines."""

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
from blindsight.cli.local import detaching, ports, running, zones
from blindsight.cli.local.fleet import Fleet
from blindsight.cli.local.keys import PassphraseFile
from blindsight.cli.local.planning import Choices, prepared
from blindsight.cli.local.supervisor import Child
from blindsight.cli.local.zones import Zone
from blindsight.cli.options import DEFAULT_ADDRESS, Json
from blindsight.cli.status import ZONE_STYLES

DEFAULT_HOST, _, _PORT = DEFAULT_ADDRESS.rpartition(":")


def up(
    data: Annotated[
        Path,
        typer.Option("--data", metavar="DIR", envvar=options.DATA, help="Where everything is kept."),
    ],
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            metavar="N",
            min=0,
            max=65535,
            help="The keyholder's; storage's with --zone untrusted, and the evaluator takes the next one.",
            show_default=f"{_PORT}, {zones.SERVER_PORT}",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", metavar="HOST", help="Where they listen that --port is for.")
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
    zone: Annotated[
        Zone,
        typer.Option("--zone", help="Which services: all, keyholder and workers, or storage and evaluator."),
    ] = Zone.ALL,
    server: zones.ServerOption = None,
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
    BLINDSIGHT_TLS. With --zone untrusted, storage and evaluator alone run here, for a keyholder elsewhere.
    """
    from blindsight.runtime.addresses import parse

    if queue is not None:
        from blindsight.trusted.queue import require_scheme

        require_scheme(queue)
    alone = zone is Zone.UNTRUSTED
    usual = zones.SERVER_PORT if alone else int(_PORT)
    port = usual if port is None else port
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    places = zones.places(zone, server, address)
    taken = [parse(one) for one in ((places.storage, places.evaluator) if alone else (address,))]
    workers = 0 if alone else workers
    of_metrics = ports.metrics_ports(
        metrics_port, [one.port for one in taken], zones.services_of(zone), workers
    )
    for place in (*taken, *((ports.METRICS_HOST, one) for one in of_metrics.values())):
        ports.check_free(*place)
    chosen = Choices(data, zone, address, places, of_metrics, workers, queue, passphrase_file, ask_passphrase)
    with prepared(chosen) as plan:
        fleet = Fleet(plan, partial(_show, of_metrics), _report)
        leave = detaching.detach(data.resolve()) if detach else None
        with running.told(data.resolve()):
            how = f"`blindsight down --data {shlex.quote(str(data))}`" if detach else "Ctrl-C"
            asyncio.run(fleet.until_stopped(partial(_announce, of_metrics, how, leave, as_json=as_json)))


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
    """Prints the keyholder's address, or without one storage's; as JSON also all services and workers.

    Args:
        of_metrics: ports of metrics by name.
        how: what stops everything.
        leave: called when all is said; None: this process stays where it is.
        children: services and workers.
        as_json: whether to print JSON.
    """
    addresses = {child.recipe.name: child.address for child in children}
    address = addresses.get("keyholder") or addresses["storage"]
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
