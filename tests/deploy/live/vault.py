"""The compose file, with its images built, in a project of this run's own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from daemon import docker, obtained

ROOT = Path(__file__).parents[3]
COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
STAND_INS = ROOT / "tests" / "deploy" / "stand-ins"
TARGETS = ("storage", "evaluator", "keyholder", "worker")
PUBLIC = {"rabbitmq": "rabbitmq:4.0", "prometheus": "prom/prometheus:v3.1.0"}
# A start compiles, on a machine that does other things too.
HEALTHY_SECONDS = 600


def build(base: str, tag: str) -> None:
    """Builds the four images."""
    authorities = Path(os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"))
    trusting = ["--secret", f"id=ca,src={authorities}"] if authorities.exists() else []
    os.environ["DOCKER_BUILDKIT"] = "1"
    for target in TARGETS:
        name = ["--target", target, "--tag", f"blindsight-{target}:{tag}"]
        file = ["--file", ROOT / "deploy" / "docker" / "Dockerfile"]
        docker("build", "--quiet", "--build-arg", f"BASE_IMAGE={base}", *trusting, *file, *name, ROOT)


def remove(tag: str) -> None:
    """Removes them; layers stay as the daemon's cache."""
    docker("image", "rm", "--force", *(f"blindsight-{target}:{tag}" for target in TARGETS))


def others(base: str) -> dict[str, str]:
    """Images of RabbitMQ and Prometheus: the public ones, or stand-ins of Debian's packages."""
    found = {}
    for name, public in PUBLIC.items():
        if "debian" not in base and obtained(public):
            found[name] = public
        else:
            found[name] = f"blindsight-{name}-stand-in"
            about = ["--target", name, "--tag", found[name], "--build-arg", f"BASE_IMAGE={base}"]
            docker("build", "--quiet", *about, STAND_INS)
    return found


def files(image: str) -> set[str]:
    """The paths of all files in an image."""
    container = docker("create", image).strip()
    try:
        with tempfile.TemporaryFile() as archive:
            client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
            subprocess.run([client, "export", container], stdout=archive, check=True)
            archive.seek(0)
            with tarfile.open(fileobj=archive) as opened:
                return {"/" + member.name.removeprefix("./") for member in opened if not member.isdir()}
    finally:
        docker("rm", "--force", container)


class Vault:
    """A running project.

    Args:
        project: prefix of containers, networks and volumes.
        folder: with copies of what the compose file mounts, and secrets.
        variables: of the compose file.
    """

    def __init__(self, project: str, folder: Path, variables: dict[str, str]) -> None:
        self.name = project
        self.backups = folder.parent / "backups"
        self._file = folder / COMPOSE_FILE.name
        self.secrets = folder / "secrets"
        self._variables = variables

    def compose(self, *arguments: str) -> str:
        command = ["docker-compose"]
        if shutil.which("docker-compose") is None:
            command = ["docker", "compose"]
        done = subprocess.run(
            [*command, "--file", self._file, "--project-name", self.name, *arguments],
            env={**os.environ, **self._variables},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            logs = "" if arguments[0] == "logs" else self.compose("logs", "--no-color", "--tail=20")
            raise RuntimeError(f"compose {arguments[0]}: {done.stderr.strip()[-2000:]}\n{logs}")
        return done.stdout

    def container(self, service: str) -> str:
        """Its id, running or not."""
        project = f"label=com.docker.compose.project={self.name}"
        label = f"label=com.docker.compose.service={service}"
        return docker("ps", "--all", "--quiet", "--filter", project, "--filter", label).strip()

    def inspect(self, service: str) -> dict[str, Any]:
        (answer,) = json.loads(docker("inspect", self.container(service)))
        return answer

    def python(self, service: str, program: str) -> str:
        """Runs a program inside; returns what it printed."""
        return docker("exec", self.container(service), "python3", "-c", program)

    def aside(self, service: str, *arguments: str) -> str:
        """Runs Python in another container of a service's image: with its volumes, and /backups.

        As docs/operations.md has it for backups.
        """
        image = self.inspect(service)["Config"]["Image"]
        volumes = ["--volumes-from", self.container(service), "--volume", f"{self.backups}:/backups"]
        return docker(
            "run", "--rm", "--network", "none", *volumes, "--entrypoint", "python", image, *arguments
        )

    def kill(self, service: str) -> None:
        """SIGKILL, and a start: as after a crash."""
        docker("kill", self.container(service))
        docker("start", self.container(service))

    def wait_healthy(self, *services: str) -> None:
        deadline = time.monotonic() + HEALTHY_SECONDS
        for service in services:
            while (state := self.inspect(service)["State"]["Health"]["Status"]) != "healthy":
                if time.monotonic() > deadline:
                    raise RuntimeError(f"{service} is {state}:\n{self.compose('logs', '--tail=20', service)}")
                time.sleep(0.5)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of deploy/, without what was made in it."""
    with tempfile.TemporaryDirectory(prefix="blindsight-deploy-") as name:
        folder = Path(name) / "deploy"
        shutil.copytree(ROOT / "deploy", folder, ignore=shutil.ignore_patterns("secrets", ".env"))
        yield folder


def certify(folder: Path) -> None:
    """Has a copy's `make-certificates` issue what is missing, and renew what is to be."""
    command = Path(sys.executable).parent
    variables = {**os.environ, "PATH": f"{command}:{os.environ['PATH']}"}
    subprocess.run([folder / "make-certificates"], env=variables, check=True, stdout=subprocess.DEVNULL)


@contextmanager
def project(tag: str, images: dict[str, str], port: int) -> Iterator[Vault]:
    """A vault of a copy of deploy/, with secrets of its own; all of it goes at the end."""
    with copied() as folder:
        folder.parent.chmod(0o755)  # containers read what is mounted under users of their own
        backups = folder.parent / "backups"
        backups.mkdir()
        backups.chmod(0o777)  # and write it
        subprocess.run([folder / "make-secrets"], check=True, stdout=subprocess.DEVNULL)
        certify(folder)
        variables = {
            "BLINDSIGHT_TAG": tag,
            "BLINDSIGHT_PORT": str(port),
            "BLINDSIGHT_CREATE_KEYS": "true",
            **{f"BLINDSIGHT_{service.upper()}_IMAGE": image for service, image in images.items()},
        }
        vault = Vault(f"blindsighttest{os.getpid()}", folder, variables)
        try:
            yield vault
        finally:
            vault.compose("down", "--volumes", "--timeout", "10")
