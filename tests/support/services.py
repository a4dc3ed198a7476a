"""The real services as real processes, started, killed and stopped by tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Self
from unittest.mock import patch

import psutil

from blindsight.runtime.roles import Role
from blindsight.trusted.keyring import keyfile, passphrase
from services.keyholder.settings import KEY_FILE_NAME
from support.certificates import Issuer
from support.forked import Forked
from support.keysets import shared_key_set
from support.ports import free_ports
from support.processes import pool_workers

START_SECONDS = 60
# Of services for each other: enough for a restart here, and no longer, for tests in which one stays away.
RETRY_SECONDS = 5
# Of storage, for tests that listen to all that a keyholder says: it renews its lease in none of them.
NO_RENEWALS = {"lease_seconds": "900"}
# Of storage, where a keyholder comes back in another folder: it waits for the end of the lease that it had.
SHORT_LEASE = {"lease_seconds": "1"}
STOP_SECONDS = 20


def variables(name: str, settings: Mapping[str, str]) -> dict[str, str]:
    """The environment of a service: this process's, with these settings and no others of Blindsight."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("BLINDSIGHT_")}
    return inherited | {f"BLINDSIGHT_{name.upper()}_{key.upper()}": value for key, value in settings.items()}


def failed_start(name: str, settings: Mapping[str, str]) -> str:
    """The one line with which a service refuses to start, beside those of its log."""
    with TemporaryFile() as log:
        service = Forked(name, variables(name, settings), log)
        with service.stdout as stdout:
            code, printed = service.wait(START_SECONDS), stdout.read()
        log.seek(0)
        told = log.read().decode()
    assert (code, printed) == (1, ""), told
    (line,) = (line for line in told.splitlines() if not line.startswith("{"))
    return line


@dataclass
class Process:
    """One service."""

    name: str
    environment: dict[str, str]
    log: Path
    popen: subprocess.Popen[str] | Forked | None = None
    address: str = ""
    extra: dict[str, str] = field(default_factory=dict)  # variables that are no settings
    within: Sequence[str] = ()  # a command that runs it

    def start(self) -> str:
        """Starts it and waits for its ready line; a restart takes the same port, which no one else is given.

        Call it in the main thread: the service ends when the thread that started it does.
        """
        self.launch()
        return self.ready()

    def launch(self) -> None:
        """Starts it and does not wait; see `start`."""
        settings = {"retry_seconds": str(RETRY_SECONDS), **self.environment, "die_with_parent": "true"}
        if self.name == "storage":
            settings.setdefault("reserve_bytes", "0")  # hundreds of 128 MB would fill the disk
        if self.name != "worker":  # which serves no one
            self.address = self.address or settings.get("address") or f"127.0.0.1:{free_ports(1)[0]}"
            settings["address"] = self.address
        environment = variables(self.name, settings)
        with self.log.open("ab") as log:
            if not (self.extra or self.within):
                self.popen = Forked(self.name, environment, log)
                return
            # What its imports may read, and what another program runs, is started as people start it.
            self.popen = subprocess.Popen(
                [*self.within, sys.executable, "-P", "-m", f"services.{self.name}"],
                env=environment | self.extra,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def ready(self) -> str:
        """Waits for the ready line; returns the address in it."""
        assert self.popen is not None
        assert self.popen.stdout is not None
        line = self.popen.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} did not start: {self.log.read_text()[-2000:]}")
        self.address = json.loads(line)["address"]
        return self.address

    def process(self) -> psutil.Process:
        """The service itself."""
        assert self.popen is not None
        return psutil.Process(self.popen.pid)

    def workers(self) -> list[psutil.Process]:
        """Its worker processes, in the order in which they were started."""
        return pool_workers(self.process())

    def kill(self) -> None:
        """kill -9."""
        assert self.popen is not None
        self.popen.kill()
        self.wait()

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        if self.popen is None or self.popen.poll() is not None:
            return self.wait()
        self.popen.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Waits for its end; returns the exit code."""
        if self.popen is None:
            return 0
        code = self.popen.wait(seconds)
        if self.popen.stdout is not None:
            self.popen.stdout.close()
        return code


@cache
def cheap_keys() -> tuple[bytes, bytes]:
    """A passphrase that is cheap to try, and the key file that it opens; the same for all tests of a process.

    Making keys and opening them takes a keyholder and each worker half a second of scrypt, as it should.
    """
    with TemporaryDirectory() as folder, patch.object(keyfile, "SCRYPT_N", 1 << 10):
        secret, sealed = Path(folder) / "passphrase", Path(folder) / KEY_FILE_NAME
        keyfile.write(sealed, shared_key_set(), passphrase.generate(secret))
        return secret.read_bytes(), sealed.read_bytes()


def direct(_: str, __: str, address: str) -> str:
    """The address itself, as the way to it."""
    return address


@dataclass
class Services:
    """Storage, evaluator and keyholder in one folder, each in its own.

    Args:
        folder: for all of them.
        settings: by service, beside those that it needs.
        extra: variables of every service that are no settings.
        way: (client, server, server's address) -> the address that the client is given.
        within: by service, a command that runs it.
        own_keys: the keyholder makes its keys itself, as at the first start of a vault.
        pool_size: worker processes of keyholder and evaluator each; most of a start is theirs.
        log: where all of them log; None: each in a file of its own.
        certificates: they know each other by certificates of this; None: they do not.
    """

    folder: Path
    settings: dict[str, dict[str, str]] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    way: Callable[[str, str, str], str] = direct
    processes: dict[str, Process] = field(default_factory=dict)
    within: dict[str, Sequence[str]] = field(default_factory=dict)
    own_keys: bool = False
    pool_size: int = 1
    log: Path | None = None
    certificates: Issuer | None = None

    def start(self) -> Self:
        """Starts all three, in the order in which they need each other."""
        if not self.own_keys:
            self._give_keys()
        self._start("storage", {})
        self._start("evaluator", {"storage_address": self._reach("evaluator", "storage")})
        self._start("keyholder", self.keyholder_settings("keyholder"))
        return self

    def _give_keys(self) -> None:
        data = self.folder / "keyholder"
        data.mkdir(mode=0o700)
        secret, sealed = cheap_keys()
        for path, content in ((self.folder / "keyholder.passphrase", secret), (data / KEY_FILE_NAME, sealed)):
            path.touch(mode=0o600, exist_ok=False)
            path.write_bytes(content)

    def keyholder_settings(self, folder: str) -> dict[str, str]:
        """Settings of a keyholder of these services with its own folder, passphrase and new keys."""
        secret = self.folder / f"{folder}.passphrase"
        if not secret.exists():
            passphrase.generate(secret)
        return {
            "data": str(self.folder / folder),
            "storage_address": self._reach("keyholder", "storage"),
            "evaluator_address": self._reach("keyholder", "evaluator"),
            "passphrase_file": str(secret),
            "create_keys": "true",
            "require_tokens": "false",
        }

    def _reach(self, client: str, server: str) -> str:
        return self.way(client, server, self.address(server))

    def _start(self, name: str, environment: dict[str, str]) -> None:
        data = self.folder / name
        workers = {} if name == "storage" else {"workers": str(self.pool_size)}
        own = {"data": str(data), **workers, **self.tls(name), **environment, **self.settings.get(name, {})}
        log, within = self.log or self.folder / f"{name}.log", self.within.get(name, ())
        self.processes[name] = Process(name, own, log, extra=self.extra, within=within)
        self.processes[name].start()

    def tls(self, name: str) -> dict[str, str]:
        """Settings by which a service has its certificate."""
        if self.certificates is None:
            return {}
        workers = {"worker_address": f"127.0.0.1:{free_ports(1)[0]}"} if name == "keyholder" else {}
        return {"tls": str(self.certificates.of(Role(name))), **workers}

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
