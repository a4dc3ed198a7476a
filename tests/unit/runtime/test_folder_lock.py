"""A folder is kept by one process, and free again when that process is done with it."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from blindsight.errors import Unavailable
from blindsight.runtime.folder_lock import LOCK_NAME, locked, locked_folder


def test_a_folder_is_made_for_its_owner_alone_and_kept_until_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "data"
    with locked_folder(folder, "somebody has it"):
        assert folder.stat().st_mode & 0o777 == 0o700
        with pytest.raises(Unavailable, match=r"^somebody has it$"):
            locked_folder(folder, "somebody has it").__enter__()
    with locked_folder(folder, "somebody has it"):
        pass


def test_a_folder_is_free_again_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="ours"), locked_folder(tmp_path, "taken"):
        raise ValueError("ours")
    with locked_folder(tmp_path, "taken"):
        pass


def test_the_lock_of_a_folder_itself_leaves_nothing_in_it(tmp_path: Path) -> None:
    with locked(tmp_path, "taken", folder=True), ExitStack() as second:
        with pytest.raises(Unavailable, match="taken"):
            second.enter_context(locked(tmp_path, "taken", folder=True))
        assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_the_lock_is_an_error(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(IsADirectoryError):
        locked_folder(tmp_path, "taken").__enter__()


def test_without_a_message_for_it_the_lock_is_waited_for(tmp_path: Path) -> None:
    entered = threading.Event()

    def wait() -> None:
        with locked(tmp_path / LOCK_NAME):
            entered.set()

    waiting = threading.Thread(target=wait)
    with locked(tmp_path / LOCK_NAME):
        waiting.start()
        assert not entered.wait(0.1)
    waiting.join(30)
    assert entered.is_set()
