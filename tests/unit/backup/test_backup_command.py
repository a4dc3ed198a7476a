"""Backups of the data folder of one service, where the command is not: in a container."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from support.backups import files


def run(module, *arguments, **variables):
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BLINDSIGHT_")}
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *map(str, arguments)],
        env=kept | {name: str(value) for name, value in variables.items()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("service", "module", "files_of_it"),
    [
        ("storage", "services.storage.backup", {"storage.sqlite3"}),
        ("keyholder", "services.keyholder.backup", {"jobs.db", "keys.bsky", "passphrase"}),
    ],
)
def test_a_service_is_saved_verified_and_restored_on_its_own(data, tmp_path, service, module, files_of_it):
    variable = f"BLINDSIGHT_{service.upper()}_DATA"
    copy, back = tmp_path / "copy", tmp_path / "back"
    saved = run(module, "save", copy, **{variable: data / service})
    assert saved.returncode == 0, saved.stderr
    assert files(copy / service) == files_of_it
    assert json.loads(run(module, "verify", copy).stdout) == json.loads(saved.stdout)
    assert run(module, "restore", copy, **{variable: back}).returncode == 0
    assert files(back) == files_of_it


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["save"], "want save DIR, verify DIR or restore DIR"),
        (["save", "copy"], "no data folder, want BLINDSIGHT_STORAGE_DATA"),
        (["verify", "nowhere"], "nowhere has no manifest.json"),
    ],
)
def test_what_cannot_be_done_is_one_line(arguments, said):
    done = run("services.storage.backup", *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("blindsight storage backup: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_service_takes_no_other_services_backup(copied, tmp_path):
    done = run("services.storage.backup", "restore", copied, BLINDSIGHT_STORAGE_DATA=tmp_path / "new")
    assert done.returncode == 1
    assert "want one of storage/storage.sqlite3" in done.stderr
    assert not (tmp_path / "new").exists()
