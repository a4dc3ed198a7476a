"""Runs a gRPC service: address checks, health, reflection, draining on SIGTERM."""

from __future__ import annotations

import asyncio
import ctypes
import ipaddress
import json
import signal
import socket
from collections.abc import Callable, Sequence

import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from blindsight import logs
from blindsight.connections import KEEPALIVE_SECONDS, client_options, server_options
from blindsight.errors import InvalidArgument, Unavailable
from blindsight.interceptors import RequestInterceptor
from blindsight.streams import MAX_MESSAGE_BYTES

DRAIN_SECONDS = 10.0
# Of `mallopt`, in glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BYTES = 32 << 20
# How long a call waits for a peer that is not there: about as long as a service takes to start again.
PATIENCE_SECONDS = 5.0


def check_bind(address: str, *, insecure: bool) -> None:
    """Refuses to serve in plaintext beyond this machine unless told to.

    Raises:
        InvalidArgument: when the address has no port, or is not loopback and `insecure` is false.
    """
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        raise InvalidArgument(f"address {address!r}, want HOST:PORT")
    host = host.strip("[]")
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback and not insecure:
        raise InvalidArgument(
            f"address {address!r} is not loopback and the connection is not encrypted; "
            "bind 127.0.0.1, or accept the risk with --insecure"
        )


def _require_free(address: str) -> None:
    """Tries the address with a plain socket first: gRPC's core writes lines of its own when it fails."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    socket.create_server((host.strip("[]"), int(port)), family=family).close()


def _keep_freed_memory() -> None:
    """Lets this process keep some of the memory that it frees, for the next message.

    Messages of a megabyte come and go.  The C library would return the memory of each to the kernel and
    ask for it again, zeroed page by page: half of the system time of an evaluator that answers searches.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc's; others keep their default
        libc.mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
        libc.mallopt(_M_MMAP_THRESHOLD, 2 * MAX_MESSAGE_BYTES)


class Service:
    """One gRPC server process.

    Args:
        names: full names of the proto services, for health and reflection.
        register: adds the servicers to the server.
        keepalive_seconds: a client that is silent for so long is lost.
        on_drain: called before running calls are waited for; ends those that would not end by themselves.
    """

    def __init__(
        self,
        names: Sequence[str],
        register: Callable[[grpc.aio.Server], None],
        keepalive_seconds: float = KEEPALIVE_SECONDS,
        on_drain: Callable[[], None] = lambda: None,
    ) -> None:
        self._names = names
        self._on_drain = on_drain
        self._server = grpc.aio.server(
            interceptors=[RequestInterceptor()], options=server_options(keepalive_seconds)
        )
        self._health = health.aio.HealthServicer()
        register(self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*names, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    async def start(self, address: str, *, insecure: bool = False) -> str:
        """Binds and serves; returns the address with the port that was bound.

        Raises:
            InvalidArgument: see `check_bind`.
            Unavailable: when the port is taken.
        """
        check_bind(address, insecure=insecure)
        try:
            _require_free(address)
            port = self._server.add_insecure_port(address)
        except (OSError, OverflowError, RuntimeError) as error:
            raise Unavailable(f"cannot bind {address}: is another process serving there?") from error
        await self._server.start()
        for name in ("", *self._names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        host = address.rpartition(":")[0]
        return f"{host}:{port}"

    async def stop(self) -> None:
        """Tells health checks, refuses new calls, and lets the running ones finish."""
        await self._health.enter_graceful_shutdown()
        self._on_drain()
        await self._server.stop(DRAIN_SECONDS)

    async def run(self, address: str, *, insecure: bool = False) -> None:
        """Serves until SIGTERM or SIGINT; prints one JSON line when it is ready."""
        _keep_freed_memory()
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        bound = await self.start(address, insecure=insecure)
        print(json.dumps({"event": "ready", "address": bound}), flush=True)
        logs.get().info("ready", address=bound)
        await stopping.wait()
        logs.get().info("draining")
        await self.stop()


def channel(address: str, keepalive_seconds: float = KEEPALIVE_SECONDS) -> grpc.aio.Channel:
    """A client channel to another service.

    Args:
        address: HOST:PORT.
        keepalive_seconds: a service that is silent for so long is lost; its calls end as UNAVAILABLE.
    """
    # A peer that restarts must be found again at once, not after a minute of back-off.
    backoff = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)]
    return grpc.aio.insecure_channel(address, options=[*client_options(keepalive_seconds), *backoff])


async def connected(channel: grpc.aio.Channel, name: str) -> None:
    """Waits until a peer can be called; one that starts again is not reported as gone.

    Args:
        channel: to the peer, made by `channel`.
        name: of the peer, for the message.

    Raises:
        Unavailable: when it does not come back.
    """
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await channel.channel_ready()
    except TimeoutError:
        raise Unavailable(f"{name} does not answer; tried for {PATIENCE_SECONDS:g} seconds") from None
