"""The switch to other keys: all files or none, wherever it is cut off."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest.mock import patch

import pytest

from services.keyholder.rotation import switching
from services.keyholder.settings import KEY_FILE_NAME

FILES = (*switching.MOVED, KEY_FILE_NAME)
KEY_ID = bytes(range(16))


class Cut(BaseException):
    """The end of the process."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = switching.folder_of(tmp_path)
    for each, age in ((tmp_path, "old"), (folder, "new")):
        (each / "audit").mkdir(parents=True)
        for number in (1, 5):
            (each / "audit" / f"{number:012d}.jsonl").write_text(f"{age} audit/{number:012d}.jsonl")
    for name in FILES:
        (tmp_path / name).write_text(f"old {name}")
        (tmp_path / f"{name}-wal").write_text("a log of the old database")
        (folder / name).write_text(f"new {name}")
    (folder / "journal.db").write_text("a journal")
    return tmp_path


def cut_off_after(steps: int, data: Path) -> bool:
    """Finishes a switch up to a change of the file system; returns whether it was cut off there."""
    left = steps

    def counting(real):
        def step(*arguments, **options):
            nonlocal left
            if not left:
                raise Cut
            left -= 1
            made = real(*arguments, **options)
            assert (data / KEY_FILE_NAME).exists()
            return made

        return step

    with (
        patch.object(Path, "unlink", counting(Path.unlink)),
        patch.object(Path, "replace", counting(Path.replace)),
        patch.object(os, "link", counting(os.link)),
        patch.object(os, "fsync", counting(os.fsync)),
    ):
        try:
            switching.finish(data)
        except Cut:
            return True
    return False


def test_without_the_mark_nothing_moves(data: Path) -> None:
    switching.finish(data)
    assert switching.is_begun(data)
    assert switching.replaced_key_id(data) is None
    assert all((data / name).read_text() == f"old {name}" for name in FILES)


def test_wherever_a_switch_is_cut_off_the_next_start_brings_it_to_its_end(data: Path) -> None:
    switching.commit(data, KEY_ID)
    steps = 0
    while True:
        tried = data.with_name(f"cut after {steps}")
        shutil.copytree(data, tried)
        with (tried / KEY_FILE_NAME).open("rb") as held:
            cut = cut_off_after(steps, tried)
            switching.finish(tried)
            assert held.read() != f"old {KEY_FILE_NAME}".encode()  # it is overwritten, and not only unlinked
        for name in (*FILES, "audit/000000000001.jsonl", "audit/000000000005.jsonl"):
            assert (tried / name).read_text() == f"new {name}"
        assert not [name for name in switching.MOVED if (tried / f"{name}-wal").exists()]
        assert switching.replaced_key_id(tried) == KEY_ID
        assert not switching.is_begun(tried)
        switching.clear(tried)
        assert not switching.folder_of(tried).exists()
        assert switching.replaced_key_id(tried) is None
        if not cut:
            break
        steps += 1
    assert steps > 3 * len(FILES)
