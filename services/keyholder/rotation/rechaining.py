"""The audit log under other keys: every record is chained anew, and what was wrong with the log stays so."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from blindsight.errors import DataLoss
from blindsight.trusted.audit.files import FOLDER_NAME, HeadFile, chain_key, file_of, record_files
from blindsight.trusted.audit.records import Point, Record, line, parsed
from blindsight.trusted.keyring.keys import KeySet


def rechain(data: Path, folder: Path, old: KeySet, new: KeySet, twins: Mapping[bytes, bytes]) -> None:
    """Writes the records of one folder into another, about the copies of collections instead of these.

    A line that the keyholder did not write stays as it is, and is none of the new log either.
    """
    shutil.rmtree(folder / FOLDER_NAME, ignore_errors=True)  # of a try that was cut off
    (folder / FOLDER_NAME).mkdir(mode=0o700)
    try:
        head = HeadFile(data, old).read()
    except DataLoss:
        head = None  # the damaged one stays
    chaining = _Chaining(old, new, {one.hex(): twin.hex() for one, twin in twins.items()})
    for path in record_files(data):
        made = file_of(folder, int(path.stem))
        texts = path.read_bytes().splitlines()
        made.touch(mode=0o600)
        made.write_bytes(b"".join(map(chaining.line, texts)))
        times = path.stat()
        os.utime(made, ns=(times.st_atime_ns, times.st_mtime_ns))  # by which old files go
        if head is not None and head.point == chaining.before:
            head = replace(head, point=chaining.after)
    if head is not None:
        HeadFile(folder, new).write(head)


class _Chaining:
    """Chains records anew, one after another.

    Args:
        named: ids in hex that records get instead of others.

    Attributes:
        before, after: the last record's place, as it was, and as it is now.
    """

    def __init__(self, old: KeySet, new: KeySet, named: Mapping[str, str]) -> None:
        self._keys = chain_key(old), chain_key(new)
        self._named = named
        self.before = self.after = Point()

    def line(self, text: bytes) -> bytes:
        record = parsed(text, self._keys[0])
        return self._anew(record) if record is not None else text + b"\n"

    def _anew(self, record: Record) -> bytes:
        chain = self.after.chain if record.after == self.before.chain else record.after
        collections = tuple(self._named.get(one, one) for one in record.entry.collections)
        entry = replace(record.entry, collections=collections)
        made, place = line(entry, Point(record.point.number - 1, chain), self._keys[1])
        self.before, self.after = record.point, place
        return made
