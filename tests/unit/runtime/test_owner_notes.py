"""Notes of where the owner's token is: for this user alone, and as long as the keyholder is kept."""

import os
import signal
import stat
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from blindsight.runtime.owner_notes import noted, token_file_of

ADDRESS = "127.0.0.1:7001"


@pytest.fixture(autouse=True)
def state(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def test_a_note_tells_while_the_keyholder_is_kept_and_no_longer(tmp_path, state):
    file = tmp_path / "owner.token"
    with noted(ADDRESS, file):
        assert token_file_of(ADDRESS) == file
        assert token_file_of("[::1]:7001") == file
        assert token_file_of("127.0.0.1:7002") is None
        assert token_file_of("192.0.2.1:7001") is None
        (note,) = (state / "blindsight").iterdir()
        assert stat.S_IMODE(note.stat().st_mode) == 0o600
    assert token_file_of(ADDRESS) is None
    assert list((state / "blindsight").iterdir()) == []


def test_a_note_of_a_process_that_was_killed_tells_nothing_and_is_written_again(tmp_path, state):
    program = (
        "import time; from pathlib import Path; from blindsight.runtime.owner_notes import noted\n"
        f"with noted({ADDRESS!r}, Path({str(tmp_path / 'old')!r})):\n"
        "    print('noted', flush=True)\n"
        "    time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout is not None
        assert keeper.stdout.readline() == "noted\n"
        assert token_file_of(ADDRESS) == tmp_path / "old"
        with noted(ADDRESS, tmp_path / "second"):  # as in another network, at the same port
            assert token_file_of(ADDRESS) == tmp_path / "old"
        keeper.send_signal(signal.SIGKILL)
    assert token_file_of(ADDRESS) is None
    with noted(ADDRESS, tmp_path / "new"):
        assert token_file_of(ADDRESS) == tmp_path / "new"


def test_a_shorter_path_leaves_nothing_of_a_longer_one(tmp_path, state):
    with noted(ADDRESS, tmp_path / ("x" * 100)):
        (note,) = (state / "blindsight").iterdir()
        left = note.read_bytes()
    note.write_bytes(left)
    with noted(ADDRESS, tmp_path / "y"):
        assert token_file_of(ADDRESS) == tmp_path / "y"


def test_a_home_that_cannot_be_written_is_no_hindrance(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    with ExitStack() as stack:
        stack.enter_context(noted(ADDRESS, Path(os.devnull)))
        assert token_file_of(ADDRESS) is None
