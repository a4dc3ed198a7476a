"""Power loss: what a disk may hold afterwards, from a journal of all that programs wrote and synced.

`journal.c` writes the journal.  What was written before a file's last sync is on the disk.  Of what was
written since, each write may be there, or a part of it in sectors, or nothing, in any order.  Names (of files
that were made, renamed, removed) are kept in order, as file systems with a journal of their own do: those
before the last sync of their folder for sure, and any number of the following.
"""

from __future__ import annotations

import random
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from support.servers import require

SECTOR_BYTES = 512
_RECORD = struct.Struct("<cQQIIQ")
_NAMES = b"CRLUM"


@cache
def library() -> Path:
    """The compiled journal, for LD_PRELOAD."""
    compiler, source = require("gcc"), Path(__file__).parent / "journal.c"
    target = Path(mkdtemp(prefix="powerloss-")) / "journal.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", target, source, "-ldl"], check=True)
    return target


@dataclass(frozen=True, slots=True)
class Change:
    """A record: C made a file, M a folder; W wrote, T cut, S synced; R renamed, L linked, U removed."""

    kind: bytes
    file: int
    place: int
    first: str
    second: str
    data: bytes
    at: int  # where the record stands in the journal


@dataclass
class _File:
    sure: bytearray = field(default_factory=bytearray)
    open: list[Change] = field(default_factory=list)

    def sync(self, began: int) -> None:
        for change in self.open:
            if change.at < began:
                _apply(self.sure, change, change.data)
        self.open = [change for change in self.open if change.at >= began]

    def after(self, luck: random.Random) -> bytearray:
        """What may be there."""
        found = bytearray(self.sure)
        for change in self.open:
            share = luck.choice((0.0, luck.random(), 1.0))
            sectors = -(-len(change.data) // SECTOR_BYTES)
            kept = change.data[: round(share * sectors) * SECTOR_BYTES]
            if kept or (change.kind == b"T" and share):
                _apply(found, change, kept)
        return found


def _apply(content: bytearray, change: Change, data: bytes) -> None:
    size = change.place + len(data)
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if change.kind == b"T":
        del content[change.place :]
    else:
        content[change.place : size] = data


@dataclass(frozen=True)
class Journal:
    """A journal, and the folder that it is about; it may be read as if nothing had been synced."""

    path: Path
    root: Path
    ignores_syncs: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """The environment in which a program keeps the journal."""
        return {"LD_PRELOAD": str(library()), "JOURNAL": str(self.path), "JOURNAL_ROOT": str(self.root)}

    def size(self) -> int:
        """The point of the journal that everything is written before which was acknowledged until now."""
        return self.path.stat().st_size

    def changes(self, end: int) -> Iterator[Change]:
        """All changes before a point."""
        data, at = memoryview(self.path.read_bytes()), 0
        while at < min(end, len(data)):
            kind, file, place, first, second, size = _RECORD.unpack_from(data, at)
            start = at + _RECORD.size
            names = bytes(data[start : start + first + second])
            start += first + second
            yield Change(
                kind,
                file,
                place,
                names[:first].decode(),
                names[first:].decode(),
                bytes(data[start : start + size]),
                at,
            )
            at = start + size

    def restore(self, target: Path, end: int, luck: random.Random) -> None:
        """Writes what the disk may hold if the power goes at a point of the journal."""
        files: dict[int, _File] = {}
        numbers: dict[int, _File] = {}
        names: list[tuple[Change, _File | None]] = []
        sure = 0  # of the names
        for change in self.changes(end):
            if change.kind == b"C":
                numbers[change.file] = files[change.at] = _File()
            if change.kind in _NAMES:
                names.append((change, numbers.get(change.file)))
            elif change.kind == b"S" and self.ignores_syncs:
                continue
            elif change.kind == b"S" and change.first:
                sure = max((n + 1 for n, (one, _) in enumerate(names) if _inside(one, change)), default=sure)
            elif change.kind == b"S":
                numbers[change.file].sync(change.place)
            elif change.kind in (b"W", b"T"):
                numbers[change.file].open.append(change)
        kept = luck.randint(min(sure, len(names)), len(names))
        self._write(target, names[:kept], luck)

    def _write(self, target: Path, names: list[tuple[Change, _File | None]], luck: random.Random) -> None:
        found: dict[str, _File | None] = {}
        for change, file in names:
            if change.kind in (b"C", b"M"):
                found[change.first] = file
            elif change.kind == b"L":
                found[change.second] = found[change.first]
            elif change.kind == b"R":
                found[change.second] = found.pop(change.first)
            else:
                found.pop(change.first, None)
        for path, file in sorted(found.items()):
            place = target / Path(path).relative_to(self.root)
            if file is None:
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            else:
                place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                place.touch(mode=0o600)
                place.write_bytes(file.after(luck))


def _inside(change: Change, synced: Change) -> bool:
    """Whether a name stands in the folder that was synced, and was changed before that."""
    name = change.second or change.first
    return change.at < synced.place and str(Path(name).parent) == synced.first
