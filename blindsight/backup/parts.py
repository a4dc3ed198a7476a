"""Declarations of the data that a service keeps and cannot make again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
class Service:
    """The parts that one service keeps.

    Attributes:
        name: name of the service, and of its folder in a backup.
        zone: "trusted" or "untrusted".
        parts: in the order in which a restore puts them in place; what makes a service start comes last.
    """

    name: str
    zone: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """One part of one service, in a data folder.

    Attributes:
        service: the service that keeps it.
        part: the part.
        path: its path in the data folder.
    """

    service: Service
    part: Part
    path: Path

    @property
    def name(self) -> str:
        """The path in a backup."""
        return f"{self.service.name}/{self.part.name}"


def kept_by(service: Service, folder: Path) -> list[Kept]:
    """Returns all parts that a service may keep in its folder, whether they exist or not."""
    return [Kept(service, part, folder / part.name) for part in service.parts]


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
