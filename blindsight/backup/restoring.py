"""Restores backups into an empty data folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from blindsight.backup import disk
from blindsight.backup.checking import announced, require_files, require_same
from blindsight.backup.manifest import Manifest
from blindsight.backup.parts import Kept, Progress, Report
from blindsight.errors import AlreadyExists, InvalidArgument
from blindsight.runtime.folder_lock import LOCK_NAME, locked

# Within the data folder, on the same file system, so that files are put in place by renaming.
_STAGING = ".restoring"


def restore(
    sources: Sequence[Path], kept: Sequence[Kept], root: Path, report: Report | None = None
) -> list[Manifest]:
    """Restores backups into an empty data folder; returns their manifests.

    Nothing is written before all backups have been read and verified.

    Args:
        sources: one backup, or one of each zone.
        kept: the parts that services may keep, with their paths below `root`.
        root: the data folder; created if it does not exist.
        report: called with the progress.

    Raises:
        NotFound, DataLoss, InvalidArgument: see `checking.check`.
        InvalidArgument: if two backups hold the same file.
        AlreadyExists: if the data folder is not empty.
        Unavailable: if a running service uses the data folder.
        ResourceExhausted: if its disk has too little free space.
    """
    with disk.troubles(str(root)):
        found = [announced(source, kept) for source in sources]
        _require_different(found)
        total = sum(one.size_bytes for one in found)
        progress = Progress(report, 2 * total)
        if root.exists():
            with exclusive(root):
                _require_empty(root)
        for source, one in zip(sources, found, strict=True):
            require_files(source, one, kept, progress.moved)
        with disk.emptied_on_failure(root), exclusive(root):
            _require_empty(root)
            disk.require_room(root, total)
            _put(list(zip(sources, found, strict=True)), kept, root, progress)
        return found


def _require_different(found: Sequence[Manifest]) -> None:
    names = [entry.path for one in found for entry in one.files]
    for name in names:
        if names.count(name) > 1:
            raise InvalidArgument(f"{name} is in two of the backups, want each in one")


def _require_empty(root: Path) -> None:
    for path in disk.entries(root):
        if path.name != LOCK_NAME:
            raise AlreadyExists(f"{root} is not empty: it has {path.name}; want a new data folder")


@contextmanager
def exclusive(root: Path) -> Iterator[None]:
    """Locks a data folder while the block runs, as a service that uses it does.

    Raises:
        Unavailable: if a running service uses it.
    """
    with ExitStack() as stack:
        taken = f"{root} is in use by a running service"
        paths = [root, *(path for path in disk.entries(root) if path.name == LOCK_NAME)]
        for path in paths:
            stack.enter_context(locked(path, taken, folder=path == root))
        yield


def _put(
    backups: Sequence[tuple[Path, Manifest]], kept: Sequence[Kept], root: Path, progress: Progress
) -> None:
    staging = root / _STAGING
    staging.mkdir(mode=0o700)
    for source, found in backups:
        for entry in found.files:
            path = staging / entry.path
            disk.make_folder(path.parent)
            require_same(source / entry.path, entry, disk.copy(source / entry.path, path, progress.moved))
    # All data is copied; what is left is renaming, in an order in which an interrupted restore leaves
    # nothing that a service would start with.
    restored = {entry.path for _, found in backups for entry in found.files}
    for one in kept:
        if one.name in restored:
            disk.make_folder(one.path.parent)
            (staging / one.name).rename(one.path)
            disk.flush(one.path.parent)
    shutil.rmtree(staging)
    disk.flush(root)
    disk.flush(root.absolute().parent)
