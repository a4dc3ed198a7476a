"""The three services as `blindsight up` runs them, in a temporary folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindsight.runtime.roles import Role
from blindsight.runtime.tls import Certificates, channel_credentials, channel_options

NAMES = ("storage", "evaluator", "keyholder")
READY_SECONDS = 180.0
STOP_SECONDS = 60.0
_SAMPLE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Services:
    """Running services.

    Attributes:
        folder: data folder, with a folder for each service.
        supervisor: process of `blindsight up`.
        addresses: HOST:PORT by name.
    """

    folder: Path
    supervisor: psutil.Process
    addresses: dict[str, str]

    def process(self, name: str) -> psutil.Process | None:
        """Returns a service's main process; None while it is dead."""
        for child in self.supervisor.children():
            try:
                if child.status() != psutil.STATUS_ZOMBIE and child.cmdline()[-1].endswith(f".{name}"):
                    return child
            except (psutil.Error, IndexError):
                continue
        return None

    def memory_bytes(self) -> dict[str, int]:
        """Returns the memory of each service with its workers; shared pages count once (PSS)."""
        return {name: _tree_bytes(self.process(name)) for name in NAMES}

    def cpu_seconds(self) -> dict[str, float]:
        """Returns the processor time of each service and its workers since their start."""
        return {name: tree_cpu_seconds(self.process(name)) for name in NAMES}

    def disk_bytes(self) -> dict[str, int]:
        """Returns the bytes of each service's files."""
        return {name: _folder_bytes(self.folder / name) for name in NAMES}

    def kill(self, name: str) -> None:
        """Kills a service with SIGKILL; `blindsight up` starts it again on the same port."""
        process = self.process(name)
        if process is None:
            raise RuntimeError(f"{name} is not running")
        process.kill()

    def channel(self, name: str) -> grpc.Channel:
        """Returns a new connection to an untrusted service, as the keyholder has it."""
        own = self.as_keyholder().current
        options = channel_options(Role(name))
        return grpc.secure_channel(self.addresses[name], channel_credentials(own), options)

    def as_keyholder(self) -> Certificates:
        """Returns the keyholder's certificate."""
        return Certificates(self.folder / "keyholder" / "tls")

    def healthy(self, name: str, timeout_seconds: float = 1.0) -> bool:
        """Returns whether a service reports that it serves, on a new connection."""
        with self.channel(name) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_seconds)
            except grpc.RpcError:
                return False
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def _tree_bytes(process: psutil.Process | None) -> int:
    if process is None:
        return 0
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return total


def tree_cpu_seconds(process: psutil.Process | None) -> float:
    """Returns user and system time of a process and its descendants, including ended ones."""
    if process is None:
        return 0.0
    total = 0.0
    for one in (process, *process.children(recursive=True)):
        with suppress(psutil.Error):  # it has just ended
            times = one.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue  # a service has just replaced it
    return total


@contextmanager
def running(scratch: Path) -> Iterator[Services]:
    """Runs the services in a new folder under `scratch` while the block runs, and removes it at the end.

    Raises:
        RuntimeError: if they do not start; with the messages of `blindsight up`.
    """
    folder = Path(tempfile.mkdtemp(prefix="blindsight-bench-", dir=scratch))
    said = folder / "up.log"
    command = [sys.executable, "-P", "-m", "blindsight.cli", "up", "--port", "0", "--json"]
    command += ["--data", str(folder), "--workers", "0"]
    with said.open("wb") as log:
        up = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True
        )
    try:
        line = up.stdout.readline() if up.stdout is not None else b""
        if not line:
            raise RuntimeError(f"the services did not start: {said.read_text().strip()}")
        ready = json.loads(line)["services"]
        addresses = {name: ready[name]["address"] for name in NAMES}
        yield Services(folder, psutil.Process(up.pid), addresses)
    finally:
        stop(up)
        shutil.rmtree(folder, ignore_errors=True)


def stop(up: subprocess.Popen[bytes]) -> None:
    if up.poll() is None:
        up.send_signal(signal.SIGTERM)
    try:
        up.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        up.kill()  # ends its children too
        up.wait()
    if up.stdout is not None:
        up.stdout.close()


def wait_until(condition: Callable[[], bool], what: str, seconds: float = READY_SECONDS) -> None:
    """Polls a condition until it is true.

    Raises:
        RuntimeError: if it is not true in time.
    """
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline:
        if condition():
            return
        time.sleep(0.01)
    raise RuntimeError(f"{what}: not within {seconds:g} s")


class PeakMemory:
    """Samples the memory of the services during a `with` block.

    Reading page tables costs time, so nothing whose latency is reported should run inside.

    Attributes:
        peak_bytes: the largest memory seen, by name.
    """

    def __init__(self, services: Services) -> None:
        self.peak_bytes = dict.fromkeys(NAMES, 0)
        self._services = services
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while True:
            now = self._services.memory_bytes()
            self.peak_bytes = {name: max(self.peak_bytes[name], now[name]) for name in NAMES}
            if self._done.wait(_SAMPLE_SECONDS):
                return


class HealthProbe:
    """Checks the health of a service every few milliseconds during a `with` block.

    Args:
        address: HOST:PORT.
        interval_seconds: from the beginning of a check to that of the next.

    Attributes:
        seconds: the latency of each check.
        failures: number of checks that were not answered with SERVING.
    """

    def __init__(self, services: Services, name: str, interval_seconds: float = 0.005) -> None:
        self.seconds: list[float] = []
        self.failures = 0
        self._connect = partial(services.channel, name)
        self._interval = interval_seconds
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._probe, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _probe(self) -> None:
        with self._connect() as channel:
            grpc.channel_ready_future(channel).result(10)
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while not self._done.is_set():
                started = time.perf_counter()
                try:
                    answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
                    self.failures += answer.status != health_pb2.HealthCheckResponse.SERVING
                except grpc.RpcError:
                    self.failures += 1
                took = time.perf_counter() - started
                self.seconds.append(took)
                self._done.wait(max(0.0, self._interval - took))


def own_cores() -> int:
    """Returns the number of processors that this process may use."""
    return len(os.sched_getaffinity(0))
