"""Galleries on disk, ready to be mapped and scored, in DIR/cache/<collection>/; an LRU cache."""

from __future__ import annotations

import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.packing.segments import SegmentId
from blindsight.runtime import logs
from services.evaluator import metrics
from services.evaluator.galleries import manifest
from services.evaluator.galleries.manifest import SegmentFile, Snapshot


class GalleryCache:
    """The cache of snapshots that are ready, and of their files.

    A file is deleted once no published snapshot has it and no running search has leased it.

    Args:
        folder: for the collections' folders; used by this object only.
        limit_bytes: of all files; over it the least recently used collections are evicted.  One collection
            is kept whatever its size.
        forget: called with the paths of deleted files, so that they are unmapped.
    """

    def __init__(self, folder: Path, limit_bytes: int, forget: Callable[[list[Path]], None]) -> None:
        self._folder = folder
        self._limit = limit_bytes
        metrics.CACHE_LIMIT_BYTES.set(limit_bytes)
        self._forget = forget
        self._ready: dict[bytes, Snapshot] = {}  # least recently used first
        self._leases: Counter[Path] = Counter()
        self._doomed: set[Path] = set()

    def load(self) -> None:
        """Loads what an earlier process left; deletes damaged galleries, which are rebuilt when needed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = []
        for folder in sorted(self._folder.iterdir()):
            try:
                found.append(((folder / manifest.NAME).stat().st_mtime_ns, manifest.read(folder)))
            except (DataLoss, OSError):
                logs.get().warning("cache_dropped", cause="damaged")
                _remove(folder)
        for _, snapshot in sorted(found, key=lambda pair: pair[0]):
            self._ready[snapshot.record.collection_id] = snapshot
            kept = {segment.path.name for segment in snapshot.segments} | {manifest.NAME}
            for path in self.folder(snapshot.record.collection_id).iterdir():
                if path.name not in kept:
                    _remove(path)
        self._evict()

    @property
    def snapshots(self) -> Iterable[Snapshot]:
        """The newest snapshots of all cached collections."""
        return self._ready.values()

    @property
    def size_bytes(self) -> int:
        """Size of all files."""
        return sum(snapshot.size_bytes for snapshot in self._ready.values())

    @property
    def full(self) -> bool:
        """Whether the cache has reached its limit, so that another gallery would evict one."""
        return self.size_bytes >= self._limit

    def folder(self, collection_id: bytes) -> Path:
        """Returns a collection's folder."""
        return self._folder / collection_id.hex()

    def new_path(self, collection_id: bytes, key: SegmentId, sequence: int) -> Path:
        """Returns a path that no file ever had, so that a path always stands for the same contents."""
        folder = self.folder(collection_id)
        folder.mkdir(exist_ok=True)
        name = f"{key.region.name.lower()}-{key.index:08d}.{sequence:012d}.{secrets.token_hex(4)}.seg"
        return folder / name

    def get(self, collection_id: bytes) -> Snapshot | None:
        """Returns the newest snapshot of a collection and marks it as used; None if it is not cached."""
        snapshot = self._ready.pop(collection_id, None)
        if snapshot is not None:
            self._ready[collection_id] = snapshot
        return snapshot

    @contextmanager
    def lease(self, snapshot: Snapshot) -> Iterator[Snapshot]:
        """Keeps a snapshot's files while the block runs."""
        paths = [segment.path for segment in snapshot.segments]
        self._leases.update(paths)
        try:
            yield snapshot
        finally:
            self._leases.subtract(paths)
            self._leases += Counter()  # drops the paths without leases
            self._delete([path for path in paths if path in self._doomed])
            self._evict()

    def publish(self, snapshot: Snapshot) -> None:
        """Makes a snapshot the newest of its collection."""
        identity = snapshot.record.collection_id
        self.folder(identity).mkdir(exist_ok=True)
        manifest.write(self.folder(identity), snapshot)
        old = self._ready.pop(identity, None)
        self._ready[identity] = snapshot
        if old is not None:
            self._delete(_paths(old.segments) - _paths(snapshot.segments))
        self._evict()

    def drop(self, collection_id: bytes) -> None:
        """Removes a collection; running searches that lease it are not disturbed."""
        snapshot = self._ready.pop(collection_id, None)
        if snapshot is None:
            return
        (self.folder(collection_id) / manifest.NAME).unlink(missing_ok=True)
        self._delete(_paths(snapshot.segments))
        _remove_if_empty(self.folder(collection_id))
        self._measure()

    def discard(self, paths: Iterable[Path]) -> None:
        """Deletes files that were built but not published."""
        self._delete(paths)

    def _delete(self, paths: Iterable[Path]) -> None:
        chosen = list(paths)
        self._doomed.update(chosen)
        free = [path for path in chosen if not self._leases[path]]
        for path in free:
            path.unlink(missing_ok=True)
        self._doomed.difference_update(free)
        if free:
            self._forget(free)

    def _evict(self) -> None:
        for identity, snapshot in list(self._ready.items())[:-1]:
            if self.size_bytes <= self._limit:
                break
            if not any(self._leases[segment.path] for segment in snapshot.segments):
                logs.get().info("cache_evicted", bytes=snapshot.size_bytes)
                metrics.CACHE_EVICTIONS.inc()
                self.drop(identity)
        self._measure()

    def _measure(self) -> None:
        metrics.CACHE_BYTES.set(self.size_bytes)
        metrics.CACHE_COLLECTIONS.set(len(self._ready))
        metrics.CACHE_SEGMENTS.set(sum(len(snapshot.segments) for snapshot in self._ready.values()))


def _paths(segments: Iterable[SegmentFile]) -> set[Path]:
    return {segment.path for segment in segments}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _remove_if_empty(folder: Path) -> None:
    try:
        folder.rmdir()
    except OSError:
        return  # a search still leases a file of it; the next start removes it
