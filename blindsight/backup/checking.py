"""Verification of a backup against its manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from blindsight.backup import disk, manifest
from blindsight.backup.manifest import Entry, Manifest
from blindsight.backup.parts import MANIFEST_NAME, Database, Kept, Progress, Report
from blindsight.backup.snapshots import require_known, require_whole
from blindsight.errors import DataLoss, InvalidArgument

# A service's folder, one that has folders of repeated parts, and one of these.
_DEEPEST = 3


def check(source: Path, kept: Sequence[Kept], report: Report | None = None) -> Manifest:
    """Reads all of a backup and verifies it; returns its manifest.

    Args:
        source: the backup's folder.
        kept: the parts that services may keep; a backup of anything else is refused.
        report: called with the progress.

    Raises:
        NotFound: if the folder is not a backup, or an unfinished one.
        DataLoss: if a file is damaged, missing or not in the manifest.
        InvalidArgument: if a newer version wrote the backup, or it names a part that is not in `kept`.
    """
    with disk.troubles(str(source)):
        found = announced(source, kept)
        require_files(source, found, kept, Progress(report, found.size_bytes).moved)
        return found


def announced(source: Path, kept: Iterable[Kept]) -> Manifest:
    """Reads a backup's manifest, and checks that all parts it names are known; reads no other file.

    Raises:
        NotFound, DataLoss, InvalidArgument: see `check`.
    """
    found = manifest.read(source)
    known = {one.name: one for one in kept}
    for entry in found.files:
        # Only known paths are ever opened, so a forged manifest cannot lead out of the folder.
        if entry.path not in known or entry.zone != known[entry.path].service.zone:
            raise InvalidArgument(
                f"{source} names {entry.path!r} of zone {entry.zone!r}, want {_names(known)}"
            )
        part = known[entry.path].part
        if isinstance(part, Database):
            require_known(part, entry.schema_version or 0, f"{entry.path} in {source}")
    return found


def _names(known: Iterable[str]) -> str:
    return f"one of {', '.join(known)}"


def require_files(source: Path, found: Manifest, kept: Iterable[Kept], moved: Callable[[int], None]) -> None:
    """Checks that a backup's files are those of its manifest.

    Raises:
        DataLoss: if one is not; names the first.
    """
    _require_listed(source, found)
    parts = {one.name: one.part for one in kept}
    for entry in found.files:
        path = source / entry.path
        require_same(path, entry, disk.digest(path, moved))
        part = parts[entry.path]
        if isinstance(part, Database):
            require_whole(part, path, entry.schema_version or 0)


def _require_listed(source: Path, found: Manifest) -> None:
    """Checks that every file is in the manifest with its size, and that none of the manifest is missing."""
    named = {entry.path: entry for entry in found.files}
    there = set()
    for path in _files(source):
        name = str(path.relative_to(source))
        if name not in named:
            raise DataLoss(f"{path} is not in the manifest")
        size, want = path.lstat().st_size, named[name].size_bytes
        if size != want:
            raise DataLoss(f"{path} has {size} bytes, want {want}")
        there.add(name)
    for name in named.keys() - there:
        raise DataLoss(f"{source / name} is missing")


def _files(source: Path, depth: int = 0) -> Iterable[Path]:
    for path in disk.entries(source):
        if path.is_symlink() or not path.is_dir() or depth == _DEEPEST:
            if depth or path.name != MANIFEST_NAME:
                yield path
        else:
            yield from _files(path, depth + 1)


def require_same(path: Path, entry: Entry, sha256: str) -> None:
    """Checks a file's SHA-256 against the manifest.

    Raises:
        DataLoss: if they differ.
    """
    if sha256 != entry.sha256:
        raise DataLoss(f"{path} is damaged: its SHA-256 is not the manifest's")
