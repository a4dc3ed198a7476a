"""Builds the images, runs deploy/compose.yaml, breaks it, and looks whether anything is lost.

`make deploy-test`, not part of `make test`: it takes minutes, and a Docker daemon or the right to start one.
Where there is neither it says so and ends well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import daemon
import registry
import vault as running
from daemon import docker
from vault import Vault

import blindsight
from blindsight.client import Collection, IngestProgress, IngestReport
from blindsight.client import Vault as Client
from blindsight.errors import PermissionDenied, Unauthenticated, Unavailable
from demo import views

SERVICES = ("storage", "evaluator", "keyholder")
OURS = (*SERVICES, "worker")
UNTRUSTED = ("storage", "evaluator")
ALL = (*OURS, "rabbitmq")
PHOTOS = 120
PORTION = 20
TRIES = 12

_PACKAGES = r"-packages/"
BACKUPS = {
    "keyholder": "services.keyholder.backup",
    "storage": "services.storage.backup",
}
FORBIDDEN = {
    "everywhere": rf"{_PACKAGES}(pip|setuptools|wheel|hatchling|grpc_tools|typer|rich|jinja2)/"
    rf"|{_PACKAGES}(demo|blindsight/(client|cli))/|/bin/(pip\d?|gcc|cc|make)$|^/build/",
    "untrusted": rf"{_PACKAGES}(blindsight/trusted|PIL|tenseal|cryptography|skimage|pika)/|\.bsky$",
    "storage": rf"{_PACKAGES}(numpy|numba|llvmlite|gmpy2)/",
}


def main() -> int:
    try:
        with daemon.running() as about:
            say(f"Docker: {about}")
            base = daemon.base_image()
            say(f"base image: {base}")
            tag = f"test-{os.getpid()}"
            try:
                test(base, tag)
            finally:
                running.remove(tag)
    except daemon.Cannot as error:
        bar = "=" * 78
        print(f"{bar}\nmake deploy-test: NOTHING WAS TESTED: {error}\n{bar}", flush=True)
    return 0


def test(base: str, tag: str) -> None:
    timed("four images built", lambda: running.build(base, tag))
    timed("each image holds its own zone's code", lambda: check_images(tag))
    images = running.others(base)
    say(f"the broker is {images['rabbitmq']}, Prometheus {images['prometheus']}")
    timed("images are pinned by digest, whatever their tags name later", lambda: check_pins(images, base))
    port = free_port()
    with running.project(tag, images, port) as vault:
        timed("all services are healthy", lambda: start(vault))
        timed("containers are confined", lambda: check_confinement(vault))
        timed("no untrusted container reaches the keyholder or the world", lambda: check_zones(vault, port))
        address, own = f"127.0.0.1:{port}", vault.secrets / "tls" / "owner"
        timed("who shows no certificate gets nothing", lambda: check_certificates(address))
        timed("nor who shows no token", lambda: check_tokens(address, own))
        token = owner_token(vault)
        with blindsight.connect(address, tls=own, token_file=token) as client:
            photos = client.create_collection("photos")
            given = {view.name: view.data for view in list(views.gallery())[::3][:PHOTOS]}
            killed = f"{len(given)} photos ingested, while {', '.join(SERVICES)} were killed"
            timed(killed, lambda: ingest(vault, photos, given))
            timed("every photo is there, to the byte, and is found", lambda: check_photos(photos, given))
            queued = client.create_collection("queued")
            killed = f"{len(given)} photos ingested in bulk, while {', '.join(ALL)} were killed"
            timed(killed, lambda: ingest_bulk(vault, queued, given))
            timed("every one of them is there too, once", lambda: check_photos(queued, given))
            timed(
                "all certificates are renewed, and those before revoked, while everything runs",
                lambda: renew(vault, queued, address, given),
            )
            timed("Prometheus scrapes all services", lambda: check_targets(vault))
            timed("and saw each of them start again", lambda: check_seen(vault))
            timed("all stop at SIGTERM with exit code 0, and start again", lambda: restart(vault))
            timed("every photo is still there", lambda: check_photos(photos, given))
            timed(
                "both zones are saved while they serve, and restored into empty volumes",
                lambda: restore(vault),
            )
            refused = "the owner's token from before the restore holds no more"
            timed(refused, lambda: check_refused(client))
        with blindsight.connect(address, tls=own, token_file=owner_token(vault)) as client:
            timed("every photo is back", lambda: check_photos(client.collection("photos"), given))
    say("make deploy-test: all passed")


def say(message: str) -> None:
    print(message, flush=True)


def timed(claim: str, check: Callable[[], None]) -> None:
    started = time.monotonic()
    check()
    say(f"ok  {claim}  ({time.monotonic() - started:.0f} s)")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def check_images(tag: str) -> None:
    for name in OURS:
        zone = "untrusted" if name in UNTRUSTED else "trusted"
        paths = running.files(f"blindsight-{name}:{tag}")
        assert f"/services/{name}/" in "\n".join(paths), f"{name} lacks its own code"
        others = rf"{_PACKAGES}services/({'|'.join(one for one in OURS if one != name)})/"
        for rule in (others, *(FORBIDDEN[one] for one in ("everywhere", zone, name) if one in FORBIDDEN)):
            wrong = sorted(path for path in paths if re.search(rule, path))
            assert not wrong, f"the image of {name} holds {wrong[:5]}"


def check_pins(images: dict[str, str], base: str) -> None:
    """Pins images of a registry of this run's own, and moves one of their tags."""
    with registry.running(free_port()) as address, running.copied() as folder:
        others = {"base": base, "grafana": base, **images}
        named = {name: f"{address}/{name}:1" for name in others}
        digests = {name: registry.push(image, named[name]) for name, image in others.items()}
        (folder / ".env").write_text("BLINDSIGHT_PORT=7499\nBLINDSIGHT_GROUP=0\n")
        wanted = {f"BLINDSIGHT_{name.upper()}_IMAGE": digest for name, digest in digests.items()}
        assert registry.pinned(folder, named) == {
            "BLINDSIGHT_PORT": "7499",
            "BLINDSIGHT_GROUP": "0",
            **wanted,
        }
        registry.push(images["prometheus"], named["rabbitmq"])
        vault = Vault("blindsightpins", folder, {})
        shown = vault.compose("config")
        assert all(digest in shown for digest in digests.values()), shown
        docker("pull", "--quiet", digests["rabbitmq"])
        was, now = (
            docker("image", "inspect", "--format", "{{.Id}}", one)
            for one in (digests["rabbitmq"], images["rabbitmq"])
        )
        assert was == now


def start(vault: Vault) -> None:
    vault.compose("up", "--detach", "worker", "prometheus")
    vault.wait_healthy(*ALL)


def check_confinement(vault: Vault) -> None:
    for service in OURS:
        about = vault.inspect(service)
        assert about["Config"]["User"] == "10001:10001", service
        status = vault.python(service, "print(open('/proc/1/status').read())")
        assert re.search(r"^CapEff:\s0+$", status, re.MULTILINE), f"{service} has capabilities"
        assert re.search(r"^NoNewPrivs:\s1$", status, re.MULTILINE), f"{service} can get privileges"
        program = "import pathlib\ntry: pathlib.Path('/opt/x').touch()\nexcept OSError as e: print(e.errno)"
        assert vault.python(service, program).strip() == "30", f"the root of {service} can be written on"


_REACHED = """
import socket
for host, port in {places}:
    try:
        socket.create_connection((host, port), 2).close()
        print(host, port)
    except OSError:
        pass
"""


def check_zones(vault: Vault, port: int) -> None:
    networks = vault.inspect("keyholder")["NetworkSettings"]["Networks"]
    addresses = [network["IPAddress"] for network in networks.values()]
    assert len(addresses) == 3, addresses
    ports = vault.inspect("keyholder")["NetworkSettings"]["Ports"]["7420/tcp"]
    assert ports == [{"HostIp": "127.0.0.1", "HostPort": str(port)}], ports
    gateways = [network["Gateway"] for network in networks.values() if network["Gateway"]]
    places = [(host, number) for host in ("keyholder", *addresses) for number in (7420, 9101)]
    places += [(gateway, port) for gateway in gateways] + [("1.1.1.1", 443)]
    for service in UNTRUSTED:
        reached = reached_from(vault, service, places)
        assert not reached, f"{service} reaches {reached}"
    # What Prometheus shares with the services are metrics alone.
    shared = [("storage.metrics", 7422), ("evaluator.metrics", 7421), ("storage.metrics", 9103)]
    assert reached_from(vault, "evaluator", shared) == "storage.metrics 9103"
    # The probe itself is no dud.
    assert reached_from(vault, "evaluator", [("storage.untrusted", 7422)]) == "storage.untrusted 7422"
    for service in (*UNTRUSTED, "rabbitmq", "prometheus"):
        published = vault.inspect(service)["NetworkSettings"]["Ports"] or {}
        assert not any(published.values()), f"{service} publishes {published}"


def reached_from(vault: Vault, service: str, places: list[tuple[str, int]]) -> str:
    return vault.python(service, _REACHED.format(places=places)).strip()


def check_certificates(address: str) -> None:
    try:
        blindsight.connect(address, timeout_seconds=5)
    except Unavailable:
        return
    raise AssertionError("the keyholder answered without TLS")


def owner_token(vault: Vault) -> Path:
    file = vault.secrets / "owner.token"
    docker("cp", f"{vault.container('keyholder')}:/data/owner.token", str(file))
    return file


def check_tokens(address: str, own: Path) -> None:
    with blindsight.connect(address, tls=own) as client:
        check_refused(client)


def check_refused(client: Client) -> None:
    try:
        client.collections()
    except Unauthenticated:
        return
    raise AssertionError("the keyholder answered to no token that holds")


def renew(vault: Vault, queued: Collection, address: str, given: dict[str, bytes]) -> None:
    """A copy of each certificate is refused, and photos come through with the new ones, without a restart."""
    started = {name: vault.inspect(name)["State"]["StartedAt"] for name in ALL}
    old = vault.secrets / "old"
    shutil.copytree(vault.secrets / "tls" / "owner", old)
    authority = ["--authority", str(vault.secrets / "authority")]
    for role in ("storage", "evaluator", "keyholder", "worker", "queue", "monitor", "owner"):
        subprocess.run(
            [Path(sys.executable).with_name("blindsight"), "certificates", "revoke", role, *authority],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    running.certify(vault.secrets.parent)
    docker("exec", vault.container("rabbitmq"), "rabbitmqctl", "-q", "eval", "ssl:clear_pem_cache().")
    docker("exec", vault.container("rabbitmq"), "rabbitmqctl", "-q", "close_all_connections", "renewed")
    items = list(given.items())[:PORTION]
    job = queued.ingest_bulk([(f"again {name}", data + b" ") for name, data in items])
    assert (ended := job.wait()).state == "finished", ended
    try:
        with blindsight.connect(address, tls=old, token_file=vault.secrets / "owner.token") as client:
            client.collections()
    except PermissionDenied:
        pass
    else:
        raise AssertionError("a revoked certificate was taken")
    assert started == {name: vault.inspect(name)["State"]["StartedAt"] for name in ALL}
    vault.wait_healthy(*ALL)


def ingest(vault: Vault, photos: Collection, given: dict[str, bytes]) -> None:
    """Kills one service after the other in the middle; an ingest that fails is made again."""
    victims = list(SERVICES)
    killers: list[threading.Thread] = []
    outcomes: dict[str, str] = {}

    def strike(progress: IngestProgress) -> None:
        if victims and progress.done and not any(killer.is_alive() for killer in killers):
            killers.append(threading.Thread(target=vault.kill, args=(victims.pop(0),)))
            killers[-1].start()

    failures = 0
    rest = list(given.items())
    while rest:
        # A few at a time, so that every kill finds an ingest that is under way.
        try:
            report = photos.ingest(rest[:PORTION], progress=strike)
        except Unavailable as error:
            failures += 1
            say(f"    interrupted: {error.message}")
            assert failures < TRIES, "no ingest comes through any more"
        else:
            outcomes |= taken(report)
            rest = rest[PORTION:]
        for killer in killers:
            killer.join()
        vault.wait_healthy(*SERVICES)
    assert not victims, f"nobody killed {victims}"
    assert outcomes.keys() == given.keys(), "some photo was not taken"


def ingest_bulk(vault: Vault, photos: Collection, given: dict[str, bytes]) -> None:
    """Kills each container in turn with a job under way; nothing is sent twice."""
    items = list(given.items())
    portion = -(-len(items) // len(ALL))
    jobs = []
    for victim, start in zip(ALL, range(0, len(items), portion), strict=True):
        jobs.append(photos.ingest_bulk(items[start : start + portion]))
        vault.kill(victim)
        vault.wait_healthy(victim)
    ended = [job.wait() for job in jobs]
    assert {job.state for job in ended} == {"finished"}, ended
    assert sum(job.done for job in ended) == len(items), ended


def taken(report: IngestReport) -> dict[str, str]:
    assert report.rejected == 0, [item for item in report.items if item.reason]
    return {item.path: item.id for item in report.items}


def check_photos(photos: Collection, given: dict[str, bytes]) -> None:
    report = photos.ingest(list(given.items()))  # names their ids, and stores nothing
    assert (report.stored, report.duplicates) == (0, len(given)), report
    for name, number in taken(report).items():
        assert photos.get(number).data == given[name], name
    for name, data in list(given.items())[::10]:
        (hits,) = photos.search(data, k=1).results
        assert hits[0].name == name, f"{name}: found {hits[0].name}"


_ASK = """
import urllib.request
print(urllib.request.urlopen('http://prometheus:9090/api/v1/{path}').read().decode())
"""


def check_targets(vault: Vault) -> None:
    def missing() -> set[str]:
        targets = ask_prometheus(vault, "targets")["activeTargets"]
        up = {target["labels"]["job"] for target in targets if target["health"] == "up"}
        return {*ALL, "rabbitmq-queues"} - up

    wait_for_none(missing, "Prometheus does not reach")


def check_seen(vault: Vault) -> None:
    """A start is seen when a scrape before it and one after it tell different times."""
    query = urllib.parse.quote("changes(process_start_time_seconds[30m]) > 0")

    def missing() -> set[str]:
        series = ask_prometheus(vault, f"query?query={query}")["result"]
        return set(OURS) - {one["metric"]["job"] for one in series}

    wait_for_none(missing, "Prometheus saw no new start of")


def ask_prometheus(vault: Vault, path: str) -> Any:
    return json.loads(vault.python("keyholder", _ASK.format(path=path)))["data"]


def wait_for_none(missing: Callable[[], set[str]], complaint: str) -> None:
    deadline = time.monotonic() + running.HEALTHY_SECONDS
    while found := missing():
        assert time.monotonic() < deadline, f"{complaint} {', '.join(sorted(found))}"
        time.sleep(2)


def restart(vault: Vault) -> None:
    vault.compose("stop", *OURS[::-1])
    for service in OURS:
        code = vault.inspect(service)["State"]["ExitCode"]
        assert code == 0, f"{service} ended with {code}"
    start(vault)


_FORGET = """
import shutil, sys
for folder in sys.argv[1:]:
    shutil.rmtree(folder)
"""


def restore(vault: Vault) -> None:
    for service, module in BACKUPS.items():
        vault.aside(service, "-m", module, "save", f"/backups/{service}")
    vault.compose("down", "--volumes")
    vault.compose("up", "--no-start", "worker", "prometheus")
    for service, module in BACKUPS.items():
        vault.aside(service, "-m", module, "restore", f"/backups/{service}")
    # They belong to the containers' user; who runs this need not be able to remove them.
    vault.aside("storage", "-c", _FORGET, *(f"/backups/{service}" for service in BACKUPS))
    start(vault)


if __name__ == "__main__":
    sys.exit(main())
