"""The audit log on the disk: a chain that goes on, and what of it was tampered with is said."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.keysets import shared_key_set

from blindsight.errors import ResourceExhausted
from blindsight.trusted.audit.files import HEAD_NAME, HeadFile, chain_key, record_files
from blindsight.trusted.audit.records import Entry, Point, line
from blindsight.trusted.audit.verifying import Fault, Verification
from blindsight.trusted.keyring import keys as key_sets
from blindsight.trusted.keyring.keys import KeySet
from services.keyholder.audit import log as module
from services.keyholder.audit.log import AuditLog

KEYS = shared_key_set()
MOST = 1 << 30
NOW = 1_800_000_000.0


def opened(folder: Path, keys: KeySet = KEYS, most_bytes: int = MOST, days: float = 0) -> AuditLog:
    return AuditLog(folder, keys, most_bytes, days, lambda: NOW)


def entry(number: int) -> Entry:
    return Entry(
        "counted", int(NOW * 1000), token=f"{number:012x}", role="owner", rpc="KeyholderService/Search"
    )


def written(folder: Path, *files: int) -> Path:
    """A log of some files with so many records each, one after the other."""
    number = 0
    for count in files:
        with closing(opened(folder)) as log:  # each process begins a file of its own
            for _ in range(count):
                number += 1
                log.write([entry(number)])
    return folder


def faults(folder: Path, expected: Point | None = None, keys: KeySet = KEYS) -> list[tuple[str, int]]:
    return [(fault.kind, fault.number) for fault in found(folder, expected, keys)]


def found(folder: Path, expected: Point | None = None, keys: KeySet = KEYS) -> list[Fault]:
    head_file = HeadFile(folder, keys)
    head = head_file.read()
    verification = Verification(
        record_files(folder), head, chain_key(keys), expected, half_damaged=head_file.half_damaged
    )
    for _ in verification.run():
        pass
    return verification.faults


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def change(folder: Path, file: int, how: Callable[[list[bytes]], object]) -> None:
    path = record_files(folder)[file]
    now = lines(path)
    how(now)
    path.write_bytes(b"".join(now))


def test_a_log_goes_on_over_files_and_processes_and_is_right(tmp_path: Path) -> None:
    written(tmp_path, 3, 1, 4)
    assert [len(lines(path)) for path in record_files(tmp_path)] == [3, 1, 4]
    assert faults(tmp_path) == []
    with closing(opened(tmp_path)) as log:
        assert log.damage == ""
        assert [one.entry.token for one in log.newest_first(None)] == [f"{n:012x}" for n in range(8, 0, -1)]
        assert [one.point.number for one in log.newest_first(4)] == [3, 2, 1]


def altered(records: list[bytes]) -> None:
    records[1] = records[1].replace(b'"owner"', b'"nobod"')


def forged(records: list[bytes]) -> None:
    """A chain that is right for somebody who has the file, and not the key."""
    said = json.loads(records[0])
    other = key_sets.create()
    text, _ = line(entry(77), Point(1, bytes.fromhex(said["chain"])), chain_key(other))
    records[1] = text


def put_in(records: list[bytes]) -> None:
    records.insert(2, records[1].replace(b'"owner"', b'"nobod"'))


CHANGES = [
    (altered, [("altered", 5)]),
    (forged, [("altered", 5)]),
    (put_in, [("inserted", 5)]),
    (lambda records: records.pop(1), [("missing", 5)]),
    (lambda records: records.__delitem__(slice(1, 3)), [("missing", 5)]),
    (lambda records: records.insert(1, records.pop(2)), [("reordered", 5)]),
    (lambda records: records.append(records[1]), [("inserted", 5)]),
    (lambda records: records.clear(), [("missing", 4)]),
]


@pytest.mark.parametrize(("how", "said"), CHANGES)
def test_what_was_done_to_the_middle_is_said(tmp_path: Path, how, said: list[tuple[str, int]]) -> None:
    written(tmp_path, 3, 4, 3)
    change(tmp_path, 1, how)
    assert faults(tmp_path) == said


def test_a_missing_file_is_said_with_its_records(tmp_path: Path) -> None:
    written(tmp_path, 3, 4, 3)
    record_files(tmp_path)[1].unlink()
    assert [(one.number, one.what) for one in found(tmp_path)] == [(4, "records 4 to 7 are missing: dropped")]


def test_the_oldest_file_cannot_be_deleted_unnoticed(tmp_path: Path) -> None:
    written(tmp_path, 3, 4)
    record_files(tmp_path)[0].unlink()
    assert faults(tmp_path) == [("missing", 1)]


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_a_tail_that_is_cut_off_is_said_and_stays_so_when_the_keyholder_goes_on(
    tmp_path: Path, kept: int
) -> None:
    written(tmp_path, 3, 3)
    change(tmp_path, 1, lambda records: records.__delitem__(slice(kept, None)))
    (fault,) = found(tmp_path)
    assert (fault.kind, fault.number) == ("cut off", 4 + kept)
    assert fault.what.endswith("missing at the end: the log was cut off")
    with closing(opened(tmp_path)) as log:
        assert "was the last, is not there" in log.damage
        log.write([entry(7)])
    assert faults(tmp_path) == [("missing", 4 + kept)]


def test_a_log_and_head_that_were_set_back_are_noticed_by_who_noted_the_end(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (path,), head = record_files(tmp_path), tmp_path / HEAD_NAME
    before = path.read_bytes(), head.read_bytes()
    with closing(opened(tmp_path)) as log:
        log.write([entry(4)])
        noted = log.head.point
    assert faults(tmp_path, noted) == []
    record_files(tmp_path)[1].unlink()
    path.write_bytes(before[0])
    head.write_bytes(before[1])
    assert faults(tmp_path) == []  # without the note nothing is there to tell it by
    assert faults(tmp_path, noted) == [("set back", 4)]
    with closing(opened(tmp_path)) as log:
        log.write([entry(5)])
    assert faults(tmp_path, noted) == [("set back", 4)]


def test_records_of_another_history_do_not_follow(tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    for folder in (ours, theirs):
        folder.mkdir()
        written(folder, 1)
    with closing(opened(ours)) as log:
        log.write([entry(99)])
        log.write([entry(3)])
    with closing(opened(theirs)) as log:
        log.write([entry(2)])
    swapped = lines(record_files(theirs)[1])[0]  # of the same vault, and of the same number
    change(ours, 1, lambda records: records.__setitem__(0, swapped))
    assert faults(ours) == [("forked", 3)]


def test_another_vaults_log_is_none(tmp_path: Path) -> None:
    other = key_sets.create()
    for name, keys in (("ours", KEYS), ("theirs", other)):
        (tmp_path / name).mkdir()
        with closing(opened(tmp_path / name, keys)) as log:
            for number in range(3):
                log.write([entry(number)])
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    record_files(ours)[0].write_bytes(record_files(theirs)[0].read_bytes())
    assert faults(ours) == [("altered", 1), ("altered", 2), ("altered", 3)]
    (ours / HEAD_NAME).write_bytes((theirs / HEAD_NAME).read_bytes())
    with closing(opened(ours)) as log:
        assert "of another vault" in log.damage


@pytest.mark.parametrize("torn", [b'{"number":4', b"\0" * 64 + b"\n", b""])
def test_what_a_crash_left_behind_the_head_is_cut_off_and_the_chain_is_right(
    tmp_path: Path, torn: bytes
) -> None:
    written(tmp_path, 3)
    head = (tmp_path / HEAD_NAME).read_bytes()
    with closing(opened(tmp_path)) as log:
        log.write([entry(4)])
    # The record came to the disk, and the head did not.
    fourth = record_files(tmp_path)[1]
    whole = fourth.read_bytes()
    (tmp_path / HEAD_NAME).write_bytes(head)
    fourth.write_bytes(whole + torn)
    with closing(opened(tmp_path)) as log:
        assert log.damage == ""
        log.write([entry(5)])
        assert log.head.point.number == 5
    assert fourth.read_bytes() == whole
    assert faults(tmp_path) == []


def test_a_file_in_which_nothing_was_told_of_is_removed(tmp_path: Path) -> None:
    written(tmp_path, 3)
    path = tmp_path / "audit" / f"{4:012d}.jsonl"
    path.write_bytes(b'{"number":4,"ev')
    with closing(opened(tmp_path)) as log:
        assert log.damage == ""
        log.write([entry(4)])
    assert faults(tmp_path) == []


def damaged_head(folder: Path, place: int) -> None:
    path = folder / HEAD_NAME
    data = bytearray(path.read_bytes())
    data[place * 512 + 20] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("count", [4, 5])
def test_a_head_that_was_being_written_at_a_crash_leaves_the_one_before(tmp_path: Path, count: int) -> None:
    written(tmp_path, count)
    damaged_head(tmp_path, (count - 1) % 2)  # the place that was written last
    assert faults(tmp_path) == []
    with closing(opened(tmp_path)) as log:
        assert log.damage == ""
        assert log.head.point.number == count  # the record was on the disk already
        log.write([entry(count + 1)])
    assert faults(tmp_path) == []


@pytest.mark.parametrize("count", [4, 5])
def test_a_place_of_the_head_that_was_damaged_to_cut_off_the_end_is_said(tmp_path: Path, count: int) -> None:
    written(tmp_path, count)
    damaged_head(tmp_path, (count - 1) % 2)
    (path,) = record_files(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert faults(tmp_path) == [("head", count - 1)]
    with closing(opened(tmp_path)) as log:
        assert "may have been cut off" in log.damage


def test_a_head_that_is_gone_is_said(tmp_path: Path) -> None:
    written(tmp_path, 3)
    (tmp_path / HEAD_NAME).unlink()
    assert faults(tmp_path) == [("head", 3)]
    with closing(opened(tmp_path)) as log:
        assert "is missing" in log.damage
        log.write([Entry("opened", 1, outcome="DATA_LOSS")])  # as the keyholder does
    assert faults(tmp_path) == [("damaged", 4)]


def test_old_files_go_for_room_and_the_rest_is_right(tmp_path: Path) -> None:
    most = 64 << 10
    with closing(opened(tmp_path, most_bytes=most)) as log:
        for number in range(600):
            log.write([entry(number)])
        assert sum(path.stat().st_size for path in record_files(tmp_path)) <= most
        assert log.head.first > 1
        assert [one.entry.first for one in log.newest_first(None) if one.entry.event == "retired"]
        assert list(log.newest_first(None))[-1].point.number == log.head.first
    assert faults(tmp_path) == []
    record_files(tmp_path)[0].unlink()
    assert [kind for kind, _ in faults(tmp_path)] == ["missing"]


def test_files_go_for_their_age_and_none_while_somebody_reads(tmp_path: Path) -> None:
    written(tmp_path, 2, 2)
    for path in record_files(tmp_path):
        os.utime(path, (NOW - 10 * 86400, NOW - 10 * 86400))
    with closing(opened(tmp_path, days=9)) as log:
        reading = log.newest_first(None)
        next(reading)
        log.write([entry(5)])
        assert len(record_files(tmp_path)) == 3
        assert len([*reading]) == 3
        os.utime(record_files(tmp_path)[2], (NOW, NOW))
    with closing(opened(tmp_path, days=9)) as log:
        log.write([entry(6)])
        assert log.head.first == 5
    assert faults(tmp_path) == []


def test_a_full_disk_is_said_and_leaves_no_half_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, 2)
    with closing(opened(tmp_path)) as log:
        log.write([entry(3)])
        real = os.write

        def half(handle: int, data: bytes) -> int:
            if len(data) > 20:
                return real(handle, data[:20])
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(module.os, "write", half)
            with pytest.raises(ResourceExhausted, match="the audit log cannot be written: No space left"):
                log.write([entry(4), entry(5)])
        assert log.head.point.number == 3
        log.write([entry(4)])
    assert faults(tmp_path) == []
