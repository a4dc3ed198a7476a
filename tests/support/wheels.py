"""Our wheels, and environments that hold nothing but some of them and what they ask for.

Nothing is fetched: other people's packages are links to those that these tests run with, which are those of
the lock.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import Distribution, distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
OURS = "blindsight-vault"
PARTS = [ROOT, ROOT / "protos", ROOT / "blindsight", ROOT / "blindsight" / "trusted"]
PARTS += sorted(path.parent for path in ROOT.glob("services/*/pyproject.toml"))
# What a program may know of these tests' own environment.
KEPT = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}


def build(folder: Path) -> Path:
    """Builds sources and wheels of all distributions, as `make dist` does."""
    _uv("build", "--all-packages", "--no-build-isolation", "--python", sys.executable, "--out-dir", folder)
    return folder


def plain(name: str) -> str:
    """A distribution's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str) -> set[str]:
    """The packages of a lock that this machine needs."""
    text = (ROOT / "requirements" / f"{lock}.lock").read_text()
    lines = [Requirement(line) for line in re.findall(r"^([a-z0-9-]+==[^\\\n]+)", text, re.MULTILINE)]
    return {one.name for one in lines if one.marker is None or one.marker.evaluate()}


class Environment:
    """A virtual environment of this Python, empty at first.

    Args:
        folder: where it is made.
        dist: with our wheels.
    """

    def __init__(self, folder: Path, dist: Path) -> None:
        self.folder = folder
        self._dist = dist
        _uv("venv", "--python", sys.executable, folder)
        self._site = next(folder.glob("lib/python*/site-packages"))

    def install(self, *names: str) -> None:
        """Installs wheels of ours by name: these, and nothing that they ask for."""
        wheels = [next(self._dist.glob(f"{name.replace('-', '_')}-*.whl")) for name in names]
        _uv("pip", "install", "--no-deps", "--python", self.folder, *wheels)

    def install_all_of(self, requirement: str) -> set[str]:
        """Installs what `pip install REQUIREMENT` does; returns the names of all that came."""
        came: dict[str, set[str]] = {}
        self._install(Requirement(requirement), came)
        return set(came)

    def _install(self, wanted: Requirement, came: dict[str, set[str]]) -> None:
        name, extras = plain(wanted.name), {"", *wanted.extras}
        if extras <= came.get(name, set()):
            return
        if name not in came:
            (self.install if name.startswith(OURS) else self.link)(name)
        came[name] = extras | came.get(name, set())
        found = self._found(name)
        assert wanted.specifier.contains(found.version), f"{wanted}: {found.version} is here"
        for line in found.requires or ():
            asked = Requirement(line)
            if asked.marker is None or any(asked.marker.evaluate({"extra": extra}) for extra in extras):
                self._install(asked, came)

    def _found(self, name: str) -> Distribution:
        (found,) = [one for one in distributions(path=[str(self._site)]) if plain(one.name) == name]
        return found

    def link(self, *names: str) -> None:
        """Makes other people's packages importable, as they are installed and compiled beside these tests."""
        for name in names:
            for file in distribution(name).files or ():
                source, place = Path(file.locate()), self._site / file
                if ".." not in file.parts and source.exists():
                    place.parent.mkdir(parents=True, exist_ok=True)
                    place.symlink_to(source)

    def run(self, program: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs one of its programs to the end, in its own folder."""
        return subprocess.run(
            [self.folder / "bin" / program, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=KEPT | environment,
            timeout=60,
            check=False,
        )


def _uv(*arguments: str | Path) -> None:
    command = [Path(sys.executable).with_name("uv"), "--quiet", "--offline", "--no-cache", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
