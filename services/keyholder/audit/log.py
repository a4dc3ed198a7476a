"""The audit log on the disk: records are appended, files begun and retired, and the head kept."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from blindsight.errors import DataLoss, ResourceExhausted
from blindsight.runtime import logs
from blindsight.trusted.audit.files import (
    FOLDER_NAME,
    HALF_DAMAGED,
    HEAD_NAME,
    HeadFile,
    chain_key,
    file_of,
    record_files,
)
from blindsight.trusted.audit.files import Head as LogHead
from blindsight.trusted.audit.records import Entry, Point, Record, line, parsed
from blindsight.trusted.audit.verifying import Verification
from blindsight.trusted.keyring.keys import KeySet

_MOST_FILE_BYTES = 8 << 20
_FILES = 16  # at least so many share the room, so that the oldest can go one by one
_DAY_SECONDS = 86_400
RESERVE_NAME = "reserve"
_RESERVE_BYTES = 1 << 20
_FULL = (errno.ENOSPC, errno.EDQUOT)
KEYHOLDER = "keyholder"  # the role in records of its own doings


class Reserve:
    """Room on the disk that is taken while there is some, for records of what is done when there is none.

    Args:
        path: of the file that takes it.

    Attributes:
        kept: whether it is taken.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.kept = False
        self.keep()

    def keep(self) -> None:
        """Takes the room, unless it is taken, or is not there."""
        if self.kept:
            return
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(handle, 0, _RESERVE_BYTES)
                self.kept = True
            finally:
                os.close(handle)
        except OSError:
            self.release()

    def release(self) -> bool:
        """Gives the room back; returns whether it was taken."""
        was, self.kept = self.kept, False
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
        return was


class AuditLog:
    """The log of one vault.  Blocking; safe to use from several threads of one process.

    It goes on behind what its head tells of, whatever became of the records: then `damage` says so, and every
    verification.

    Args:
        folder: the keyholder's.
        keys: of the vault.
        most_bytes: of all files; the oldest are deleted for room.
        keep_days: files whose records are all older are deleted; 0: none is.
        clock: returns the seconds since 1970.

    Attributes:
        damage: what was found wrong when it was opened; empty if nothing was.
    """

    def __init__(
        self,
        folder: Path,
        keys: KeySet,
        most_bytes: int,
        keep_days: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._key = chain_key(keys)
        self._head_file = HeadFile(folder, keys)
        self._most_bytes = most_bytes
        self._keep_seconds = keep_days * _DAY_SECONDS
        self._clock = clock
        self._lock = threading.Lock()
        self._readers = 0
        self._file_bytes = min(_MOST_FILE_BYTES, most_bytes // _FILES)
        (folder / FOLDER_NAME).mkdir(mode=0o700, exist_ok=True)
        self._reserve = Reserve(folder / FOLDER_NAME / RESERVE_NAME)
        self.damage = ""
        self._head = self._opened()
        self._handle, self._size, self._file_ends, self._begun = -1, 0, 0.0, False

    def _opened(self) -> LogHead:
        """Returns where the log goes on, and notes what is wrong with its end."""
        paths = record_files(self._folder)
        try:
            head = self._head_file.read()
        except DataLoss as error:
            head, self.damage = None, error.message
        if head is None:
            if not paths:
                return LogHead()
            self.damage = self.damage or f"{HEAD_NAME} is missing"
            head = LogHead(first=int(paths[0].stem))
        for path in reversed(paths):
            point = self._end_of(path, head.point.number)
            if point is not None:
                if point.number == head.point.number != 0 and point != head.point:
                    self.damage = f"record {point.number} is not the one that was written last"
                    return head
                if point == head.point and self._head_file.half_damaged:
                    self.damage = HALF_DAMAGED
                return LogHead(point, head.first)
            if int(path.stem) <= head.point.number:
                break
            path.unlink()  # nothing in it was told of: the process ended while it was written
        if head.point.number:
            self.damage = self.damage or f"record {head.point.number}, which was the last, is not there"
        return head

    def _end_of(self, path: Path, least: int) -> Point | None:
        """Returns the last record of a file; None if there is none from number `least` on.

        What is behind it was not told of: half a line, or what a power failure left.  It is cut off.
        """
        found, at, end = None, 0, 0
        with path.open("rb") as file:
            for text in file:
                at += len(text)
                record = parsed(text.removesuffix(b"\n"), self._key) if text.endswith(b"\n") else None
                if record is not None and record.point.number >= least:
                    found, end = record.point, at
        if found is not None and end < path.stat().st_size:
            os.truncate(path, end)
        return found

    @property
    def head(self) -> LogHead:
        """How far the log goes."""
        return self._head

    def write(self, entries: Sequence[Entry]) -> None:
        """Appends records; they are on the disk when this returns, or none of them is there.

        Raises:
            ResourceExhausted: if they cannot be written.
        """
        with self._lock:
            try:
                self._append_somehow(entries)
            except OSError as error:
                raise ResourceExhausted(
                    f"the audit log cannot be written: {error.strerror}; what is not on record is not done"
                ) from error
            if self._begun:
                self._begun = False
                self._retire()

    def _append_somehow(self, entries: Sequence[Entry]) -> None:
        """Appends records, on a full disk in the place of the reserve."""
        try:
            self._append(entries)
        except OSError as error:
            self._cut()
            if error.errno not in _FULL or not self._reserve.release():
                raise
            logs.get().error("audit_on_reserve")
            try:
                self._append(entries)
            except OSError:
                self._cut()
                raise
        else:
            self._reserve.keep()

    @property
    def on_reserve(self) -> bool:
        """Whether the disk is full, and the log has taken what was reserved for that."""
        return not self._reserve.kept

    def _append(self, entries: Sequence[Entry]) -> None:
        point, lines = self._head.point, list[bytes]()
        for entry in entries:
            text, point = line(entry, point, self._key)
            lines.append(text)
        data = b"".join(lines)
        now = self._clock()
        if self._handle < 0 or self._size + len(data) > self._file_bytes or now >= self._file_ends:
            self._begin_file()
            self._file_ends = now + _DAY_SECONDS
        written = 0
        while written < len(data):
            written += os.write(self._handle, data[written:])
        os.fdatasync(self._handle)
        head = LogHead(point, self._head.first)
        self._head_file.write(head)
        self._head, self._size = head, self._size + len(data)

    def _cut(self) -> None:
        """Takes back what a failed write left of its records, which nobody was told of."""
        if self._handle >= 0:
            try:
                os.ftruncate(self._handle, self._size)
            except OSError:
                logs.get().error("audit_not_cut")
            self._close()

    def _begin_file(self) -> None:
        """Begins a file behind all others."""
        self._close()
        path = file_of(self._folder, self._head.point.number + 1)
        self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._size, self._begun = 0, True
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _retire(self) -> None:
        """Deletes the oldest files for their age, or for room; the head says so before they are gone."""
        paths = record_files(self._folder)
        left = sum(path.stat().st_size for path in paths) + self._file_bytes
        doomed = list[Path]()
        for path in paths[:-1] if not self._readers else ():
            old = self._keep_seconds and path.stat().st_mtime < self._clock() - self._keep_seconds
            if not old and left <= self._most_bytes:
                break
            left -= path.stat().st_size
            doomed.append(path)
        if not doomed:
            return
        try:
            first = int(paths[len(doomed)].stem)
            self._head = LogHead(self._head.point, first)
            self._append([Entry("retired", int(self._clock() * 1000), role=KEYHOLDER, first=first)])
            for path in doomed:
                path.unlink(missing_ok=True)
        except OSError as error:
            self._cut()
            logs.get().warning("audit_not_retired", reason=type(error).__name__)

    @contextmanager
    def _reading(self) -> Iterator[tuple[list[Path], LogHead]]:
        """Gives the files and the head to the block; none of them is deleted meanwhile."""
        with self._lock:
            self._readers += 1
            files, head = record_files(self._folder), self._head
        try:
            yield files, head
        finally:
            with self._lock:
                self._readers -= 1

    def newest_first(self, before: int | None) -> Iterator[Record]:
        """Yields the records, the newest first; those that were altered are left out.

        Args:
            before: only those of lower numbers; None: all.
        """
        with self._reading() as (paths, head):
            end = head.point.number + 1 if before is None else min(before, head.point.number + 1)
            for path in reversed(paths):
                if int(path.stem) >= end:
                    continue
                for text in reversed(path.read_bytes().splitlines()):
                    record = parsed(text, self._key)
                    if record is not None and head.first <= record.point.number < end:
                        yield record

    def verify(self, expected: Point | None = None) -> Iterator[Verification]:
        """Yields a verification again and again while it goes on; the last time it is done.

        Args:
            expected: what was the end of the log once; None: that is not known.
        """
        with self._reading() as (paths, head):
            verification = Verification(paths, head, self._key, expected)
            for _ in verification.run():
                yield verification

    def close(self) -> None:
        """Closes the files."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
