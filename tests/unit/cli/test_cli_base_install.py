"""`pip install blindsight` without extras is the SDK and the command for a keyholder somewhere else."""

import subprocess
import sys
from pathlib import Path

import pytest
import support.base_install
from support.command import environment

SCRIPT = support.base_install.__file__
NOBODY = "127.0.0.1:1"


def run(*arguments):
    return subprocess.run(
        [sys.executable, SCRIPT, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(NOBODY),
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("status",),
        ("collection", "list"),
        ("jobs", "list"),
        ("ingest", "photos", SCRIPT),
        ("ingest", "photos", SCRIPT, "--bulk"),
        ("search", "photos", SCRIPT),
        ("get", "photos", "an id", "-o", "photo"),
        ("diff", SCRIPT, SCRIPT, "-o", "picture.png"),
        ("filter", SCRIPT, "--op", "gaussian:5", "-o", "picture.png"),
        ("match", SCRIPT, SCRIPT, "-o", "picture.png"),
    ],
    ids=" ".join,
)
def test_a_command_that_asks_a_keyholder_needs_no_extra(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"no keyholder answers at {NOBODY}" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [("up", "--data", "vault"), ("keys", "create", "--out", "own.bsky", "--passphrase-file", SCRIPT)],
    ids=" ".join,
)
def test_a_command_that_runs_services_says_what_to_install(arguments, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "which is not installed: pip install 'blindsight[all]'" in done.stderr
    assert not list(Path().rglob("*.bsky"))
