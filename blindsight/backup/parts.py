"""What a service keeps in its data folder and cannot make again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MANIFEST_NAME = "manifest.json"

Tell = Callable[[int, int], None]
"""Told the bytes that are done, and all that there are to do."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that never changes once it is there.

    Attributes:
        name: in the service's folder.
        required: there is no backup without it.
    """

    name: str
    required: bool = False


@dataclass(frozen=True, slots=True)
class Database:
    """A SQLite database that a service writes to.

    Attributes:
        name: of its file, in the service's folder.
        schema_version: the newest that this program knows.
        version_query: gives that of a file.
        counts: queries of what it holds, by what they count.
        required: there is no backup without it.
    """

    name: str
    schema_version: int
    version_query: str = "PRAGMA user_version"
    counts: Mapping[str, str] = field(default_factory=dict)
    required: bool = False


Part = File | Database


@dataclass(frozen=True, slots=True)
class Service:
    """What one service keeps.

    Attributes:
        name: of the service, and of its folder in a backup.
        zone: "trusted" or "untrusted".
        parts: a restore puts them in place in this order; what starts a service comes last.
    """

    name: str
    zone: str
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Kept:
    """One part of one service, in a data folder.

    Attributes:
        service: whose it is.
        part: which.
        path: where it is.
    """

    service: Service
    part: Part
    path: Path

    @property
    def name(self) -> str:
        """Its path in a backup."""
        return f"{self.service.name}/{self.part.name}"


def kept_by(service: Service, folder: Path) -> list[Kept]:
    """All that a service may keep in its folder, whether it is there or not."""
    return [Kept(service, part, folder / part.name) for part in service.parts]


class Progress:
    """Adds up what is done.

    Args:
        tell: told after each step.
        total_bytes: of all steps.
    """

    def __init__(self, tell: Tell | None, total_bytes: int) -> None:
        self._tell = tell
        self._total = total_bytes
        self._done = 0

    def moved(self, size_bytes: int) -> None:
        """Notes a step."""
        self._done += size_bytes
        if self._tell is not None:
            self._tell(self._done, self._total)
