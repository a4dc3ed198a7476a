"""A Prometheus of a test's own, with the rules that are deployed, and scrapes every second."""

from __future__ import annotations

import json
import math
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.dashboards import DEPLOY
from support.ports import free_ports
from support.servers import require
from support.services import wait_until

CONFIGURATION = DEPLOY / "prometheus"
# What is found by its name when it is deployed, and stands at one port here: name and port.
_DISCOVERED = re.compile(
    r"dns_sd_configs:\n +- names: \[(\w+)\]\n +type: A\n +port: (\d+)\n +refresh_interval: \d+s"
)


def promtool(*arguments: str | Path) -> str:
    """Runs promtool on what is deployed; returns what it printed."""
    command = [require("prometheus").with_name("promtool"), *arguments]
    done = subprocess.run(command, cwd=CONFIGURATION, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def configuration(own: Path) -> str:
    """What is deployed, with its certificate in another folder."""
    return (CONFIGURATION / "prometheus.yml").read_text().replace("/run/tls", str(own))


class Prometheus:
    """Scrapes services on ports of loopback instead of those in containers.

    Args:
        folder: for all that it writes.
        targets: HOST:PORT as it is deployed -> the port here.
        own: folder of its certificate.
    """

    def __init__(self, folder: Path, targets: Mapping[str, int], own: Path) -> None:
        self._binary = require("prometheus")
        self._folder = folder
        (self.port,) = free_ports(1)
        shutil.copytree(CONFIGURATION / "rules", folder / "rules")
        text = configuration(own)
        text = _DISCOVERED.sub(r'static_configs:\n      - targets: ["\1:\2"]', text)
        for deployed, port in {**targets, "localhost:9090": self.port}.items():
            assert f'"{deployed}"' in text
            text = text.replace(f'"{deployed}"', f'"127.0.0.1:{port}"')
        text = re.sub(r"(scrape|evaluation)_interval: \d+s", r"\1_interval: 1s", text)
        (folder / "prometheus.yml").write_text(text.replace("scrape_timeout: 10s", "scrape_timeout: 1s"))
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Prometheus:
        """Starts it and waits until it answers."""
        command = [
            str(self._binary),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._ready, what="Prometheus")
        return self

    def _ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """What its API answers; an error that it states is an AssertionError."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as response:
                return json.load(response)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from error

    def numbers(self, expression: str) -> list[float]:
        """The values of a query now, without those that are not a number."""
        found = self.ask("query", query=expression)["result"]
        return [float(one["value"][1]) for one in found if math.isfinite(float(one["value"][1]))]

    def rules(self, kind: str) -> list[dict[str, Any]]:
        """All rules of a kind, "alert" or "record"."""
        return [rule for group in self.ask("rules", type=kind)["groups"] for rule in group["rules"]]

    def stop(self) -> None:
        """SIGTERM."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
