import asyncio
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc.aio
import pytest

import blindsight
from blindsight.cli.local import fleet, supervisor
from blindsight.cli.local.fleet import Plan
from blindsight.cli.local.service_log import ServiceLog
from blindsight.cli.local.supervisor import Child, Recipe, environment
from blindsight.cli.local.zones import Places, Zone
from blindsight.errors import CertificateError, Unavailable
from blindsight.rpc.storage.v1.storage_pb2 import GetStatusRequest
from blindsight.rpc.storage.v1.storage_pb2_grpc import StorageServiceStub
from blindsight.runtime import request_ids

OURS = {
    "PATH": "/bin",
    "LC_ALL": "C.UTF-8",
    "PYTHONHASHSEED": "1",
    "BLINDSIGHT_PASSPHRASE_FILE": "/secret/passphrase",
    "BLINDSIGHT_KEYHOLDER_PASSPHRASE_FILE": "/secret/passphrase",
    "BLINDSIGHT_KEYHOLDER_WORKERS": "1",
    "BLINDSIGHT_EVALUATOR_LOG_LEVEL": "DEBUG",
    "BLINDSIGHT_STORAGE_ADDRESS": "0.0.0.0:1",
    "BLINDSIGHT_ADDRESS": "127.0.0.1:7420",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "SSH_AUTH_SOCK": "/run/agent",
}
ADDRESSES = {"address": "127.0.0.1:0"}


@pytest.fixture
def recipes(tmp_path: Path) -> dict[str, Recipe]:
    for name in ("storage", "evaluator", "keyholder"):
        (tmp_path / name).mkdir()
    return {
        "storage": Recipe("storage", "untrusted", tmp_path / "storage"),
        "evaluator": Recipe("evaluator", "untrusted", tmp_path / "evaluator", {"storage_address": "s:1"}),
        "keyholder": Recipe("keyholder", "trusted", tmp_path / "keyholder", {"passphrase_file": "/own/file"}),
    }


@pytest.mark.parametrize("name", ["storage", "evaluator"])
def test_an_untrusted_service_sees_no_setting_of_the_keyholder_and_no_secret(recipes, name):
    made = environment(recipes[name], ADDRESSES, OURS)
    assert not [key for key in made if "KEYHOLDER" in key or "PASSPHRASE" in key or "SECRET" in key]
    assert not [value for value in made.values() if "secret" in value or "hunter2" in value]


def test_a_service_gets_its_own_settings_and_what_programs_need(recipes):
    made = environment(recipes["evaluator"], ADDRESSES, OURS)
    assert made["BLINDSIGHT_EVALUATOR_LOG_LEVEL"] == "DEBUG"
    assert made["BLINDSIGHT_EVALUATOR_STORAGE_ADDRESS"] == "s:1"
    assert made["BLINDSIGHT_EVALUATOR_DATA"] == str(recipes["evaluator"].folder)
    assert (made["PATH"], made["LC_ALL"], made["PYTHONHASHSEED"]) == ("/bin", "C.UTF-8", "1")
    assert "SSH_AUTH_SOCK" not in made


def test_what_the_command_decides_is_not_overridden_by_the_environment(recipes):
    assert environment(recipes["storage"], ADDRESSES, OURS)["BLINDSIGHT_STORAGE_ADDRESS"] == "127.0.0.1:0"
    made = environment(recipes["keyholder"], {"address": "127.0.0.1:7420"}, OURS)
    assert made["BLINDSIGHT_KEYHOLDER_PASSPHRASE_FILE"] == "/own/file"
    assert made["BLINDSIGHT_KEYHOLDER_WORKERS"] == "1"
    assert "BLINDSIGHT_PASSPHRASE_FILE" not in made


@pytest.fixture
def no_rights() -> Iterator[None]:
    """Root may write everywhere."""
    was = os.geteuid()
    os.seteuid(was or 65534)
    yield
    os.seteuid(was)


@pytest.mark.usefixtures("no_rights")
def test_compiled_code_goes_to_the_services_folder_if_nothing_else_takes_it(monkeypatch):
    monkeypatch.setattr(blindsight, "__file__", "/blindsight/__init__.py")
    recipe = Recipe("evaluator", "untrusted", Path("/data/evaluator"))
    homeless = {"XDG_CACHE_HOME": "/nowhere"}
    made = environment(recipe, ADDRESSES, homeless)
    assert made["NUMBA_CACHE_DIR"] == "/data/evaluator/compiled"
    chosen = environment(recipe, ADDRESSES, {**homeless, "NUMBA_CACHE_DIR": "/chosen"})
    assert chosen["NUMBA_CACHE_DIR"] == "/chosen"
    for taken in ({"XDG_CACHE_HOME": "/tmp"}, {"XDG_CACHE_HOME": "/tmp/not/yet"}):
        assert "NUMBA_CACHE_DIR" not in environment(recipe, ADDRESSES, taken)
    monkeypatch.setattr(blindsight, "__file__", "/tmp/blindsight.py")
    assert "NUMBA_CACHE_DIR" not in environment(recipe, ADDRESSES, homeless)


def child(recipe: Recipe, reports: list[str] | None = None) -> Child:
    return Child(
        recipe,
        ADDRESSES if recipe.serves else {},
        (reports if reports is not None else []).append,
    )


async def test_a_service_that_does_not_start_gives_its_own_reason(recipes):
    folder = recipes["storage"].folder
    wrong = Recipe("storage", "untrusted", folder, {"max_disk_bytes": "lots"})
    with pytest.raises(Unavailable, match=r"^storage did not start: .*MAX_DISK_BYTES") as caught:
        await child(wrong).start()
    assert "\n" not in caught.value.message


async def test_a_worker_that_does_not_start_is_named_once(tmp_path):
    settings = {"key_file": "/nowhere", "passphrase_file": "/nowhere"}
    recipe = Recipe("worker-1", "trusted", tmp_path, settings, serves=False)
    with pytest.raises(Unavailable, match=r"^worker-1 did not start: (?!blindsight)"):
        await child(recipe).start()


async def test_the_log_of_an_earlier_start_is_no_reason(recipes):
    recipe = recipes["storage"]
    recipe.log.write_text("blindsight storage: an old complaint\n")
    (recipe.folder / "lock").mkdir()  # whatever it makes of this, it is not the old complaint
    with pytest.raises(Unavailable) as caught:
        await child(recipe).start()
    assert "old complaint" not in caught.value.message


async def test_a_large_log_is_put_aside_at_the_start(recipes):
    recipe = recipes["storage"]
    with recipe.log.open("wb") as log:
        log.truncate((50 << 20) + 1)
    storage = child(recipe)
    await storage.start()
    await storage.stop()
    assert recipe.log.stat().st_size < 1 << 20
    assert recipe.log.with_suffix(".jsonl.1").stat().st_size > 50 << 20


async def test_a_log_is_put_aside_while_its_service_runs_and_no_line_is_lost(recipes, monkeypatch):
    monkeypatch.setattr(supervisor, "ServiceLog", partial(ServiceLog, most_bytes=8192))
    recipe = recipes["storage"]
    storage = child(recipe)
    await storage.start()
    names = [f"call-{number}" for number in range(60)]
    async with grpc.aio.insecure_channel(storage.address) as channel:
        status = StorageServiceStub(channel).GetStatus
        for name in names:
            await status(GetStatusRequest(), metadata=((request_ids.KEY, name),))
    await storage.stop()
    older, newer = recipe.log.with_suffix(".jsonl.1").read_text(), recipe.log.read_text()
    assert 0 < len(newer) <= 8192
    assert 0 < len(older) <= 8192
    lines = [json.loads(line) for line in (older + newer).splitlines()]
    assert [line["request_id"] for line in lines if line["event"] == "rpc"] == names
    assert lines[-1]["event"] == "drained"


def test_what_worker_processes_say_is_not_lost_when_the_log_is_put_aside(tmp_path):
    script = """
import os, sys
child = os.fork()
for number in range(2000):
    os.write(2, f"{'parent' if child else 'child'} {number} {'x' * 50}\\n".encode())
if child:
    os.waitpid(child, 0)
    os.write(2, b"the last words, without an end of line")
"""
    log = ServiceLog(tmp_path / "log.jsonl", "storage", most_bytes=600_000)
    said = log.pipe()
    subprocess.run([sys.executable, "-c", script], stderr=said, check=True)
    os.close(said)
    log.finish(20)
    older, newer = ((tmp_path / name).read_bytes() for name in ("log.jsonl.1", "log.jsonl"))
    assert max(len(older), len(newer)) <= 600_000
    events = [json.loads(line) for line in (older + newer).splitlines()]
    assert {(event["event"], event["service"]) for event in events} == {("said", "storage")}
    lines = [event["message"] for event in events]
    for who in ("parent", "child"):
        numbers = [int(line.split()[1]) for line in lines if line.startswith(who)]
        assert numbers == list(range(2000))
    assert lines[-1] == "the last words, without an end of line"


async def test_a_service_that_ignores_the_request_to_stop_is_killed(recipes):
    storage = child(recipes["storage"])
    await storage.start()
    assert storage.process_id
    await storage.stop(grace_seconds=0)
    assert not Path(f"/proc/{storage.process_id}/cmdline").exists()


class Renewing:
    """Certificates of which the first renewal fails."""

    def __init__(self):
        self.times = 0
        self.enough = threading.Event()

    def renew(self):
        self.times += 1
        if self.times == 1:
            raise CertificateError("the authority in DIR expired")
        if self.times == 3:
            self.enough.set()


async def test_certificates_are_renewed_again_and_again_and_a_failure_is_told(monkeypatch):
    monkeypatch.setattr(fleet, "_DAY_SECONDS", 0.01)
    renewing, told = Renewing(), []
    plan = Plan(Zone.ALL, {}, Places(), renewing, {}, None)
    task = asyncio.create_task(fleet.Fleet(plan, lambda *_: None, told.append)._renew())
    assert await asyncio.to_thread(renewing.enough.wait, 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert told == ["certificates are not renewed: the authority in DIR expired"]
