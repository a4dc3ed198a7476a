"""One byte of a store's files is changed: what is read is right, or is refused in one clear line."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.storage import (
    MAIN_0,
    SMALL_PLANES,
    TAIL_0,
    Batches,
    attachment_of,
    collection,
    delete_from,
    handles,
    items,
    original_of,
    pieces_of,
    sha256,
    with_attachment,
    with_planes,
)

from blindsight.errors import BlindsightError
from blindsight.wire.storage import PieceHeader
from services.storage.stores import STORES, Store

COLLECTIONS = collection(0), collection(1)
HANDLES = handles(items(40))
PHOTO = HANDLES[30]
UPLOAD = b"upload"
# Of each file, half where it says how it is built, half anywhere.
PLACES = 30
PAGE_BYTES = 4096


def fill(store: Store) -> None:
    """Two collections; items with originals, attachments and planes; and deletions."""
    for record in COLLECTIONS:
        batches = Batches(store.create_collection(record))
        for first in (0, 10, 20):
            of = items(10, first, 80, 300)
            store.append(
                batches.make(MAIN_0, of, [original_of(number, 300) for number in range(first, first + 10)])
            )
        (photo,) = items(1, 30, 80, 200_000)
        photo = with_planes(with_attachment(photo, attachment_of(30, 50_000)), SMALL_PLANES)
        append = batches.make(
            TAIL_0, [photo], [original_of(30, 200_000)], attachments={0: attachment_of(30, 50_000)}
        )
        for piece in pieces_of(SMALL_PLANES):
            store.stage(UPLOAD, PieceHeader(len(piece), sha256(piece)), piece)
        store.append(replace(append, upload=UPLOAD))
        delete_from(store, record.collection_id, HANDLES[3:5])


def uses(store: Store) -> Iterator[Callable[[], object]]:
    """All that can be done with a store; what is read comes in pairs of a header and bytes."""
    yield store.status
    yield lambda: store.list_collections(0, 10)
    for record in COLLECTIONS:
        name = record.collection_id
        yield partial(store.get_collection, name)
        yield partial(whole, store.read_batches, name, 0, ())
        yield partial(whole, store.read_batches, name, 2, (MAIN_0,))
        yield partial(whole, store.read_slots, name, 0)
        yield partial(store.get_items, name, HANDLES)
        yield partial(whole, store.read_attachments, name, HANDLES)
        yield partial(whole, store.read_original, name, HANDLES[0])
        yield partial(whole, store.read_original, name, PHOTO)
        yield partial(whole, store.read_planes, name, PHOTO)
        yield partial(delete_from, store, name, HANDLES[:2])
        yield partial(store.append, Batches(record, 6, {MAIN_0: 30}, 50).make(MAIN_0, items(3, 50)))
    yield store.sweep
    yield partial(store.delete_collection, COLLECTIONS[0].collection_id)
    yield store.sweep


def whole(read: Callable[..., Iterator[Any]], *arguments: object) -> None:
    """Reads to the end: all bytes that come are those of the digest before them."""
    digest, data = b"", b""
    for part in read(*arguments):
        if isinstance(part, bytes | memoryview):
            data += part
        else:
            assert sha256(data) == digest or not data
            digest, data = getattr(part, "block_sha256", b"") or getattr(part, "sha256", b""), b""
    assert sha256(data) == digest or not data


@pytest.fixture(scope="module", params=sorted(STORES))
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A store's kind, and its files as a process that was killed leaves them: with a log of writes."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "open").mkdir()
    store = STORES[request.param](folder / "open", 0)
    fill(store)
    shutil.copytree(folder / "open", folder / "killed")
    store.close()
    shutil.copytree(folder / "open", folder / "closed")
    return request.param, folder


def places(path: Path, luck: random.Random) -> Iterator[int]:
    """Bytes of a file: most of them where it says how it is built."""
    size = path.stat().st_size
    yield from (luck.randrange(min(200, size)) for _ in range(PLACES // 2))
    yield from (page + luck.randrange(16) for page in luck.choices(range(0, size, PAGE_BYTES), k=PLACES // 2))
    yield from (luck.randrange(size) for _ in range(PLACES))


@pytest.mark.parametrize("left", ["killed", "closed"])
def test_a_changed_byte_is_refused_in_one_line_or_changes_nothing(
    filled: tuple[str, Path], tmp_path: Path, left: str
) -> None:
    kind, folder = filled
    luck = random.Random(left)
    names = [
        path.name
        for path in (folder / left).iterdir()
        if path.stat().st_size and not path.name.endswith("-shm")
    ]
    told = Counter[str]()
    for name in sorted(names):
        for number, place in enumerate(places(folder / left / name, luck)):
            copy = tmp_path / f"{name}.{number}"
            shutil.copytree(folder / left, copy)
            with (copy / name).open("r+b") as file:
                file.seek(place)
                (byte,) = file.read(1)
                file.seek(place)
                file.write(bytes([byte ^ (1 << luck.randrange(8))]))
            for error in mistakes(kind, copy):
                assert "\n" not in str(error), error
                told[type(error).__name__] += 1
            shutil.rmtree(copy)
    assert told.total() > PLACES // 10, "no change was noticed"


def mistakes(kind: str, folder: Path) -> Iterator[BlindsightError]:
    """What is said of a store; whatever else is raised fails the test."""
    try:
        store = STORES[kind](folder, 0)
    except BlindsightError as error:
        yield error
        return
    try:
        for use in uses(store):
            try:
                use()
            except BlindsightError as error:
                yield error
    finally:
        store.close()
