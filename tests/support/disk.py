"""A disk of a test's own, which fills up and gets room again while a service is on it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_ALONE = ("unshare", "--map-root-user", "--mount")


@dataclass(frozen=True)
class Disk:
    """A tmpfs that only processes started `within` see; it is gone with its keeper.

    Attributes:
        folder: where it is mounted.
        keeper: the process that has it.
    """

    folder: Path
    keeper: subprocess.Popen[bytes]

    @property
    def within(self) -> Sequence[str]:
        """The command that runs another one where the disk is seen."""
        return ("nsenter", f"--target={self.keeper.pid}", "--user", "--mount", "--preserve-credentials")

    def _run(self, *command: str) -> str:
        done = subprocess.run([*self.within, *command], capture_output=True, text=True, check=True)
        return done.stdout

    @property
    def used_bytes(self) -> int:
        """What is on it."""
        return int(self._run("df", "--output=used", "--block-size=1", str(self.folder)).split()[-1])

    def size_of(self, path: Path) -> int:
        """The size of a file on it."""
        return int(self._run("stat", "--format=%s", str(path)))

    def fill(self) -> None:
        """Takes all that is free."""
        command = [
            "dd",
            "if=/dev/zero",
            f"of={self.folder}/filling",
            "bs=64K",
            "oflag=append",
            "conv=notrunc",
        ]
        subprocess.run([*self.within, *command], capture_output=True, check=False)

    def clear(self) -> None:
        """Gives back what `fill` took."""
        self._run("rm", "-f", f"{self.folder}/filling")

    def resize(self, size_bytes: int) -> None:
        """Makes it larger or smaller, but not smaller than what is on it."""
        self._run("mount", "-o", f"remount,size={size_bytes}", str(self.folder))


@contextmanager
def disk(folder: Path, size_bytes: int) -> Iterator[Disk]:
    """A new disk over a folder; tests are skipped where a user namespace gives no right to mount."""
    folder.mkdir(exist_ok=True)
    mount = f'mount -t tmpfs -o size={size_bytes} tmpfs "$0" && echo mounted && exec sleep infinity'
    keeper = subprocess.Popen([*_ALONE, "sh", "-c", mount, str(folder)], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    try:
        if not keeper.stdout.readline():
            pytest.skip("this machine allows no mounts in a namespace of one's own")
        yield Disk(folder, keeper)
    finally:
        keeper.kill()
        keeper.wait()
        keeper.stdout.close()
