"""How a container's runtime deals with a service: asks for its health, gives it secrets, and ends it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.health import health
from support.services import Process, Services, variables, wait_until

import blindsight
from blindsight.errors import NotFound

_ANY = "127.0.0.1:0"


@pytest.fixture
def storage(tmp_path: Path):
    process = Process("storage", {"data": str(tmp_path / "data"), "address": _ANY}, tmp_path / "log")
    process.start()
    yield process
    process.stop()


def test_a_service_that_serves_is_healthy_and_one_that_is_gone_is_not(storage: Process) -> None:
    for name in ([], ["readiness"], ["liveness"]):
        assert health(storage.address, *name) == (0, "")
    assert storage.stop() == 0
    code, line = health(storage.address)
    assert (code, line) == (1, f"blindsight health: {storage.address} does not answer: UNAVAILABLE")


def test_what_answers_without_serving_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        code, line = health(address)
    assert code == 1
    assert line.startswith(f"blindsight health: {address} does not answer")
    assert health() == (
        1,
        "blindsight health: 0 arguments, want HOST:PORT, liveness, readiness or metrics, and --tls FOLDER",
    )


def catches_sigterm(process: subprocess.Popen[str]) -> bool:
    (line,) = (
        line
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        if line.startswith("SigCgt")
    )
    return bool(int(line.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("name", ["storage", "evaluator", "keyholder"])
def test_a_service_that_is_still_starting_ends_at_sigterm_by_a_handler_of_its_own(
    name: str, tmp_path: Path
) -> None:
    # As process 1 of a container, without a handler, it would not end at all.
    secret = tmp_path / "passphrase"
    secret.write_text("a long passphrase\n")
    peers = {"storage_address": "127.0.0.1:1", "evaluator_address": "127.0.0.1:1"}
    settings = {
        "storage": {},
        "evaluator": {"storage_address": "127.0.0.1:1"},
        "keyholder": peers | {"passphrase_file": str(secret), "create_keys": "true"},
    }[name]
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"services.{name}"],
        env=variables(name, {"data": str(tmp_path / "data"), "address": _ANY, **settings}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until(lambda: catches_sigterm(process))
        process.terminate()
        _, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode in (0, 128 + signal.SIGTERM), errors


def test_a_setting_may_come_from_a_file_of_the_secrets_folder(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir()
    (folder / "blindsight_storage_data").write_text(f"{tmp_path / 'data'}\n")
    (folder / "somebody_else_s").write_text("no setting\n")
    extra = {"BLINDSIGHT_SECRETS_DIR": str(folder)}
    process = Process("storage", {"address": _ANY}, tmp_path / "log", extra=extra)
    process.start()
    assert process.stop() == 0
    assert (tmp_path / "data").is_dir()


def test_a_secrets_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    environment = variables("storage", {"data": str(tmp_path)}) | {"BLINDSIGHT_SECRETS_DIR": "/none"}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "services.storage"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "blindsight storage: setting BLINDSIGHT_SECRETS_DIR: /none is not a folder\n"


def test_a_log_on_a_full_disk_costs_no_call(tmp_path: Path) -> None:
    full = Services(tmp_path, log=Path("/dev/full"))
    try:
        full.start()
        with blindsight.connect(full.address()) as vault:
            collection = vault.create_collection("quiet", embedder="none", dimension=4)
            collection.ingest_vectors(np.eye(4))
            (hits,) = collection.search_vectors(np.eye(4)[1], k=1).results
            assert hits[0].id == "1"
            with pytest.raises(NotFound):
                vault.collection("none").describe()
    finally:
        full.stop()
