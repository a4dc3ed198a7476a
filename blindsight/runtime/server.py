"""Runs a gRPC service: address checks, liveness and readiness, reflection, draining on SIGTERM."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from blindsight.errors import InvalidArgument, Unavailable
from blindsight.runtime import addresses, connections, logs, reflection
from blindsight.runtime.access import Doorkeeper
from blindsight.runtime.addresses import is_loopback
from blindsight.runtime.channels import KEEPALIVE_SECONDS, server_options
from blindsight.runtime.health import LIVENESS, READINESS
from blindsight.runtime.interceptors import RequestInterceptor
from blindsight.runtime.limits import USUAL, Limits
from blindsight.runtime.shutdown import Shutdown
from blindsight.runtime.tls import Certificates
from blindsight.runtime.uploads import Uploads

# Time for refused calls and watchers of the health to get their answer before connections are closed.
_LAST_WORDS_SECONDS = 0.2


def check_bind(address: str, tls: Certificates | None, setting: str = "tls") -> None:
    """Checks that an unencrypted server does not listen beyond this machine.

    Args:
        address: HOST:PORT.
        tls: the server's certificate; None: unencrypted.
        setting: what the user sets to have one, for the message.

    Raises:
        InvalidArgument: if the address has no port, or is not loopback and there is no certificate.
    """
    if not is_loopback(address) and tls is None:
        raise InvalidArgument(
            f"address {address!r} is not loopback and the connection is not encrypted; "
            f"bind 127.0.0.1, or encrypt it: {setting}=FOLDER"
        )


def _require_free(address: str) -> None:
    """Tries to bind the address with a plain socket: gRPC's core would write its own log lines on failure."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host.strip("[]"), int(port)), family=family).close()


@dataclass(frozen=True, slots=True)
class Listener:
    """An address that a server listens at.

    Attributes:
        setting: name of the setting that says where.
        address: HOST:PORT; port 0 takes a free one.
        tls: the server's certificate, and so callers need one, too; None: unencrypted, on loopback alone.
    """

    setting: str
    address: str
    tls: Certificates | None = None


class Server:
    """One gRPC server process.

    Args:
        names: full names of the proto services, for health and reflection.
        register: adds the servicers to the server.
        keepalive_seconds: how long a client may be silent before it counts as lost.
        load: preparation before the service is ready, run while the server is already live.
        on_drain: called before waiting for running calls; ends those that would not end by themselves.
        uploads: limits what calls are sent; None: the servicers do.
        access: whether a caller may make a call; None: everybody may.
        limits: of callers.
    """

    def __init__(
        self,
        names: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        load: Callable[[], Awaitable[None]] | None = None,
        on_drain: Callable[[], None] = lambda: None,
        uploads: Uploads | None = None,
        access: Doorkeeper | None = None,
        limits: Limits = USUAL,
    ) -> None:
        self._names = names
        self._load = load
        self._on_drain = on_drain
        self._calls = RequestInterceptor(uploads, access, limits)
        self._limits = replace(limits, connections=connections.make_room(limits.connections))
        options = server_options(keepalive_seconds, known=access is not None, limits=self._limits)
        self._server = grpc.aio.server(interceptors=[self._calls], options=options)
        self._health = health.aio.HealthServicer()
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable((*names, health.SERVICE_NAME), self._server)

    async def start(self, listeners: Sequence[Listener]) -> dict[str, str]:
        """Binds and starts to serve, live but not ready; returns addresses with their ports, by setting.

        Raises:
            InvalidArgument: see `check_bind`.
            Unavailable: if an address cannot be bound, such as when the port is taken.
        """
        for one in listeners:
            check_bind(one.address, one.tls)
        await self._set_ready(ready=False)
        await self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        bound = {one.setting: self._bind(one) for one in listeners}
        ports = [addresses.parse(address).port for address in bound.values()]
        watch = connections.ConnectionWatch(ports, self._limits.connections_per_peer)
        self._watching = asyncio.create_task(watch.run())
        await self._server.start()
        return bound

    def _bind(self, listener: Listener) -> str:
        address = listener.address
        try:
            _require_free(address)
            if listener.tls is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, listener.tls.server_credentials())
        except (OSError, OverflowError, RuntimeError) as error:
            raise Unavailable(f"cannot bind {address}: is another process serving there?") from error
        return f"{address.rpartition(':')[0]}:{port}"

    async def _set_ready(self, *, ready: bool) -> None:
        answer = health_pb2.HealthCheckResponse
        for name in ("", READINESS, *self._names):
            await self._health.set(name, answer.SERVING if ready else answer.NOT_SERVING)

    async def _become_ready(self) -> None:
        if self._load is not None:
            await self._load()
        await self._set_ready(ready=True)
        logs.get().info("ready")

    async def run(self, shutdown: Shutdown) -> None:
        """Becomes ready, serves until a shutdown begins, then drains."""
        getting_ready = asyncio.create_task(self._become_ready())
        stopped = asyncio.create_task(shutdown.begun.wait())
        await asyncio.wait({getting_ready, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if getting_ready.done():
            await getting_ready  # raises the exception of `load`, if any
        await stopped
        await _cancelled(getting_ready)
        await self.drain(shutdown)

    async def drain(self, shutdown: Shutdown) -> None:
        """Reports not ready, refuses new calls, and lets running ones finish until the deadline."""
        logs.get().info("draining", calls=self._calls.running)
        self._calls.refuse()
        await self._set_ready(ready=False)
        self._on_drain()
        if not await shutdown.wait_for(self._calls.idle):
            logs.get().warning("cut_off", calls=self._calls.running)
            self._calls.cut_off()
            await self._calls.idle.wait()  # needs no timeout: `shutdown` ends the process
        await self._server.stop(_LAST_WORDS_SECONDS)
        await _cancelled(self._watching)
        logs.get().info("drained")


async def _cancelled(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
