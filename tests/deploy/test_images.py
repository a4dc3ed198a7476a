"""What the images are built from: of each service the lock, its wheel and those that it asks for."""

from __future__ import annotations

import re
import tomllib

import pytest
from support.wheels import PARTS, ROOT

DOCKERFILE = (ROOT / "deploy" / "docker" / "Dockerfile").read_text()
SERVICES = ("keyholder", "worker", "evaluator", "storage")
# Of the trusted zone and the command.
UNKNOWN_TO_UNTRUSTED = {"pillow", "tenseal", "cryptography", "scikit-image", "pika"}
OF_THE_COMMAND = {"typer", "rich", "jinja2"}


def pinned(lock: str) -> dict[str, str]:
    """Packages and versions of a lock."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))


def test_each_image_is_a_lock_and_the_wheels_that_its_service_asks_for() -> None:
    for service in SERVICES:
        begin = f"FROM environment AS {service}-environment\nCOPY requirements/{service}.lock requirements/\n"
        stage = DOCKERFILE.partition(begin)[2].partition("\n\n")[0]
        assert f"--require-hashes --no-deps --requirement requirements/{service}.lock\n" in stage
        assert stage.endswith(f"install --no-index --find-links wheels blindsight-vault-{service}")
        result = DOCKERFILE.partition(f"FROM runtime AS {service}\n")[2]
        assert result.startswith(f"COPY --from={service}-environment /opt/blindsight /opt/blindsight\n")


def test_the_base_is_the_same_whoever_builds_and_is_one_of_those_that_are_pinned() -> None:
    (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert f"${{BLINDSIGHT_BASE_IMAGE:-{base}}}" in (ROOT / "deploy" / "compose.yaml").read_text()


def test_the_untrusted_locks_have_nothing_of_the_trusted_zone() -> None:
    for name in ("evaluator", "storage"):
        assert not set(pinned(name)) & UNKNOWN_TO_UNTRUSTED
    assert not set(pinned("storage")) & {"numpy", "numba", "llvmlite", "gmpy2"}
    for name in ("keyholder", "worker"):
        assert {"tenseal", "cryptography", "pillow", "pika"} <= set(pinned(name))


@pytest.mark.parametrize("service", SERVICES)
def test_the_command_is_in_no_image(service: str) -> None:
    assert not set(pinned(service)) & OF_THE_COMMAND


@pytest.mark.parametrize("lock", [*SERVICES, "build"])
def test_the_locks_agree_and_every_package_has_a_hash(lock: str) -> None:
    tested = pinned("dev")
    assert {name: tested.get(name, version) for name, version in pinned(lock).items()} == pinned(lock)
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    entries = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(entries) == len(pinned(lock))
    assert all("--hash=sha256:" in entry for entry in entries)


def test_the_build_lock_has_what_all_builds_require() -> None:
    for part in PARTS:
        required = tomllib.loads((part / "pyproject.toml").read_text())["build-system"]["requires"]
        assert {re.split(r"[<>=]", one)[0] for one in required} <= set(pinned("build")), part


def test_each_image_runs_as_nobody_in_particular_and_serves_as_its_first_process() -> None:
    runtime, *_ = DOCKERFILE.partition("# --- the results")[0].split("AS runtime")[1:]
    assert "USER 10001:10001" in runtime
    results = DOCKERFILE.partition("# --- the results")[2]
    assert "USER" not in results
    entry = r'AS (\w+)\n(?:.*\n)*?ENTRYPOINT \["python", "-P", "-m", "([\w.]+)"\]'
    modules = dict(re.findall(entry, results))
    assert modules == {
        "keyholder": "services.keyholder",
        "worker": "services.worker",
        "evaluator": "services.evaluator",
        "storage": "services.storage",
    }
    assert results.count("HEALTHCHECK") == 3  # a worker serves no rpc


def test_only_what_the_dockerfile_copies_is_sent_to_the_daemon() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)", DOCKERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied
    for path in copied:
        assert any(path == one or path.startswith(f"{one}/") for one in allowed), path
        assert (ROOT / path).exists(), path
