"""Declarations of the data that a service keeps and cannot make again."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST_NAME = "manifest.json"

Report = Callable[[int, int], None]
"""Called with the bytes done and the total."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that never changes once it is there.

    Attributes:
        name: its name in the service's folder.
        required: whether a backup fails if it is missing.
    """

    name: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Database:
    """A SQLite database that a service writes to.

    Attributes:
        name: name of its file in the service's folder.
        schema_version: newest version that this program knows.
        version_query: query for the version of a file.
        counts: queries for the numbers of what it holds, by name.
        forget: a statement that removes from a copy what is true of the running service alone.
        required: whether a backup fails if it is missing.
    """

    name: str
    schema_version: int
    version_query: str = "PRAGMA user_version"
    counts: Mapping[str, str] = field(default_factory=dict)
    forget: str = ""
    required: bool = False


Part = File | Database


@dataclass(frozen=True, slots=True)
class Repeated:
    """Parts that a service keeps in each of several folders.

    Attributes:
        folder: the folder that has those folders, in the service's.
        names: pattern of their names, as a whole.
        parts: as of `Service`.
    """

    folder: str
    names: re.Pattern[str]
    parts: tuple[Part, ...]

    def within(self, folder: Path) -> list[str]:
        """Returns the names of the folders that are there, of a service's folder or a copy of it."""
        there = folder / self.folder
        found = (one.name for one in there.iterdir()) if there.is_dir() else ()
        return [f"{self.folder}/{name}" for name in found if self.names.fullmatch(name)]


@dataclass(frozen=True, slots=True)
class Service:
    """The parts that one service keeps.

    Attributes:
        name: name of the service, and of its folder in a backup.
        zone: "trusted" or "untrusted".
        parts: in the order in which a restore puts them in place; what makes a service start comes last.
        repeated: parts that come before them; None: there are none.
        moving: a folder in its own that is there while its parts are exchanged, and none may be copied.
    """

    name: str
    zone: str
    parts: tuple[Part, ...]
    repeated: Repeated | None = None
    moving: str = ""


@dataclass(frozen=True, slots=True)
class Kept:
    """One part of one service, in a data folder.

    Attributes:
        service: the service that keeps it.
        part: the part.
        path: its path in the data folder.
        within: the folder of a repeated part, in the service's.
    """

    service: Service
    part: Part
    path: Path
    within: str = ""

    @property
    def name(self) -> str:
        """The path in a backup."""
        return "/".join(filter(None, (self.service.name, self.within, self.part.name)))


def kept_by(service: Service, folder: Path, backups: Sequence[Path] = ()) -> list[Kept]:
    """Returns all parts that a service may keep in its folder, whether they exist or not.

    Args:
        backups: whose repeated parts are among them; without any it is those of the folder.
    """
    kept = [Kept(service, part, folder / part.name) for part in service.parts]
    repeated = service.repeated
    if repeated is None:
        return kept
    places = [backup / service.name for backup in backups] or [folder]
    names = sorted({name for place in places for name in repeated.within(place)})
    among = [(name, part) for name in names for part in repeated.parts]
    return [Kept(service, part, folder / name / part.name, name) for name, part in among] + kept


class Progress:
    """Adds up the bytes that are done, and reports them.

    Args:
        report: called after each step with the bytes done and the total.
        total_bytes: total of all steps.
    """

    def __init__(self, report: Report | None, total_bytes: int) -> None:
        self._report = report
        self._total = total_bytes
        self._done = 0

    def moved(self, size_bytes: int) -> None:
        """Adds the bytes of a step."""
        self._done += size_bytes
        if self._report is not None:
            self._report(self._done, self._total)
