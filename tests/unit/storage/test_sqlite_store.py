"""What is SQLite's own: schema versions, damage, a full disk, freed bytes."""

from __future__ import annotations

import random
import sqlite3
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from support.storage import (
    LARGE_PLANES,
    MAIN_0,
    TAIL_0,
    Batches,
    attachment_of,
    collection,
    delete_from,
    handles,
    identifier,
    items,
    original_of,
    pieces_of,
    sha256,
    with_attachment,
    with_planes,
)

from blindsight.errors import BlindsightError, DataLoss, InvalidArgument, NotFound, ResourceExhausted
from blindsight.wire.storage import PieceHeader
from services.storage.records import Append
from services.storage.stores.sqlite import FILE_NAME, SqliteStore
from services.storage.stores.sqlite.connections import SCHEMA

COLLECTION = collection()
ATTACHMENT = attachment_of(0, 20_000)
MADE = items(3, metadata_bytes=300, original_bytes=20_000)
MADE[0] = with_attachment(MADE[0], ATTACHMENT)
ORIGINALS = [original_of(number, 20_000) for number in range(3)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A closed store with one batch of three items."""
    store = SqliteStore(tmp_path)
    batches = Batches(store.create_collection(COLLECTION))
    store.append(batches.make(MAIN_0, MADE, ORIGINALS, attachments={0: ATTACHMENT}))
    store.append(batches.make(TAIL_0, items(2, start=3)))
    store.close()
    return tmp_path


def first_append() -> Append:
    return Batches(COLLECTION).make(MAIN_0, MADE, ORIGINALS)


def contents(store: SqliteStore) -> list[object]:
    """Every byte that the store keeps for the keyholder and the evaluator."""
    key = COLLECTION.collection_id
    originals = [list(store.read_original(key, item.handle)) for item in MADE]
    runs = [page.runs for page in store.read_slots(key, 0)]
    attachments = list(store.read_attachments(key, handles(MADE)))
    items = store.get_items(key, handles(MADE))
    return [list(store.read_batches(key, 0, ())), runs, items, originals, attachments]


def damage(folder: Path, position: int, flip: int = 1) -> None:
    path = folder / FILE_NAME
    data = bytearray(path.read_bytes())
    data[position] ^= flip
    path.write_bytes(data)


def everywhere(folder: Path) -> bytes:
    """All bytes of all files in the folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def test_a_reopened_store_holds_the_same(folder: Path) -> None:
    store = SqliteStore(folder)
    before = contents(store)
    store.close()
    again = SqliteStore(folder)
    assert contents(again) == before
    again.close()


def test_the_database_is_set_up_for_durable_commits(folder: Path) -> None:
    store = SqliteStore(folder)
    with store._connections.transaction() as db:
        found = {
            name: db.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    store.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "secure_delete": 1}


@pytest.mark.parametrize(
    ("version", "age"), [(SCHEMA.version + 1, "newer"), (SCHEMA.version - 1, "older"), (0, "older")]
)
def test_another_schema_version_is_refused_with_both_versions(folder: Path, version: int, age: str) -> None:
    with sqlite3.connect(folder / FILE_NAME) as db:
        db.execute("UPDATE schema_version SET version = ?", (version,))
    db.close()
    with pytest.raises(
        InvalidArgument, match=f"schema version {version}, {age} than this program's {SCHEMA.version}"
    ):
        SqliteStore(folder)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    with pytest.raises(InvalidArgument, match="not a storage database"):
        SqliteStore(tmp_path)


def test_a_file_that_is_no_database_is_data_loss(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"junk" * 4096)
    with pytest.raises(DataLoss, match="damaged"):
        SqliteStore(tmp_path)


def test_a_truncated_database_is_data_loss(folder: Path) -> None:
    path = folder / FILE_NAME
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataLoss):
        contents(SqliteStore(folder))


@pytest.mark.parametrize(
    ("part", "call"),
    [
        (
            first_append().blocks[0][5000:5032],
            lambda store: list(store.read_batches(COLLECTION.collection_id, 0, ())),
        ),
        (
            ORIGINALS[1][10_000:10_032],
            lambda store: list(store.read_original(COLLECTION.collection_id, MADE[1].handle)),
        ),
        (
            ATTACHMENT[10_000:10_032],
            lambda store: list(store.read_attachments(COLLECTION.collection_id, handles(MADE))),
        ),
        (
            MADE[2].sealed_metadata[200:232],
            lambda store: store.get_items(COLLECTION.collection_id, [MADE[2].handle]),
        ),
        (b"".join(handles(MADE)), lambda store: list(store.read_slots(COLLECTION.collection_id, 0))),
        (b"".join(handles(MADE)), lambda store: list(store.read_batches(COLLECTION.collection_id, 0, ()))),
        (
            b"".join(handles(MADE)),
            lambda store: delete_from(store, COLLECTION.collection_id, [MADE[0].handle]),
        ),
    ],
    ids=["block", "original", "attachment", "metadata", "slots", "log", "tombstone"],
)
def test_a_flipped_bit_is_data_loss_for_who_reads_it(
    folder: Path, part: bytes, call: Callable[[SqliteStore], object]
) -> None:
    data = (folder / FILE_NAME).read_bytes()
    assert data.count(part) == 1
    damage(folder, data.index(part) + 20)
    store = SqliteStore(folder)
    with pytest.raises(DataLoss, match="not what was written"):
        call(store)
    # What was not hit is still served.
    assert store.get_collection(COLLECTION.collection_id).items == 5
    store.close()


def test_a_damaged_block_never_comes_whole(folder: Path) -> None:
    data = (folder / FILE_NAME).read_bytes()
    block = first_append().blocks[0]
    damage(folder, data.index(block[100:132]))
    store = SqliteStore(folder)
    received = []
    with pytest.raises(DataLoss):
        received.extend(store.read_batches(COLLECTION.collection_id, 0, ()))
    assert sum(len(part) for part in received if isinstance(part, bytes)) < len(block)
    store.close()


def test_damage_anywhere_gives_the_right_bytes_or_data_loss(folder: Path) -> None:
    store = SqliteStore(folder)
    right = contents(store)
    store.close()
    whole = (folder / FILE_NAME).read_bytes()
    generator = random.Random(1)
    lost = 0
    for _ in range(100):
        (folder / FILE_NAME).write_bytes(whole)
        # Most of the file is blocks: half of the hits go where SQLite keeps its own structure.
        end = len(whole) if generator.random() < 0.5 else 40 * 1024
        damage(folder, generator.randrange(end), 1 << generator.randrange(8))
        try:
            store = SqliteStore(folder)
        except BlindsightError:
            lost += 1
            continue
        try:
            assert contents(store) == right
        except (DataLoss, NotFound):
            lost += 1
        finally:
            store.close()
    assert lost > 20


def test_a_full_disk_keeps_nothing_of_the_append_and_serves_on(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, max_bytes=4 << 20)
    batches = Batches(store.create_collection(COLLECTION))

    def nth(number: int, size: int) -> Append:
        return batches.make(MAIN_0, items(1, number, original_bytes=size), [original_of(number, size)])

    stored = 8
    for number in range(stored):
        store.append(nth(number, 300_000))
    append = nth(stored, 3_000_000)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        store.append(append)
    record = store.get_collection(COLLECTION.collection_id)
    assert (record.items, record.sequence) == (stored, stored)
    assert store.get_items(COLLECTION.collection_id, handles(append.items)) == []
    log = list(store.read_batches(COLLECTION.collection_id, 0, ()))
    assert sum(len(part) for part in log if isinstance(part, bytes)) == stored * len(append.blocks[0])
    # Room again after deletions.
    sequence = delete_from(store, COLLECTION.collection_id, handles(items(stored))).sequence
    while store.sweep():
        pass
    again = Batches(record, sequence=sequence, filled={MAIN_0: stored}, made=1000)
    store.append(again.make(MAIN_0, items(1, original_bytes=300_000), [original_of(0, 300_000)]))
    store.close()


def test_deleted_bytes_stand_in_no_file(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    batches = Batches(store.create_collection(COLLECTION))
    store.append(batches.make(MAIN_0, MADE, ORIGINALS, attachments={0: ATTACHMENT}))
    gone = [
        ATTACHMENT[9000:9064],
        *(original[9000:9064] for original in ORIGINALS[:2]),
        *(item.sealed_metadata[100:164] for item in MADE[:2]),
    ]
    assert all(part in everywhere(tmp_path) for part in gone)
    delete_from(store, COLLECTION.collection_id, handles(MADE[:2]))
    while store.sweep():
        pass
    left = everywhere(tmp_path)
    assert not any(part in left for part in gone)
    assert all(handle not in left for handle in handles(MADE[:2]))
    assert ORIGINALS[2][9000:9064] in left
    store.close()


def test_a_deleted_collection_gives_its_disk_back(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    empty = store.status().disk_bytes
    batches = Batches(store.create_collection(COLLECTION))
    for number in range(4):
        store.append(
            batches.make(MAIN_0, items(1, number, original_bytes=5 << 20), [original_of(number, 5 << 20)])
        )
    assert store.status().disk_bytes > 20 << 20
    store.delete_collection(COLLECTION.collection_id)
    while store.sweep():
        pass
    assert store.status().disk_bytes <= empty
    store.close()


def test_what_a_killed_process_left_to_free_is_freed_by_the_next(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    batches = Batches(store.create_collection(COLLECTION))
    store.append(batches.make(MAIN_0, MADE, ORIGINALS))
    store.delete_collection(COLLECTION.collection_id)
    store.close()
    part = ORIGINALS[0][9000:9064]
    assert part in everywhere(tmp_path)
    again = SqliteStore(tmp_path)
    while again.sweep():
        pass
    again.close()
    assert part not in everywhere(tmp_path)


def test_a_collection_of_an_earlier_life_is_not_mistaken_for_the_next(tmp_path: Path) -> None:
    """Numbers of deleted collections are not used again, so a page token never skips one."""
    store = SqliteStore(tmp_path)
    made = [store.create_collection(collection(number)) for number in range(3)]
    _, after = store.list_collections(0, 2)
    store.delete_collection(made[2].collection_id)
    new = store.create_collection(collection(7, name_tag=identifier("seven")))
    assert store.list_collections(after, 2) == ([new], 0)
    store.close()


# --- planes -------------------------------------------------------------------------------------------

PIECES = pieces_of(LARGE_PLANES, 5)
WITH_PLANES = with_planes(items(1)[0], LARGE_PLANES)
UPLOAD = identifier("upload")


def stage(store: SqliteStore, count: int = len(PIECES)) -> None:
    for piece in PIECES[:count]:
        store.stage(UPLOAD, PieceHeader(len(piece), sha256(piece)), piece)


def stage_again_and_again(store: SqliteStore) -> None:
    for _ in range(4):
        stage(store)


def append_planes(store: SqliteStore, batches: Batches) -> None:
    stage(store)
    store.append(replace(batches.make(MAIN_0, [WITH_PLANES]), upload=UPLOAD))


def sweep(store: SqliteStore) -> None:
    while store.sweep():
        pass


@pytest.fixture
def planes_folder(tmp_path: Path) -> Path:
    """A closed store with one item that has planes."""
    store = SqliteStore(tmp_path)
    append_planes(store, Batches(store.create_collection(COLLECTION)))
    store.close()
    return tmp_path


def test_what_a_killed_process_had_staged_is_freed_by_the_next(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path)
    store.create_collection(COLLECTION)
    stage(store, 1)
    store.close()
    part = PIECES[0][9000:9064]
    assert part in everywhere(tmp_path)
    again = SqliteStore(tmp_path)
    sweep(again)
    again.close()
    assert part not in everywhere(tmp_path)


def test_deleted_planes_stand_in_no_file(planes_folder: Path) -> None:
    store = SqliteStore(planes_folder)
    parts = [piece[9000:9064] for piece in PIECES]
    assert all(part in everywhere(planes_folder) for part in parts)
    delete_from(store, COLLECTION.collection_id, [WITH_PLANES.handle])
    sweep(store)
    left = everywhere(planes_folder)
    assert not any(part in left for part in parts)
    store.close()


def test_a_flipped_bit_in_a_piece_is_data_loss_before_its_end(planes_folder: Path) -> None:
    data = (planes_folder / FILE_NAME).read_bytes()
    damage(planes_folder, data.index(PIECES[1][5000:5032]))
    store = SqliteStore(planes_folder)
    received = []
    with pytest.raises(DataLoss, match="not what was written"):
        received.extend(store.read_planes(COLLECTION.collection_id, WITH_PLANES.handle))
    whole = sum(len(part) for part in received if isinstance(part, bytes))
    before = len(PIECES[-1]) + len(PIECES[0])
    assert before <= whole < before + len(PIECES[1])
    store.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE planes SET width = 599",  # as many tiles, other pixels
        "UPDATE planes SET width = 'wide'",
        "UPDATE planes SET channels = -1",
        "UPDATE planes SET size_bytes = size_bytes - 1",
        "UPDATE plane_pieces SET position = 5 - position",
        "UPDATE plane_pieces SET size_bytes = size_bytes + 1 WHERE position = 0",
        "DELETE FROM plane_pieces WHERE position = 1",
        "DELETE FROM blobs WHERE number IN (SELECT blob FROM plane_pieces)",
    ],
)
def test_planes_of_which_a_row_was_changed_are_data_loss(planes_folder: Path, change: str) -> None:
    with sqlite3.connect(planes_folder / FILE_NAME) as db:
        db.execute(change)
    db.close()
    store = SqliteStore(planes_folder)
    with pytest.raises(DataLoss, match="not what was written"):
        list(store.read_planes(COLLECTION.collection_id, WITH_PLANES.handle))
    store.close()


def test_planes_without_a_seal_say_what_to_do(planes_folder: Path) -> None:
    with sqlite3.connect(planes_folder / FILE_NAME) as db:
        db.execute("DELETE FROM plane_pieces WHERE position = ?", (len(PIECES) - 1,))
        geometry = db.execute("SELECT width, height, channels, halo, size_bytes FROM planes").fetchone()
        digests = [row[0] for row in db.execute("SELECT sha256 FROM plane_pieces ORDER BY position")]
        checked = sha256(struct.pack("<5Q", *geometry) + b"".join(digests))
        db.execute("UPDATE planes SET row_sha256 = ?", (checked,))
    db.close()
    store = SqliteStore(planes_folder)
    with pytest.raises(DataLoss, match="have no seal, as those of earlier versions: delete it"):
        list(store.read_planes(COLLECTION.collection_id, WITH_PLANES.handle))
    store.close()


def test_a_disk_that_fills_up_while_staging_keeps_what_was_there(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path, max_bytes=4 << 20)
    batches = Batches(store.create_collection(COLLECTION))
    store.append(batches.make(MAIN_0, MADE, ORIGINALS))
    before = contents(store)
    with pytest.raises(ResourceExhausted, match="disk is full"):
        stage_again_and_again(store)
    assert contents(store) == before
    store.discard(UPLOAD)
    sweep(store)
    stage(store)
    store.close()
