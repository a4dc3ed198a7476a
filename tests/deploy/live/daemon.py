"""A Docker daemon: the one that answers, or one of this run's own, of which nothing stays."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DAEMON_SECONDS = 60
STOP_SECONDS = 60
PULL_SECONDS = 300
PUBLIC_BASE = "python:3.11-slim"
OWN_BASE = "blindsight-base:debian"
DEBIAN = "bookworm"
IN_BASE = "python3,python3-pip,python3-venv,ca-certificates"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")


class Cannot(Exception):
    """This machine cannot run containers; the message says why."""


def docker(*arguments: str | Path, timeout: float | None = None) -> str:
    """Runs Docker's client; returns what it printed."""
    # A distribution's client goes with its daemon; another may stand before it on PATH.
    client = "/usr/bin/docker" if Path("/usr/bin/docker").exists() else "docker"
    done = subprocess.run(
        [client, *arguments], capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"docker {arguments[0]}: {(done.stdout + done.stderr).strip()[-3000:]}")
    return done.stdout


@contextmanager
def running() -> Iterator[str]:
    """Yields a few words about the daemon that `docker` reaches during the `with` block.

    Raises:
        Cannot: when there is none and none can be started.
    """
    try:
        version = docker("info", "--format", "{{.ServerVersion}}", timeout=20).strip()
    except (RuntimeError, OSError, subprocess.TimeoutExpired):
        version = ""
    if version:
        yield f"the daemon that is running, {version}"
        return
    with ExitStack() as undone:
        yield f"a daemon of its own, {_start(undone)}"


def _start(undone: ExitStack) -> str:
    missing = [name for name in ("dockerd", "docker", "iptables-save") if shutil.which(name) is None]
    if os.geteuid() != 0:
        raise Cannot("no Docker daemon answers, and only root can start one")
    if missing:
        raise Cannot(f"no Docker daemon answers, and {', '.join(missing)} is not here to start one")
    folder = Path(tempfile.mkdtemp(prefix="blindsight-docker-"))
    undone.callback(shutil.rmtree, folder, ignore_errors=True)
    _keep_network(undone)
    os.environ["DOCKER_HOST"] = f"unix://{folder}/socket"
    undone.callback(os.environ.pop, "DOCKER_HOST")
    log = undone.enter_context((folder / "log").open("wb"))
    roots = ["--data-root", folder / "data", "--exec-root", folder / "exec", "--pidfile", folder / "pid"]
    daemon = subprocess.Popen(
        ["dockerd", *roots, "--host", os.environ["DOCKER_HOST"]],
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    undone.callback(_stop, daemon)
    deadline = time.monotonic() + DAEMON_SECONDS
    while time.monotonic() < deadline and daemon.poll() is None:
        try:
            return docker("info", "--format", "{{.ServerVersion}}").strip()
        except RuntimeError:
            time.sleep(0.5)
    last = (folder / "log").read_text(errors="replace").strip().splitlines()[-1:]
    raise Cannot(f"dockerd does not start here: {' '.join(last)}")


def _keep_network(undone: ExitStack) -> None:
    """Puts back what a daemon changes: rules of the firewall, forwarding, its bridge."""
    for family in ("iptables", "ip6tables"):
        saved = subprocess.run([f"{family}-save"], capture_output=True, check=False)
        if saved.returncode == 0:
            undone.callback(subprocess.run, [f"{family}-restore"], input=saved.stdout, check=False)
    undone.callback(_FORWARDING.write_text, _FORWARDING.read_text())
    if not Path("/sys/class/net/docker0").exists():
        undone.callback(
            subprocess.run, ["ip", "link", "delete", "docker0"], stderr=subprocess.DEVNULL, check=False
        )


def _stop(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def obtained(image: str) -> bool:
    """Whether an image is here, or could be pulled."""
    try:
        docker("image", "inspect", image)
    except RuntimeError:
        try:
            docker("pull", "--quiet", image, timeout=PULL_SECONDS)
        except (RuntimeError, subprocess.TimeoutExpired):
            return False
    return True


def base_image() -> str:
    """What images are built on: BASE_IMAGE, else Python's own, else Debian as debootstrap makes it.

    Raises:
        Cannot: when none of them is to be had.
    """
    given = os.environ.get("BASE_IMAGE")
    if given or obtained(PUBLIC_BASE):
        return given or PUBLIC_BASE
    if os.geteuid() != 0 or shutil.which("debootstrap") is None:
        raise Cannot(f"{PUBLIC_BASE} cannot be pulled, and there is no debootstrap to make a base of Debian")
    with tempfile.TemporaryDirectory(prefix="blindsight-base-") as folder:
        root, archive = Path(folder) / "root", Path(folder) / "base.tar"
        command = ["debootstrap", "--variant=minbase", f"--include={IN_BASE}", DEBIAN, root]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Cannot(f"debootstrap: {' '.join(done.stdout.strip().splitlines()[-1:])}")
        subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
        docker("import", archive, OWN_BASE)
    return OWN_BASE
