"""The real services as real processes, started, killed and stopped by tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from blindsight.trusted.keyholder import passphrase

MODULES = {
    "storage": "blindsight.untrusted.storage",
    "evaluator": "blindsight.untrusted.evaluator",
    "keyholder": "blindsight.trusted.keyholder",
}
START_SECONDS = 60
STOP_SECONDS = 20


@dataclass
class Process:
    """One service."""

    name: str
    environment: dict[str, str]
    log: Path
    popen: subprocess.Popen[str] | None = None
    address: str = ""

    def start(self) -> str:
        """Starts it and waits for its ready line; a restart takes the same port."""
        prefix = f"BLINDSIGHT_{self.name.upper()}_"
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("BLINDSIGHT_")}
        own = {prefix + key.upper(): value for key, value in self.environment.items()}
        if self.address:
            own[prefix + "ADDRESS"] = self.address
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                [sys.executable, "-m", MODULES[self.name]],
                env={**inherited, **own, prefix + "DIE_WITH_PARENT": "true"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-2000:]}")
        self.address = json.loads(line)["address"]
        return self.address

    def kill(self) -> None:
        """kill -9."""
        assert self.popen is not None
        self.popen.kill()
        self._reap()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.popen is None or self.popen.poll() is not None:
            return self._reap()
        self.popen.send_signal(signal.SIGTERM)
        return self._reap()

    def _reap(self) -> int:
        if self.popen is None:
            return 0
        code = self.popen.wait(STOP_SECONDS)
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        return code


@dataclass
class Services:
    """Storage, evaluator and keyholder in one folder, each in its own."""

    folder: Path
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: dict[str, Process] = field(default_factory=dict)

    def start(self) -> Services:
        """Starts all three, in the order in which they need each other."""
        secret = self.folder / "passphrase"
        if not secret.exists():
            passphrase.generate(secret)
        self._start("storage", {})
        self._start("evaluator", {"storage_address": self.address("storage")})
        self._start(
            "keyholder",
            {
                "storage_address": self.address("storage"),
                "evaluator_address": self.address("evaluator"),
                "passphrase_file": str(secret),
                "create_keys": "true",
            },
        )
        return self

    def _start(self, name: str, environment: dict[str, str]) -> None:
        data = self.folder / name
        own = {"data": str(data), **environment, **self.settings.get(name, {})}
        self.processes[name] = Process(name, own, self.folder / f"{name}.log")
        self.processes[name].start()

    def address(self, name: str = "keyholder") -> str:
        """Where a service listens."""
        return self.processes[name].address

    def __getitem__(self, name: str) -> Process:
        return self.processes[name]

    def stop(self) -> dict[str, int]:
        """Stops all, the keyholder first; exit codes by name."""
        return {name: self.processes[name].stop() for name in reversed(self.processes)}


def wait_until(condition, seconds: float = 20.0, what: str = "the condition") -> None:
    """Polls a condition; fails when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come true within {seconds} s")
