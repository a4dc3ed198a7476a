"""Saves the data folders of services, which may be running, to a backup."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from blindsight import __version__
from blindsight.backup import disk
from blindsight.backup.manifest import Entry, Manifest
from blindsight.backup.parts import MANIFEST_NAME, Database, Kept, Progress, Report
from blindsight.backup.snapshots import Snapshot, moment, require_whole
from blindsight.errors import AlreadyExists, NotFound, Unavailable

_UNFINISHED = ".manifest"


def save(kept: Sequence[Kept], target: Path, report: Report | None = None) -> Manifest:
    """Writes a backup into an empty folder; it is complete and flushed to the disk on return.

    All databases are copied as they were at one moment, so that what one service told another is in both.

    Args:
        kept: the parts to save; those that do not exist and are not required are left out.
        target: the backup's folder; created if it does not exist.
        report: called with the progress.

    Raises:
        AlreadyExists: if the folder is not empty.
        NotFound: if a required part is missing.
        InvalidArgument: if a newer version wrote one of the databases.
        DataLoss: if one of them is damaged.
        ResourceExhausted: if the disk has too little free space; nothing of the backup is kept.
        Unavailable: if a disk or a database does not answer, or the keys are being rotated; nothing of the
            backup is kept.
    """
    with disk.troubles(str(target)):
        if disk.entries(target):
            raise AlreadyExists(f"{target} is not empty, want a new folder for a backup")
        _require_still(kept)
        there = [one for one in kept if _is_there(one)]
        files = _files(there)
        databases = [(one.part, one.path) for one in there if isinstance(one.part, Database)]
        with disk.emptied_on_failure(target), moment(databases) as snapshots:
            made = _Saving(target, there, snapshots, report).run()
            _require_still(kept)
            if _files(there) != files:  # since the databases were copied
                raise Unavailable("the keys were rotated during the backup: make another one")
            return made


def _require_still(kept: Sequence[Kept]) -> None:
    """Refuses to copy what is being exchanged: some of it would be of the old keys, and some of the new."""
    for one in kept:
        if one.service.moving and (one.path.parent / one.service.moving).exists():
            raise Unavailable(
                "the keys are being rotated, see `blindsight keys rotate --status`: back up when it has ended"
            )


def _files(kept: Sequence[Kept]) -> list[tuple[int, int]]:
    """Returns what tells files that never change from others of their names."""
    found = [one.path.stat() for one in kept if not isinstance(one.part, Database)]
    return [(one.st_ino, one.st_mtime_ns) for one in found]


def _is_there(kept: Kept) -> bool:
    if kept.path.is_file():
        return True
    if kept.part.required:
        raise NotFound(f"{kept.path} is missing, and a backup of the {kept.service.zone} zone needs it")
    return False


class _Saving:
    """The writing of one backup.

    Args:
        snapshots: snapshots of the databases in `kept`, in order.
    """

    def __init__(
        self, target: Path, kept: Sequence[Kept], snapshots: Sequence[Snapshot], report: Report | None
    ) -> None:
        self._target = target
        self._kept = kept
        self._created = int(time.time())
        databases = [one.name for one in kept if isinstance(one.part, Database)]
        self._snapshots = dict(zip(databases, snapshots, strict=True))
        copied = sum(one.size_bytes for one in snapshots)
        files = sum(one.path.stat().st_size for one in kept if one.name not in self._snapshots)
        disk.require_room(target, copied + files)
        self._progress = Progress(report, 2 * copied + files)

    def run(self) -> Manifest:
        entries = tuple(map(self._entry, self._kept))
        manifest = Manifest(__version__, self._created, entries)
        for folder in {one for entry in entries for one in (self._target / entry.path).parents}:
            if folder.is_relative_to(self._target):
                disk.flush(folder)
        self._finish(manifest.encode())
        return manifest

    def _entry(self, kept: Kept) -> Entry:
        path = self._target / kept.name
        disk.make_folder(path.parent)
        if not isinstance(kept.part, Database):
            sha256 = disk.copy(kept.path, path, self._progress.moved)
            return Entry(kept.name, kept.service.zone, path.stat().st_size, sha256)
        snapshot = self._snapshots[kept.name]
        os.close(disk.new_file(path))
        snapshot.copy(path, self._progress.moved)
        disk.flush(path)
        require_whole(kept.part, path, snapshot.schema_version)
        sha256 = disk.digest(path, self._progress.moved)
        size, version = path.stat().st_size, snapshot.schema_version
        return Entry(kept.name, kept.service.zone, size, sha256, version, snapshot.counts)

    def _finish(self, encoded: bytes) -> None:
        """Writes the manifest under another name, flushes and renames it, after all files that it names."""
        unfinished = self._target / _UNFINISHED
        with os.fdopen(disk.new_file(unfinished), "wb") as file:
            file.write(encoded)
            file.flush()
            os.fsync(file.fileno())
        disk.flush(self._target)
        unfinished.rename(self._target / MANIFEST_NAME)
        disk.flush(self._target)
        disk.flush(self._target.absolute().parent)
