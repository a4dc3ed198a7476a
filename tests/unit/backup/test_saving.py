"""From a data folder to a backup: all of it, of one moment, or nothing."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import threading
from contextlib import closing

import pytest
from support.backups import files, interrupting

from blindsight.backup import disk
from blindsight.backup.checking import check
from blindsight.backup.parts import Database
from blindsight.backup.saving import save
from blindsight.backup.snapshots import moment
from blindsight.errors import (
    AlreadyExists,
    DataLoss,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
)
from services.storage.stores import STORES

NAMES = {
    "storage/storage.sqlite3",
    "queue/ingest.db",
    "keyholder/jobs.db",
    "keyholder/keys.bsky",
    "keyholder/passphrase",
}


def test_a_backup_says_what_it_holds(data, kept, tmp_path):
    steps = []
    made = save(kept(data), tmp_path / "new" / "copy", lambda *step: steps.append(step))
    assert {entry.path for entry in made.files} == NAMES
    assert files(tmp_path / "new" / "copy") == NAMES | {"manifest.json"}
    counted = {name: made.count(name) for name in ("collections", "items", "messages", "imports", "waiting")}
    assert counted == {"collections": 0, "items": 0, "messages": 3, "imports": 2, "waiting": 0}
    assert check(tmp_path / "new" / "copy", kept(data)) == made
    assert steps[-1][0] == steps[-1][1]
    assert steps == sorted(steps)


def test_a_backup_is_its_owners_alone(copied):
    for path in (copied, *copied.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_a_copy_of_storage_is_leased_to_nobody_and_its_tokens_go_on(data, kept, tmp_path):
    keys, holder = b"a key's sixteen.", b"a holder's......"
    with closing(STORES["sqlite"](data / "storage", 0, 0)) as store:
        store.take_lease(keys, holder)
        save(kept(data), tmp_path / "copied")
        assert store.lease(keys) == (1, holder)
    with closing(STORES["sqlite"](tmp_path / "copied" / "storage", 0, 0)) as store:
        assert store.lease(keys) == (1, b"")


def test_what_is_not_there_and_need_not_be_is_left_out(data, kept, tmp_path):
    shutil.rmtree(data / "queue")
    (data / "keyholder" / "passphrase").unlink()
    made = save(kept(data), tmp_path / "copy")
    assert {entry.path for entry in made.files} == NAMES - {"queue/ingest.db", "keyholder/passphrase"}


@pytest.mark.parametrize("name", ["storage/storage.sqlite3", "keyholder/keys.bsky"])
def test_without_what_a_zone_is_nothing_without_there_is_no_backup(data, kept, tmp_path, name):
    (data / name).unlink()
    with pytest.raises(NotFound, match=name):
        save(kept(data), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_folder_with_something_in_it_is_left_as_it_is(data, kept, tmp_path):
    (tmp_path / "mine.txt").write_text("kept")
    with pytest.raises(AlreadyExists, match="not empty"):
        save(kept(data), tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_a_place_that_is_a_file_is_one_line(data, kept, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match="Not a directory"):
        save(kept(data), tmp_path / "file")


def newer(path):
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA user_version = 9")


def foreign(path):
    path.unlink()
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("CREATE TABLE other (thing)")


def scribbled(path):
    path.write_bytes(b"no database at all" * 1000)


def torn(path):
    """Its header is whole, and a page in the middle is not."""
    data = bytearray(path.read_bytes())
    data[8192:12288] = b"x" * 4096
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "error", "said"),
    [
        (newer, InvalidArgument, "schema version 9, newer than this program's 3"),
        (foreign, DataLoss, "no database of Blindsight"),
        (scribbled, DataLoss, "damaged"),
        (torn, DataLoss, "damaged"),
    ],
)
def test_a_database_that_cannot_be_copied_whole_leaves_no_backup(data, kept, tmp_path, harm, error, said):
    harm(data / "keyholder" / "jobs.db")
    with pytest.raises(error, match=said):
        save(kept(data), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_backup_that_is_interrupted_at_any_step_leaves_nothing(data, kept, tmp_path):
    steps = []
    save(kept(data), tmp_path / "whole", lambda *step: steps.append(step))
    (tmp_path / "mine").mkdir()
    for last in range(1, len(steps) + 1):
        for place in (tmp_path / "new", tmp_path / "mine"):
            with pytest.raises(KeyboardInterrupt):
                save(kept(data), place, interrupting(at=last))
        assert not (tmp_path / "new").exists()
        assert not files(tmp_path / "mine")


def test_a_backup_that_a_kill_cut_off_is_none(copied, kept):
    (copied / "manifest.json").rename(copied / ".manifest")
    with pytest.raises(NotFound, match="was not finished"):
        check(copied, kept(copied))


def test_a_database_that_somebody_writes_to_for_ever_is_given_up(data, kept, tmp_path, monkeypatch):
    monkeypatch.setattr("blindsight.backup.snapshots._WAIT_SECONDS", 0.0)
    with closing(sqlite3.connect(data / "queue" / "ingest.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        with pytest.raises(Unavailable, match="does not answer"):
            save(kept(data), tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_disk_without_room_is_said_before_anything_is_copied(tmp_path):
    with pytest.raises(ResourceExhausted, match="MiB free"):
        disk.require_room(tmp_path, 1 << 60)


def test_several_databases_are_copied_as_they_were_at_one_moment(tmp_path):
    """A writer goes from one to the next, and never is one of them ahead of those before it."""
    part = Database("counter", 0, counts={"reached": "SELECT number FROM counter"})
    paths = [tmp_path / name for name in ("first", "second", "third")]
    databases = []
    for path in paths:
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        db.executescript("PRAGMA journal_mode = WAL; CREATE TABLE counter AS SELECT 0 AS number")
        db.execute("PRAGMA synchronous = OFF")
        databases.append(db)
    ended = threading.Event()

    def count():
        while not ended.is_set():
            for db in databases:
                db.execute("UPDATE counter SET number = number + 1")

    writer = threading.Thread(target=count)
    writer.start()
    seen = []
    try:
        for _ in range(100):
            with moment([(part, path) for path in paths]) as snapshots:
                seen.append(tuple(snapshot.counts["reached"] for snapshot in snapshots))
    finally:
        ended.set()
        writer.join()
        for db in databases:
            db.close()
    assert seen[-1][0] > seen[0][0]
    for first, second, third in seen:
        assert first >= second >= third >= first - 1


def test_a_manifest_is_json_that_people_can_read(copied):
    document = json.loads((copied / "manifest.json").read_text())
    assert document["manifest"]["format"] == 1
    assert all(len(one["sha256"]) == 64 for one in document["manifest"]["files"])
