"""A registry of images on loopback, with which images are pinned as a registry elsewhere lets them be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

from daemon import Cannot, docker

START_SECONDS = 30


@contextmanager
def running(port: int) -> Iterator[str]:
    """Yields the address of an empty registry.

    Raises:
        Cannot: when there is none to start.
    """
    if shutil.which("docker-registry") is None:
        raise Cannot("there is no docker-registry")
    address = f"127.0.0.1:{port}"
    with tempfile.TemporaryDirectory(prefix="blindsight-registry-") as name:
        folder = Path(name)
        settings = {
            "version": 0.1,
            "log": {"level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
            "http": {"addr": address},
        }
        (folder / "config.yml").write_text(json.dumps(settings))
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                ["docker-registry", "serve", folder / "config.yml"], stdout=log, stderr=log
            )
        try:
            _wait(address)
            yield address
        finally:
            server.terminate()
            server.wait()


def _wait(address: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            with urlopen(f"http://{address}/v2/", timeout=5):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def push(image: str, name: str) -> str:
    """Pushes an image under a name, which begins with the registry's address; returns its digest there."""
    docker("tag", image, name)
    docker("push", name)
    found = json.loads(docker("image", "inspect", "--format", "{{json .RepoDigests}}", name))
    (digest,) = (one for one in found if one.startswith(name.rpartition(":")[0] + "@"))
    return str(digest)


def pinned(folder: Path, images: dict[str, str]) -> dict[str, str]:
    """What `pin-images` of a copy of deploy/ writes for images, by their names in its variables."""
    variables = {f"BLINDSIGHT_{name.upper()}_IMAGE": image for name, image in images.items()}
    done = subprocess.run(
        [folder / "pin-images"], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"pin-images: {done.stderr.strip()[-1000:]}")
    lines = (folder / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)
