"""The common life of every service process, from its start to its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import grpc.aio
from prometheus_client import CollectorRegistry

from blindsight.errors import BlindsightError, CertificateError, InvalidArgument
from blindsight.runtime import logs, metrics, signals
from blindsight.runtime.access import Doorkeeper
from blindsight.runtime.addresses import is_loopback
from blindsight.runtime.server import Server, check_bind
from blindsight.runtime.settings import ProcessSettings, ServiceSettings
from blindsight.runtime.shutdown import Shutdown
from blindsight.runtime.uploads import Uploads

Settings = TypeVar("Settings", bound=ProcessSettings)


def run(
    name: str,
    settings_type: type[Settings],
    work: Callable[[Settings], Coroutine[Any, Any, None]],
    *,
    registry: CollectorRegistry,
    keep_memory: Callable[[], None],
) -> int:
    """Runs a service with settings from the environment; call it once, in `__main__`.

    Args:
        name: the service's name, for its logs and the line that says why it did not start.
        settings_type: class of the service's settings.
        work: coroutine function that runs the service until it is told to stop.
        registry: the service's metrics.
        keep_memory: sets how much freed memory the C library keeps, see `host`.

    Returns:
        The exit code: 0 after an orderly stop, 1 with one line on standard error if it failed.
    """
    if sys.argv[1:]:
        return _answer_arguments(name, settings_type, sys.argv[1:])
    signals.end_on_sigterm()
    keep_memory()
    try:
        settings = settings_type.from_environment()
        _forget_environment()
        if settings.die_with_parent:
            signals.die_with_parent()
        logs.configure(name, level=settings.log_level)
        _require_role(name, settings)
        _require_encrypted(name, settings)
        if isinstance(settings, ServiceSettings):
            # Here too, to fail before the costly start.
            for one in settings.listeners:
                check_bind(one.address, one.tls, f"BLINDSIGHT_{name.upper()}_TLS")
        metrics.serve(registry, settings)
        asyncio.run(work(settings))
    except BlindsightError as error:
        return _failed(name, str(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _failed(name, f"{place}{error.strerror or error}")
    return 0


def _require_role(name: str, settings: ProcessSettings) -> None:
    """Checks that a service that has a certificate has its own."""
    own = settings.certificates
    if own is None and settings.metrics_tls:
        prefix = f"BLINDSIGHT_{name.upper()}"
        raise CertificateError(f"setting {prefix}_METRICS_TLS, want {prefix}_TLS, too")
    if own is not None and own.current.role != name:
        raise CertificateError(f"{settings.tls}: a certificate of role {own.current.role.value}, want {name}")


def _require_encrypted(name: str, settings: ProcessSettings) -> None:
    """Checks that a service calls nobody on another machine unencrypted."""
    prefix = f"BLINDSIGHT_{name.upper()}"
    for setting, value in settings:
        if (
            setting.endswith("_address")
            and value
            and settings.certificates is None
            and not is_loopback(value)
        ):
            raise InvalidArgument(
                f"setting {prefix}_{setting.upper()}: {value} is not loopback and the connection is not "
                f"encrypted, want {prefix}_TLS=FOLDER, too"
            )


def _forget_environment() -> None:
    """Removes settings, which may hold passwords, from what the processes inherit that this one starts."""
    for variable in [one for one in os.environ if one.startswith("BLINDSIGHT_")]:
        del os.environ[variable]


def _failed(name: str, message: str, code: int = 1) -> int:
    print(f"blindsight {name}: {message}", file=sys.stderr)
    return code


def _answer_arguments(name: str, settings_type: type[ProcessSettings], arguments: Sequence[str]) -> int:
    """Prints the settings for `--help`; refuses any other argument, which would else be ignored."""
    if set(arguments) <= {"--help", "-h"}:
        print(f"Runs the {name}. It takes no arguments: these variables are its settings, with defaults.")
        print("\n".join(settings_type.described()))
        return 0
    message = f"got the argument {arguments[0]!r}, want none: settings are variables, see --help"
    return _failed(name, message, code=2)


async def serve(
    settings: ServiceSettings,
    names: Sequence[str],
    register: Callable[[grpc.aio.Server], None],
    *,
    load: Callable[[], Awaitable[None]] | None = None,
    on_drain: Callable[[], None] = lambda: None,
    uploads: Uploads | None = None,
    access: Doorkeeper | None = None,
    enough: asyncio.Event | None = None,
    quiet: bool = False,
) -> tuple[dict[str, str], Shutdown]:
    """Serves until SIGTERM or SIGINT, or until it is enough; running calls finish.

    Args:
        settings: the addresses, who may call, and how long calls may take to finish.
        names, register, load, on_drain, uploads: see `Server`.
        access: whether a caller may make a call; None: what the settings say.
        enough: ends it as a signal does, to serve again in a moment.
        quiet: whether the parent process is not told: it knows, as this process has served before.

    Returns:
        The addresses where it served, by setting, and what knows whether a signal has come.

    Raises:
        InvalidArgument, Unavailable: see `Server.start`.
    """
    allowed = access or settings.access
    server = Server(
        names, register, settings.keepalive_seconds, load, on_drain, uploads, allowed, settings.limits
    )
    shutdown = Shutdown(settings.drain_seconds)
    bound = await server.start(settings.listeners)
    if not quiet:
        announce("listening", bound)
    ending = asyncio.create_task(_begin_after(enough, shutdown)) if enough is not None else None
    try:
        await server.run(shutdown)
    finally:
        if ending is not None:
            ending.cancel()
    return bound, shutdown


async def _begin_after(enough: asyncio.Event, shutdown: Shutdown) -> None:
    await enough.wait()
    shutdown.begin()


def announce(event: str, addresses: Mapping[str, str]) -> None:
    """Tells the parent process that this one is ready for work: one line of JSON on standard output.

    Args:
        event: name of the event, which is logged too.
        addresses: where it serves, by setting; "" for a worker, which serves nothing.
    """
    print(json.dumps({"event": event, **addresses, "process_id": os.getpid()}), flush=True)
    logs.get().info(event, **addresses)
