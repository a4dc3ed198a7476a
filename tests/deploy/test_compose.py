"""The compose file: networks for the two zones and for monitoring, and containers that are confined."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from blindsight.runtime.roles import Role
from blindsight.runtime.settings import DRAIN_SECONDS
from blindsight.runtime.shutdown import CLOSING_SECONDS
from blindsight.runtime.tls import Certificates
from blindsight.trusted.identity import Authority
from blindsight.trusted.keyring import passphrase
from services.evaluator.settings import EvaluatorSettings
from services.keyholder.settings import KeyholderSettings
from services.storage.settings import StorageSettings

DEPLOY = Path(__file__).parents[2] / "deploy"
FILE = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = FILE["services"]
UNTRUSTED = {"evaluator", "storage", "rabbitmq"}
SETTINGS = {"keyholder": KeyholderSettings, "evaluator": EvaluatorSettings, "storage": StorageSettings}


def networks(name: str) -> set[str]:
    return set(SERVICES[name]["networks"])


def secrets(name: str) -> set[str]:
    given = SERVICES[name].get("secrets", [])
    return {one if isinstance(one, str) else one["source"] for one in given}


def test_networks_of_the_untrusted_zone_and_of_metrics_have_no_way_out() -> None:
    inside = {"internal": True}
    assert FILE["networks"] == {
        "trusted": {},
        "untrusted": inside,
        "trusted-metrics": inside,
        "untrusted-metrics": inside,
        "monitoring": {},
    }


def test_each_service_is_on_the_networks_of_its_zone() -> None:
    found = {name: networks(name) for name in SERVICES}
    assert found == {
        "keyholder": {"trusted", "untrusted", "trusted-metrics"},
        "worker": {"trusted", "untrusted", "trusted-metrics"},
        "evaluator": {"untrusted", "untrusted-metrics"},
        "storage": {"untrusted", "untrusted-metrics"},
        "rabbitmq": {"untrusted", "untrusted-metrics"},
        "prometheus": {"trusted-metrics", "untrusted-metrics", "monitoring"},
        "grafana": {"monitoring"},
    }


def test_monitoring_is_on_no_network_of_a_zone_and_no_service_of_one_zone_shares_metrics_with_the_other() -> (
    None
):
    watching = networks("prometheus") | networks("grafana")
    assert not watching & {"trusted", "untrusted"}
    for name in UNTRUSTED:
        assert "trusted-metrics" not in networks(name)
    for name in ("keyholder", "worker"):
        assert not networks(name) & {"untrusted-metrics", "monitoring"}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_service_listens_on_its_zones_network_alone_and_serves_metrics_on_another(name: str) -> None:
    zone = "untrusted" if name in UNTRUSTED else "trusted"
    environment, given = SERVICES[name]["environment"], SERVICES[name]["networks"]
    # A name that a service has on one network is its address there, for itself too.
    own = environment[f"BLINDSIGHT_{name.upper()}_ADDRESS"].partition(":")[0]
    measured = environment[f"BLINDSIGHT_{name.upper()}_METRICS_HOST"]
    aliases = {network: (about or {}).get("aliases", []) for network, about in given.items() if about}
    assert aliases == {zone: [own], f"{zone}-metrics": [measured]}
    assert own != measured


@pytest.mark.parametrize("name", ["keyholder", "worker", "evaluator"])
def test_a_service_calls_others_by_names_of_the_network_that_they_listen_on(name: str) -> None:
    environment = SERVICES[name]["environment"]
    called = {
        other: environment.get(f"BLINDSIGHT_{name.upper()}_{other.upper()}_ADDRESS") for other in SETTINGS
    }
    assert any(called.values())
    for other, address in called.items():
        served = SERVICES[other]["environment"][f"BLINDSIGHT_{other.upper()}_ADDRESS"]
        assert address in (None, served)


def test_only_the_keyholder_s_port_is_published_and_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"keyholder": ["127.0.0.1:${BLINDSIGHT_PORT:-7420}:7420"]}


def test_keys_and_secrets_are_on_the_trusted_side_alone() -> None:
    volumes = {name: [str(volume) for volume in one.get("volumes", [])] for name, one in SERVICES.items()}
    mounting = {name for name, given in volumes.items() if any(one.startswith("keyholder:") for one in given)}
    assert mounting == {"keyholder", "worker"}
    assert "keyholder:/keys:ro" in volumes["worker"]
    assert {name: secrets(name) for name in SERVICES if secrets(name)} == {
        "keyholder": {"passphrase", "queue-url"},
        "worker": {"passphrase", "queue-url"},
        "rabbitmq": {"rabbitmq-user"},
        "grafana": {"grafana-password"},
    }


def test_each_service_has_its_own_certificate_and_no_other() -> None:
    roles = {"keyholder": "keyholder", "worker": "worker", "evaluator": "evaluator", "storage": "storage"}
    mounted = {
        name: [volume for volume in one.get("volumes", []) if "secrets" in volume]
        for name, one in SERVICES.items()
    }
    others = {"rabbitmq": "queue", "prometheus": "monitor"}
    wanted = {name: [f"./secrets/tls/{role}:/run/tls:ro"] for name, role in {**roles, **others}.items()}
    assert {name: volumes for name, volumes in mounted.items() if volumes} == wanted
    for name in wanted:
        assert SERVICES[name]["group_add"] == ["${BLINDSIGHT_GROUP:?run deploy/make-certificates first}"]
    for name in roles:
        assert SERVICES[name]["environment"][f"BLINDSIGHT_{name.upper()}_TLS"] == "/run/tls"
        assert SERVICES[name]["environment"][f"BLINDSIGHT_{name.upper()}_METRICS_TLS"] == "true"
    assert "./rabbitmq/10-tls.conf:/etc/rabbitmq/conf.d/10-tls.conf:ro" in SERVICES["rabbitmq"]["volumes"]


@pytest.mark.parametrize("service", SETTINGS)
def test_the_health_of_an_image_is_asked_with_the_certificate_of_its_service(service: str) -> None:
    """By the line of the Dockerfile itself, in a shell, at a service that has one and at none."""
    dockerfile = (DEPLOY / "docker" / "Dockerfile").read_text()
    (line,) = (one for one in dockerfile.splitlines() if f"$BLINDSIGHT_{service.upper()}_ADDRESS" in one)
    command = line.strip().removeprefix("CMD ").replace("python", "echo", 1)
    prefix = f"BLINDSIGHT_{service.upper()}"
    for tls, end in (({}, []), ({f"{prefix}_TLS": "/run/my tls"}, ["--tls", "/run/my tls"])):
        shown = ["sh", "-c", command.replace("echo", "printf '%s\\n'", 1)]
        done = subprocess.run(
            shown, env={f"{prefix}_ADDRESS": "a:1", **tls}, capture_output=True, text=True, check=True
        )
        assert done.stdout.splitlines() == ["-P", "-m", "blindsight.runtime.health", "a:1", *end]


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == "unless-stopped"
    assert {"mem_limit", "cpus", "pids_limit"} <= service.keys()
    if "build" not in service:  # ours have their user in the image
        assert not service["user"].startswith("0")


@pytest.mark.parametrize("name", SETTINGS)
def test_every_variable_is_a_setting_that_the_service_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for variable, value in SERVICES[name]["environment"].items():
        monkeypatch.setenv(variable, re.sub(r"\$\{\w+:-(.*)\}", r"\1", value))
    monkeypatch.setenv(f"BLINDSIGHT_{name.upper()}_DATA", "/data")  # from the image
    monkeypatch.setenv("BLINDSIGHT_SECRETS_DIR", str(tmp_path))
    settings = SETTINGS[name].from_environment()
    assert settings.metrics_port
    assert str(settings.metrics_port) in SERVICES[name]["expose"]


def test_what_a_container_depends_on_is_healthy_first() -> None:
    for name in ("keyholder", "worker", "evaluator"):
        conditions = SERVICES[name]["depends_on"].values()
        assert all(one == {"condition": "service_healthy"} for one in conditions)


def test_containers_are_given_the_time_that_their_drain_takes() -> None:
    for service in SERVICES.values():
        assert int(service["stop_grace_period"].removesuffix("s")) > DRAIN_SECONDS + CLOSING_SECONDS


def test_secrets_are_made_once_in_a_closed_folder_and_fit_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    before = None
    for _ in range(2):
        subprocess.run([DEPLOY / "make-secrets", folder], check=True, capture_output=True)
        made = {path.name: path.read_text() for path in folder.iterdir()}
        assert before in (None, made)
        before = made
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {f"./secrets/{name}" for name in made} == {one["file"] for one in FILE["secrets"].values()}
    passphrase.from_file(folder / "passphrase")
    (password,) = re.findall(r"default_pass = (\S+)", made["rabbitmq-user.conf"])
    assert made["queue-url"].strip() == f"amqps://blindsight:{password}@rabbitmq:5671/%2F"


def certified(folder: Path) -> None:
    command = Path(sys.executable).parent
    variables = {**os.environ, "PATH": f"{command}:{os.environ['PATH']}"}
    subprocess.run([folder / "make-certificates"], env=variables, check=True, capture_output=True)


def test_certificates_are_made_for_all_and_renewed_for_those_that_need_it(tmp_path: Path) -> None:
    folder = Path(
        shutil.copytree(DEPLOY, tmp_path / "deploy", ignore=shutil.ignore_patterns("secrets", ".env"))
    )
    (folder / ".env").write_text("BLINDSIGHT_PORT=7499\nBLINDSIGHT_GROUP=7\n")
    certified(folder)
    assert (folder / ".env").read_text() == f"BLINDSIGHT_PORT=7499\nBLINDSIGHT_GROUP={os.getgid()}\n"
    assert stat.S_IMODE((folder / "secrets").stat().st_mode) == 0o700
    made = {path.name: path for path in (folder / "secrets" / "tls").iterdir()}
    assert made.keys() == set(Role)
    before = {}
    for role, path in made.items():
        own = Certificates(path).current
        assert own.role == role
        before[role] = own.serial
        modes = [stat.S_IMODE(one.stat().st_mode) for one in (path, path / "tls.key", path / "tls.crt")]
        assert modes == ([0o700, 0o600, 0o644] if role == "owner" else [0o750, 0o640, 0o644])
    authority = folder / "secrets" / "authority"
    assert stat.S_IMODE(authority.stat().st_mode) == 0o700
    Authority.open(authority).revoke("worker")
    Authority.open(authority).issue(Role.STORAGE, made["storage"], [], 29)
    certified(folder)
    after = {role: Certificates(path).current.serial for role, path in made.items()}
    assert {role for role in made if after[role] != before[role]} == {"worker", "storage"}
    assert stat.S_IMODE((made["storage"] / "tls.key").stat().st_mode) == 0o640


def test_no_setting_and_no_address_of_what_is_deployed_is_unencrypted() -> None:
    texts = {path: path.read_text() for path in DEPLOY.rglob("*") if path.is_file() and path.name != ".env"}
    for path, text in texts.items():
        if "secrets" not in path.relative_to(DEPLOY).parts:
            assert not re.search(r"INSECURE|amqp://|:5672", text), path
