"""Metrics over TLS: who scrapes them shows a certificate that says so, and nobody else reads any."""

from __future__ import annotations

import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.certificates import Issuer
from support.ports import free_ports
from support.services import Process, failed_start

from blindsight.runtime.roles import Role

ALLOWED = {Role.MONITOR, Role.STORAGE}


@dataclass
class World:
    """A storage whose metrics are encrypted, and two authorities."""

    port: int
    issuer: Issuer
    stranger: Issuer

    def read(self, own: Path | None, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
        """What somebody reads; an OSError is what else they get."""
        context = ssl.create_default_context(cafile=self.issuer.of(Role.OWNER) / "ca.crt")
        context.check_hostname = False
        context.maximum_version = most
        if own is not None:
            context.load_cert_chain(own / "tls.crt", own / "tls.key")
        url = f"https://127.0.0.1:{self.port}/metrics"
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:
            body: bytes = answer.read()
            return body

    def refuses(self, own: Path | None, most: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bool:
        try:
            self.read(own, most)
        except OSError:
            return True
        return False


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    issuer = Issuer(tmp_path_factory.mktemp("issuer"))
    stranger = Issuer(tmp_path_factory.mktemp("stranger"))
    folder = tmp_path_factory.mktemp("storage")
    (port,) = free_ports(1)
    settings = {
        "data": str(folder / "data"),
        "tls": str(issuer.of(Role.STORAGE)),
        "metrics_tls": "true",
        "metrics_port": str(port),
    }
    storage = Process("storage", settings, folder / "log")
    try:
        storage.start()
        yield World(port, issuer, stranger)
    finally:
        storage.stop()


@pytest.mark.parametrize("role", Role)
def test_who_scrapes_and_the_service_itself_read_metrics_and_no_other_role_does(
    world: World, role: Role
) -> None:
    if role in ALLOWED:
        assert b"blindsight_storage_" in world.read(world.issuer.of(role))
    else:
        assert world.refuses(world.issuer.of(role))


def test_who_is_nobody_or_revoked_reads_nothing(world: World) -> None:
    expired = world.issuer.expired(Role.MONITOR)
    time.sleep(1)
    assert world.refuses(None)
    assert world.refuses(expired)
    assert world.refuses(world.stranger.of(Role.MONITOR))
    assert world.refuses(world.issuer.of(Role.MONITOR), ssl.TLSVersion.TLSv1_2)
    with pytest.raises(OSError, match=r"\S"):
        urllib.request.urlopen(f"http://127.0.0.1:{world.port}/metrics", timeout=10)
    stolen = world.issuer.folder / "stolen"
    made = world.issuer.authority.issue(Role.MONITOR, stolen, [], 1)
    assert world.read(stolen)
    world.issuer.authority.revoke(made.serial)
    assert world.refuses(stolen)
    assert world.read(world.issuer.of(Role.MONITOR))


def test_a_renewed_certificate_is_shown_at_the_next_connection(world: World) -> None:
    def shown() -> str:
        return ssl.get_server_certificate(("127.0.0.1", world.port))

    before = shown()
    world.issuer.authority.renew(world.issuer.of(Role.STORAGE), 1, within=30)
    assert shown() != before


def test_the_program_for_health_asks_for_metrics(world: World, tmp_path: Path) -> None:
    def health(*arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-P", "-m", "blindsight.runtime.health"]
        done = subprocess.run(
            [*command, f"127.0.0.1:{world.port}", "metrics", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    assert health("--tls", str(world.issuer.of(Role.STORAGE))) == (0, "")
    for wrong in ([], ["--tls", str(world.issuer.of(Role.WORKER))]):
        code, told = health(*wrong)
        assert code == 1
        assert told.startswith(f"blindsight health: 127.0.0.1:{world.port} serves no metrics: ")
    settings = {"data": str(tmp_path), "metrics_tls": "true"}
    assert "BLINDSIGHT_STORAGE_METRICS_TLS, want BLINDSIGHT_STORAGE_TLS, too" in failed_start(
        "storage", settings
    )
