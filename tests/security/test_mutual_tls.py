"""Every rpc of every service, called by everybody: who may not is refused before anything is done."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from support.bulk import BulkServices
from support.certificates import Issuer, wait_for
from support.photos import small_photo
from support.ports import free_ports
from support.services import failed_start

import blindsight
from blindsight.errors import CertificateError, Unavailable
from blindsight.rpc.evaluator.v1 import evaluator_pb2
from blindsight.rpc.keyholder.v1 import imaging_pb2, imports_pb2, keyholder_pb2, workers_pb2
from blindsight.rpc.storage.v1 import storage_pb2
from blindsight.runtime.channels import client_options
from blindsight.runtime.policy import callers
from blindsight.runtime.roles import Role
from blindsight.runtime.tls import channel_options

CONTRACTS = {
    Role.STORAGE: [storage_pb2],
    Role.EVALUATOR: [evaluator_pb2],
    Role.KEYHOLDER: [keyholder_pb2, imports_pb2, imaging_pb2, workers_pb2],
}
METHODS = {
    server: [
        f"/{service.full_name}/{method.name}"
        for contract in contracts
        for service in contract.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
    for server, contracts in CONTRACTS.items()
}
NO_CONNECTION = grpc.StatusCode.UNAVAILABLE
REFUSED = (grpc.StatusCode.PERMISSION_DENIED, "permission denied: this caller may not make this call")
NOBODY = ("no certificate", "no TLS", "another authority", "expired")


@dataclass
class World:
    """A vault, its authority and another one."""

    services: BulkServices
    issuer: Issuer
    stranger: Issuer

    def address(self, server: Role) -> str:
        return self.services.address(server.value)

    def channel(
        self, server: Role, own: Path | None, *, wanted: Role | None = None, known: Path | None = None
    ) -> grpc.Channel:
        """To a server, which must be of a role and an authority, with a certificate or none."""
        given = [(own / name).read_bytes() for name in ("tls.key", "tls.crt")] if own is not None else []
        authority = (known or self.issuer.of(Role.OWNER)) / "ca.crt"
        credentials = grpc.ssl_channel_credentials(authority.read_bytes(), *given)
        options = [*client_options(), *channel_options(wanted or server)]
        return grpc.secure_channel(self.address(server), credentials, options)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    stranger = Issuer(tmp_path_factory.mktemp("stranger"))
    # Beyond loopback, as users of another machine reach it.
    beyond = {"keyholder": {"address": f"0.0.0.0:{free_ports(1)[0]}"}}
    running = BulkServices(tmp_path_factory.mktemp("services"), settings=beyond, certificates=issuer)
    try:
        running.start()
        running.worker()
        yield World(running, issuer, stranger)
    finally:
        running.stop_workers()
        running.stop()


def outcome(channel: grpc.Channel, method: str) -> tuple[grpc.StatusCode, str]:
    """How a call ends that is sent one empty message: its code, and what is said."""
    call = channel.stream_stream(method)(iter([b""]), timeout=20)
    try:
        for _ in call:
            pass
    except grpc.RpcError as error:
        return error.code(), error.details()  # type: ignore[attr-defined]
    return grpc.StatusCode.OK, ""


def test_a_vault_works_whose_services_know_each_other(world: World) -> None:
    with blindsight.connect(world.address(Role.KEYHOLDER), tls=world.issuer.of(Role.OWNER)) as vault:
        album = vault.create_collection("album", embedder="pixels", dimension=64)
        item = album.ingest([("one.png", small_photo(1))]).items[0]
        assert album.ingest_bulk([("two.png", small_photo(2))]).wait().done == 1
        assert album.search(small_photo(1), k=1).results[0][0].id == item.id


@pytest.mark.parametrize("server", CONTRACTS)
@pytest.mark.parametrize("who", NOBODY)
def test_who_is_nobody_gets_no_connection(world: World, server: Role, who: str) -> None:
    caller = Role.KEYHOLDER if server is not Role.KEYHOLDER else Role.OWNER
    opened = {
        "no certificate": lambda: world.channel(server, None),
        "no TLS": lambda: grpc.insecure_channel(world.address(server), client_options()),
        "another authority": lambda: world.channel(server, world.stranger.of(caller)),
        "expired": lambda: world.channel(server, world.issuer.expired(caller)),
    }[who]
    if who == "expired":
        time.sleep(1)
    for method in METHODS[server]:
        with opened() as channel:
            assert outcome(channel, method)[0] is NO_CONNECTION, method


@pytest.mark.parametrize("server", CONTRACTS)
def test_a_server_of_another_authority_or_role_is_not_spoken_to(world: World, server: Role) -> None:
    own = world.issuer.of(Role.KEYHOLDER)
    with world.channel(server, own, known=world.stranger.of(Role.OWNER)) as channel:
        assert outcome(channel, METHODS[server][0])[0] is NO_CONNECTION
    for wanted in set(Role) - {server}:
        with world.channel(server, own, wanted=wanted) as channel:
            assert outcome(channel, METHODS[server][0])[0] is NO_CONNECTION, wanted


@pytest.mark.parametrize("server", CONTRACTS)
@pytest.mark.parametrize("role", Role)
def test_a_role_is_refused_what_it_may_not_call_and_nothing_else(
    world: World, server: Role, role: Role
) -> None:
    with world.channel(server, world.issuer.of(role)) as channel:
        for method in METHODS[server]:
            allowed = callers(method)
            assert allowed, f"{method} has no row: who may call it?"
            ended = outcome(channel, method)
            assert ended[0] is not NO_CONNECTION, method
            assert (ended == REFUSED) == (role not in allowed), (method, ended)


@pytest.mark.parametrize("server", CONTRACTS)
@pytest.mark.parametrize("role", Role)
def test_who_is_revoked_may_call_nothing_from_then_on(world: World, server: Role, role: Role) -> None:
    folder = world.issuer.folder / f"revoked-{server}-{role}"
    stolen = world.issuer.authority.issue(role, folder, [], 1)
    with world.channel(server, folder) as channel:
        for method in METHODS[server]:
            assert (outcome(channel, method) == REFUSED) == (role not in callers(method)), method
        world.issuer.authority.revoke(stolen.serial)
        for method in METHODS[server]:
            assert outcome(channel, method) == REFUSED, method
    with world.channel(server, folder) as channel:
        for method in METHODS[server]:
            assert outcome(channel, method) == REFUSED, method


def test_the_sdk_goes_on_when_its_certificate_was_renewed_and_the_old_one_has_ended(
    world: World, tmp_path: Path
) -> None:
    own = tmp_path / "owner"
    end = world.issuer.brief(Role.OWNER, own, 6)
    renewed = threading.Event()

    def photos() -> Iterator[tuple[str, bytes]]:
        yield "three.png", small_photo(3)
        renewed.wait(60)
        wait_for(end)
        yield "four.png", small_photo(4)

    with (
        ThreadPoolExecutor() as pool,
        blindsight.connect(world.address(Role.KEYHOLDER), tls=own) as vault,
    ):
        later = vault.create_collection("later", embedder="pixels", dimension=64)
        running = pool.submit(later.ingest, photos())
        world.issuer.authority.renew(own, 1, within=30)
        renewed.set()
        assert running.result(60).stored == 2
        assert later.describe().items == 2
        vault.delete_collection("later")
        end = world.issuer.brief(Role.OWNER, own, 3)
        assert len(vault.collections()) == 1
        wait_for(end)
        with pytest.raises(CertificateError, match=r"expired .*; `blindsight certificates renew`"):
            vault.collections()


def test_nothing_came_of_all_these_calls(world: World) -> None:
    with blindsight.connect(world.address(Role.KEYHOLDER), tls=world.issuer.of(Role.OWNER)) as vault:
        (album,) = vault.collections()
        assert (album.name, album.items) == ("album", 2)


def test_the_sdk_says_what_a_keyholder_elsewhere_wants(world: World) -> None:
    address = world.address(Role.KEYHOLDER)
    for tls in (None, world.stranger.of(Role.OWNER)):
        with pytest.raises(Unavailable, match="show it the certificate of an owner: BLINDSIGHT_TLS=FOLDER"):
            blindsight.connect(address, tls=tls)


@pytest.mark.parametrize("which", ["expired", "of another role", "missing"])
def test_a_service_does_not_start_with_what_is_not_its_own(world: World, tmp_path: Path, which: str) -> None:
    folder, said = {
        "expired": (world.issuer.expired(Role.STORAGE), "tls.crt has expired"),
        "of another role": (world.issuer.of(Role.EVALUATOR), "a certificate of role evaluator, want storage"),
        "missing": (tmp_path, "cannot read"),
    }[which]
    time.sleep(1 if which == "expired" else 0)
    assert said in failed_start("storage", {"data": str(tmp_path / "data"), "tls": str(folder)})
