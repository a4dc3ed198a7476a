"""What a server takes from one caller: so many connections and calls, and so much of its time."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry, Counter
from support.certificates import Issuer
from support.ports import free_ports
from support.services import Process, wait_until

from blindsight.rpc.storage.v1 import storage_pb2, storage_pb2_grpc
from blindsight.runtime import metrics_server
from blindsight.runtime.callers import address_of
from blindsight.runtime.channels import server_options
from blindsight.runtime.interceptors import RequestInterceptor
from blindsight.runtime.limits import Limits
from blindsight.runtime.roles import Role
from blindsight.runtime.tls import Certificates

# Another caller of this machine, by its address.
STRANGER = "127.0.0.2"
PER_ADDRESS, HANDSHAKE_SECONDS, STALL_SECONDS = 8, 2, 1.0
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS, PING, RST, HEADERS = 4, 6, 3, 1
CALLS = "/blindsight.storage.v1.StorageService/"


def frame(kind: int, payload: bytes = b"", stream: int = 0, flags: int = 0) -> bytes:
    """A frame of HTTP/2 (RFC 9113, 4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def field(name: str, value: str) -> bytes:
    """A header field, literal and never indexed (RFC 7541, 6.2.3)."""
    made = b"\x10"
    for text in (name, value):
        data = text.encode()
        assert len(data) < 127
        made += bytes([len(data)]) + data
    return made


def request(path: str, stream: int) -> bytes:
    """The headers of a call, which ends no stream."""
    fields = {":method": "POST", ":scheme": "http", ":path": path, ":authority": "storage"}
    fields |= {"content-type": "application/grpc", "te": "trailers"}
    return frame(HEADERS, b"".join(field(*one) for one in fields.items()), stream, flags=0x4)


class World:
    """A storage with low limits, with and without TLS."""

    def __init__(self, folder: Path) -> None:
        self.issuer = Issuer(folder / "authority")
        limits = {
            "max_connections": "40",
            "max_connections_per_peer": str(PER_ADDRESS),
            "handshake_seconds": str(HANDSHAKE_SECONDS),
            "stall_seconds": str(STALL_SECONDS),
            "max_calls_per_caller": "4",
        }
        self.plain = Process("storage", {"data": str(folder / "plain"), **limits}, folder / "plain.log")
        own = {"data": str(folder / "tls"), "tls": str(self.issuer.of(Role.STORAGE)), **limits}
        self.encrypted = Process("storage", own, folder / "tls.log")

    def status(self) -> None:
        """A call of somebody who behaves, on a connection of its own, as a command makes it."""
        with grpc.insecure_channel(self.plain.address) as channel:
            stub = storage_pb2_grpc.StorageServiceStub(channel)
            stub.GetStatus(storage_pb2.GetStatusRequest(), timeout=10)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("doors"))
    try:
        made.plain.start()
        made.encrypted.start()
        yield made
    finally:
        made.plain.stop()
        made.encrypted.stop()


def connect(address: str, source: str = STRANGER) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=10, source_address=(source, 0))


def ended(one: socket.socket) -> bool:
    """Whether the other side has closed a connection; what it sent before is passed over."""
    one.setblocking(False)
    try:
        while one.recv(1 << 16):
            pass
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def test_one_address_holds_so_many_connections_and_others_are_served(world: World) -> None:
    with ExitStack() as stack:
        held = []
        for _ in range(3):
            for _ in range(30):
                with suppress(OSError):
                    held.append(stack.enter_context(connect(world.plain.address)))
                    held[-1].sendall(PREFACE + frame(SETTINGS))
            wait_until(lambda: sum(not ended(one) for one in held) <= PER_ADDRESS, what="few connections")
            world.status()
        assert sum(not ended(one) for one in held) == PER_ADDRESS
        assert not any(ended(one) for one in held[:PER_ADDRESS])  # the first stay
    world.status()


def test_all_addresses_hold_so_many_connections(world: World) -> None:
    with ExitStack() as stack:
        held = []
        for number in range(30, 60):
            for _ in range(3):
                held.append(stack.enter_context(connect(world.plain.address, f"127.0.0.{number}")))
                held[-1].sendall(PREFACE + frame(SETTINGS))
        wait_until(lambda: sum(not ended(one) for one in held) <= 40, what="few connections")
    wait_until(lambda: _served(world), what="a call, when they are gone")


def _served(world: World) -> bool:
    try:
        world.status()
    except grpc.RpcError:
        return False
    return True


@pytest.mark.parametrize("says", [b"", PREFACE[:9], PREFACE, b"\x16\x03\x01\x02\x00\x01"], ids=len)
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_connection_that_never_gets_to_its_point_ends(world: World, says: bytes, tls: bool) -> None:
    address = (world.encrypted if tls else world.plain).address
    with connect(address) as silent:
        silent.sendall(says)
        wait_until(lambda: ended(silent), HANDSHAKE_SECONDS + 10, "the end of the connection")


def test_a_call_that_never_sends_its_message_ends(world: World) -> None:
    with grpc.insecure_channel(world.plain.address) as channel:
        never = threading.Event()
        call = channel.stream_unary(f"{CALLS}GetStatus")
        with pytest.raises(grpc.RpcError) as told:
            call(iter(never.wait, True), timeout=20)
        never.set()
    assert told.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "nothing came for 1 s, want the message of this rpc" in told.value.details()


def test_a_caller_has_so_many_calls_at_once(world: World) -> None:
    with ExitStack() as stack:
        calls = []
        for _ in range(4):  # one connection carries no more
            channel = stack.enter_context(
                grpc.insecure_channel(world.plain.address, [("grpc.use_local_subchannel_pool", 1)])
            )
            never = threading.Event()
            stack.callback(never.set)
            calls.append(channel.stream_unary(f"{CALLS}Append").future(iter(never.wait, True)))
        time.sleep(0.3)
        with grpc.insecure_channel(world.plain.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            with pytest.raises(grpc.RpcError) as told:
                storage_pb2_grpc.StorageServiceStub(channel).GetStatus(
                    storage_pb2.GetStatusRequest(), timeout=10
                )
            assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert told.value.details() == "4 calls of this caller are running already, want fewer at a time"
            # who asks for the health is answered all the same
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    wait_until(lambda: _served(world), what="a call, when they are over")


def test_metadata_has_a_limit(world: World) -> None:
    with grpc.insecure_channel(world.plain.address) as channel:
        stub = storage_pb2_grpc.StorageServiceStub(channel)
        with pytest.raises(grpc.RpcError) as told:
            stub.GetStatus(
                storage_pb2.GetStatusRequest(), timeout=10, metadata=[("x-large", "x" * (20 << 10))]
            )
    assert told.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_streams_that_are_reset_as_soon_as_they_begin_keep_nobody_waiting(world: World) -> None:
    before = world.plain.process().memory_info().rss
    worst = 0.0
    with connect(world.plain.address) as rude:
        rude.sendall(PREFACE + frame(SETTINGS))
        for burst in range(10):
            streams = range(1 + burst * 200, 1 + (burst + 1) * 200, 2)
            with suppress(OSError):
                rude.sendall(
                    b"".join(request(f"{CALLS}GetStatus", one) + frame(RST, bytes(4), one) for one in streams)
                )
            begun = time.monotonic()
            world.status()
            worst = max(worst, time.monotonic() - begun)
    assert worst < 5
    assert world.plain.process().memory_info().rss - before < 64 << 20


def test_who_floods_with_pings_loses_the_connection(world: World) -> None:
    with connect(world.plain.address) as rude:
        rude.sendall(PREFACE + frame(SETTINGS))
        with suppress(OSError):
            for _ in range(200):
                rude.sendall(frame(PING, bytes(8)))
        wait_until(lambda: ended(rude), what="the end of the connection")
    world.status()


class Plenty(grpc.GenericRpcHandler):
    """Answers without end, and notes when it is stopped."""

    def __init__(self) -> None:
        self.stopped = asyncio.Event()

    def service(self, _: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        return grpc.unary_stream_rpc_method_handler(self._answer, bytes, bytes)

    async def _answer(self, _: bytes, __: object) -> AsyncIterator[bytes]:
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            self.stopped.set()


async def all_of(call: AsyncIterator[bytes]) -> None:
    async for _ in call:
        pass


async def test_who_takes_no_answer_holds_no_work_and_is_told_when_they_listen_again() -> None:
    plenty = Plenty()
    limits = Limits(idle_seconds=0.5, calls_per_caller=1)
    server = grpc.aio.server(
        interceptors=[RequestInterceptor(limits=limits)], options=server_options(limits=limits)
    )
    server.add_generic_rpc_handlers([plenty])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_stream("/test.Plenty/All")(b"")
        async with asyncio.timeout(20):
            await plenty.stopped.wait()
        async with grpc.aio.insecure_channel(
            f"127.0.0.1:{port}", [("grpc.use_local_subchannel_pool", 1)]
        ) as other:
            with pytest.raises(grpc.aio.AioRpcError, match="1 calls of this caller"):  # it is still held
                await anext(aiter(other.unary_stream("/test.Plenty/All")(b"")))
        with pytest.raises(grpc.aio.AioRpcError) as told:
            await asyncio.wait_for(all_of(call), 20)
        assert told.value.code() is grpc.StatusCode.UNAVAILABLE
        assert told.value.details() == "no answer was taken for 0.5 s, call again"
        assert len(await anext(aiter(channel.unary_stream("/test.Plenty/All")(b"")))) == 1 << 20
    await server.stop(None)


async def test_probes_have_so_many_streams_and_a_check_is_answered(world: World) -> None:
    async with grpc.aio.insecure_channel(world.plain.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        watches = [
            stub.Watch(health_pb2.HealthCheckRequest()) for _ in range(4)
        ]  # as many as a connection carries
        for watch in watches:
            assert (await anext(aiter(watch))).status == health_pb2.HealthCheckResponse.SERVING
        for watch in watches:
            watch.cancel()
        assert (
            await stub.Check(health_pb2.HealthCheckRequest())
        ).status == health_pb2.HealthCheckResponse.SERVING


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def scraped(request: pytest.FixtureRequest, world: World) -> tuple[int, ssl.SSLContext | None]:
    """The port of metrics of this process, and what who scrapes them shows."""
    registry = CollectorRegistry()
    Counter("scraped", "A metric.", registry=registry).inc()
    (port,) = free_ports(1)
    certificates = Certificates(world.issuer.of(Role.STORAGE)) if request.param else None
    metrics_server.start(registry, "127.0.0.1", port, certificates)
    shown = Certificates(world.issuer.of(Role.MONITOR)).client_context() if request.param else None
    if shown is not None:
        shown.check_hostname = False
    return port, shown


def test_who_dawdles_at_the_metrics_keeps_no_scrape_waiting(
    scraped: tuple[int, ssl.SSLContext | None],
) -> None:
    port, shown = scraped
    over = threading.Event()

    def dawdle() -> None:
        with suppress(OSError):
            while not over.is_set():
                with connect(f"127.0.0.1:{port}") as slow, suppress(OSError):
                    begins = b"GET /metrics HTTP/1.0\r\nX: " if shown is None else b"\x16\x03\x01\x02\x00\x01"
                    for byte in begins + 500 * b"x":
                        slow.sendall(bytes([byte]))
                        if over.wait(0.2):
                            return

    threads = [threading.Thread(target=dawdle) for _ in range(12)]
    for one in threads:
        one.start()
    try:
        time.sleep(1)
        for _ in range(3):
            begun = time.monotonic()
            answer = b""
            raw = socket.create_connection(("127.0.0.1", port), timeout=10)
            with shown.wrap_socket(raw) if shown is not None else raw as asking:
                asking.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                while part := asking.recv(1 << 16):
                    answer += part
            assert b"scraped_total 1.0" in answer
            assert time.monotonic() - begun < 5  # the others wait, too: each has a moment
    finally:
        over.set()
        for one in threads:
            one.join()


@pytest.mark.parametrize(
    ("peer", "counted"),
    [
        ("ipv4:127.0.0.1:5000", "127.0.0.1"),
        ("ipv6:%5B::1%5D:5000", "::/64"),
        ("ipv6:[2001:db8:0:7::9%25eth0]:5000", "2001:db8:0:7::/64"),
        ("ipv6:%5B::ffff:10.0.0.7%5D:5000", "10.0.0.7"),
        ("unix:", ""),
    ],
)
def test_a_caller_without_a_name_is_counted_by_its_address(peer: str, counted: str) -> None:
    assert address_of(peer) == counted
