"""From a backup to a data folder: what is not exactly as it was written is refused before anything is."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import stat
from contextlib import closing

import pytest
from support.backups import admit, files, interrupting, rewrite

from blindsight.backup.checking import check
from blindsight.backup.restoring import restore
from blindsight.backup.saving import save
from blindsight.errors import AlreadyExists, DataLoss, InvalidArgument, NotFound, Unavailable
from blindsight.trusted.queue import open_queue
from services.keyholder.jobs.store import JobStore
from services.storage.stores import STORES
from services.storage.stores.sqlite.connections import SCHEMA

DATABASES = ("storage/storage.sqlite3", "queue/ingest.db", "keyholder/jobs.db")


def test_what_comes_back_is_what_was_there_and_its_owners_alone(data, copied, kept, tmp_path):
    steps = []
    root = tmp_path / "new" / "data"
    (found,) = restore([copied], kept(root), root, lambda *step: steps.append(step))
    assert files(root) == {entry.path for entry in found.files}
    for name in ("keys.bsky", "passphrase"):
        assert (root / "keyholder" / name).read_bytes() == (data / "keyholder" / name).read_bytes()
    for path in (root, *root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert steps[-1][0] == steps[-1][1] == 2 * found.size_bytes
    STORES["sqlite"](root / "storage", 0, 0).close()
    with open_queue(f"embedded:{root / 'queue' / 'ingest.db'}") as queue:
        assert queue.depth().ready == 3
    with closing(JobStore(root / "keyholder" / "jobs.db")) as jobs:
        assert [job.request_id for job in jobs.page(9)[0]] == ["second", "first"]


def test_a_backup_of_each_zone_makes_one_vault(data, kept, tmp_path):
    zones = {
        zone: save([one for one in kept(data) if one.service.zone == zone], tmp_path / zone)
        for zone in ("trusted", "untrusted")
    }
    assert not any(entry.path.startswith("keyholder") for entry in zones["untrusted"].files)
    root = tmp_path / "new"
    assert restore([tmp_path / "trusted", tmp_path / "untrusted"], kept(root), root) == list(zones.values())
    assert files(root) == files(data) - {"storage/lock", "queue/ingest.db.lock"}


def test_the_same_zone_twice_is_refused(copied, kept, tmp_path):
    root = tmp_path / "new"
    with pytest.raises(InvalidArgument, match="is in two of the backups"):
        restore([copied, copied], kept(root), root)


# --- damage ------------------------------------------------------------------------------------


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1])


def link(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def link_folder(path):
    moved = path.parent.parent.parent / "outside"
    path.parent.rename(moved)
    path.parent.symlink_to(moved)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def swap(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [flip, shorten, link, link_folder, pipe, swap, os.unlink])
@pytest.mark.parametrize("name", ["storage/storage.sqlite3", "keyholder/keys.bsky"])
def test_a_file_that_is_not_as_it_was_written_is_refused(copied, kept, tmp_path, name, harm):
    harm(copied / name)
    root = tmp_path / "new"
    with pytest.raises(DataLoss):
        restore([copied], kept(root), root)
    assert not root.exists()


@pytest.mark.parametrize("harm", [flip, shorten, lambda path: path.write_bytes(b"[]")])
def test_a_manifest_that_is_not_as_it_was_written_is_refused(copied, kept, tmp_path, harm):
    path = copied / "manifest.json"
    path.write_bytes(path.read_bytes().rstrip())  # or the last byte is not missed
    harm(path)
    root = tmp_path / "new"
    with pytest.raises(DataLoss, match=r"manifest\.json is damaged"):
        restore([copied], kept(root), root)
    assert not root.exists()


@pytest.mark.parametrize("name", ["extra", "keyholder/extra", "other/extra", "keyholder/deeper/extra"])
def test_a_file_that_the_manifest_does_not_name_is_refused(copied, kept, name):
    (copied / name).parent.mkdir(parents=True, exist_ok=True)
    (copied / name).touch()
    with pytest.raises(DataLoss, match="not in the manifest"):
        check(copied, kept(copied))


def test_a_folder_without_a_manifest_and_no_folder_at_all_are_no_backups(kept, tmp_path):
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(NotFound, match="it is not a backup, or one that was not finished"):
            check(place, kept(tmp_path))


@pytest.mark.parametrize("name", DATABASES)
def test_a_database_that_was_damaged_before_its_digest_was_taken_is_refused(copied, kept, tmp_path, name):
    (copied / name).write_bytes(b"no database at all" * 100)
    admit(copied, name)
    root = tmp_path / "new"
    with pytest.raises(DataLoss, match="damaged"):
        restore([copied], kept(root), root)
    assert not root.exists()


def test_checking_writes_nothing_beside_the_databases(copied, kept):
    before = files(copied)
    check(copied, kept(copied))
    assert files(copied) == before


# --- manifests that somebody made ----------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "../outside",
        "/etc/passwd",
        "storage/../../outside",
        "keyholder/keys.bsky/",
        "./keyholder/keys.bsky",
        "keyholder\\keys.bsky",
        "",
        "\0",
        "evaluator/cache",
    ],
)
def test_a_path_that_no_service_keeps_is_refused_without_being_opened(copied, kept, tmp_path, path):
    (tmp_path / "outside").write_text("not to be read")
    rewrite(copied, lambda content: content["files"][0].update(path=path))
    root = tmp_path / "new"
    with pytest.raises(InvalidArgument, match="want one of"):
        restore([copied], kept(root), root)
    assert not root.exists()


def of_untrusted_zone(content):
    for entry in content["files"]:
        entry.update(zone="untrusted")


def of_format(number):
    return lambda content: content.update(format=number)


def of_schema(number):
    return lambda content: content["files"][0].update(schema_version=number)


def twice(content):
    content["files"].append(content["files"][0])


def negative(content):
    content["files"][0].update(size_bytes=-1)


def nested(content):
    content["files"][0].update(counts={"items": "many"})


def short_of_a_field(content):
    del content["files"][0]["sha256"]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (of_format(2), InvalidArgument, "a backup of format 2, this program knows 1"),
        (of_schema(99), InvalidArgument, f"schema version 99, newer than this program's {SCHEMA.version}"),
        (of_schema(1), DataLoss, "not of schema version 1"),
        (of_untrusted_zone, InvalidArgument, "of zone 'untrusted'"),
        (twice, DataLoss, "manifest.json is damaged"),
        (negative, DataLoss, "manifest.json is damaged"),
        (nested, DataLoss, "manifest.json is damaged"),
        (short_of_a_field, DataLoss, "manifest.json is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_is_one_line(copied, kept, tmp_path, change, error, said):
    rewrite(copied, change)
    root = tmp_path / "new"
    with pytest.raises(error, match=said) as raised:
        restore([copied], kept(root), root)
    assert "\n" not in str(raised.value)
    assert not root.exists()


# --- where it goes -----------------------------------------------------------------------------


def test_a_data_folder_with_something_in_it_is_left_as_it_is(copied, kept, tmp_path):
    root = tmp_path / "new"
    root.mkdir()
    (root / "mine.txt").write_text("kept")
    with pytest.raises(AlreadyExists, match=r"is not empty: it has mine\.txt"):
        restore([copied], kept(root), root)
    assert files(root) == {"mine.txt"}


@pytest.mark.parametrize("lock", ["", "lock"])
def test_a_data_folder_that_is_in_use_is_refused(copied, kept, tmp_path, lock):
    root = tmp_path / "new"
    root.mkdir()
    if lock:
        (root / lock).touch()
    descriptor = os.open(root / lock, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(Unavailable, match="in use by a running service"):
            restore([copied], kept(root), root)
    finally:
        os.close(descriptor)
    assert files(root) == ({lock} if lock else set())


def test_the_root_of_a_file_system_counts_as_empty(copied, kept, tmp_path):
    root = tmp_path / "new"
    (root / "lost+found").mkdir(parents=True)
    restore([copied], kept(root), root)
    assert (root / "keyholder" / "keys.bsky").exists()


def test_a_restore_that_is_interrupted_at_any_step_leaves_nothing(copied, kept, tmp_path):
    steps = []
    restore([copied], kept(tmp_path / "whole"), tmp_path / "whole", lambda *step: steps.append(step))
    (tmp_path / "mine").mkdir()
    for last in range(1, len(steps) + 1):
        for root in (tmp_path / "new", tmp_path / "mine"):
            with pytest.raises(KeyboardInterrupt):
                restore([copied], kept(root), root, interrupting(at=last))
        assert not (tmp_path / "new").exists()
        assert list((tmp_path / "mine").iterdir()) == []


def test_a_backup_that_changes_while_it_is_restored_is_refused(copied, kept, tmp_path):
    size = sum(
        path.stat().st_size for path in copied.rglob("*") if path.name != "manifest.json" and path.is_file()
    )

    def meddle(done, _total):
        if done == size:
            flip(copied / "keyholder" / "keys.bsky")

    root = tmp_path / "new"
    with pytest.raises(DataLoss, match=r"keys\.bsky is damaged"):
        restore([copied], kept(root), root, meddle)
    assert not root.exists()


def test_an_older_schema_is_copied_as_it_is_and_its_service_refuses_it(data, kept, tmp_path):
    path, older = data / "storage" / "storage.sqlite3", SCHEMA.version - 1
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE schema_version SET version = ?", (older,))
    save(kept(data), tmp_path / "older")
    root = tmp_path / "new"
    (found,) = restore([tmp_path / "older"], kept(root), root)
    assert {entry.path: entry.schema_version for entry in found.files}["storage/storage.sqlite3"] == older
    with pytest.raises(InvalidArgument, match=f"schema version {older}, older than this program's"):
        STORES["sqlite"](root / "storage", 0, 0)
