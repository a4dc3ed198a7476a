"""What every store does, run over each of `STORES`."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from support.storage import (
    LARGE_PLANES,
    MAIN_0,
    MAIN_1,
    SMALL_PLANES,
    TAIL_0,
    TAIL_1,
    Batches,
    attachment_of,
    chain_at,
    changed,
    collection,
    delete_from,
    handles,
    identifier,
    items,
    link_to,
    original_of,
    pieces_of,
    sealed,
    settings_to,
    sha256,
    truncation_to,
    with_attachment,
    with_planes,
)

from blindsight.errors import AlreadyExists, Conflict, InvalidArgument, NotFound, ResourceExhausted
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import MAX_BATCHES_PER_SEGMENT
from blindsight.wire.storage import (
    NO_HANDLE,
    Appended,
    AppendItem,
    AttachmentHeader,
    BatchHeader,
    Deleted,
    Deletion,
    ItemUpdate,
    Link,
    LogHeader,
    OriginalHeader,
    PieceHeader,
    PlanesHeader,
    SlotBatch,
    SlotRun,
    StoredCollection,
    Update,
    Updated,
)
from services.storage.records import Append, Geometry
from services.storage.stores import Store

COLLECTION = collection()


@pytest.fixture
def batches(store: Store) -> Batches:
    return Batches(store.create_collection(COLLECTION))


def state(store: Store) -> StoredCollection:
    return store.get_collection(COLLECTION.collection_id)


def read_log(
    store: Store, after: int = 0, only: tuple[SegmentId, ...] = ()
) -> tuple[LogHeader, list[tuple[BatchHeader, bytes]]]:
    parts = store.read_batches(COLLECTION.collection_id, after, only)
    log = next(parts)
    assert isinstance(log, LogHeader)
    blocks: list[tuple[BatchHeader, bytes]] = []
    for part in parts:
        if isinstance(part, BatchHeader):
            blocks.append((part, b""))
        else:
            assert isinstance(part, bytes)
            blocks[-1] = (blocks[-1][0], blocks[-1][1] + part)
    return log, blocks


def read_runs(store: Store) -> list[SlotRun]:
    return [run for page in store.read_slots(COLLECTION.collection_id, 0) for run in page.runs]


def shape(run: SlotRun) -> tuple[SegmentId, bytes, int]:
    return run.segment, run.handles, len(run.batches)


def shapes(store: Store) -> list[tuple[SegmentId, bytes, int]]:
    return [shape(run) for run in read_runs(store)]


def read_original(store: Store, handle: bytes) -> tuple[OriginalHeader, bytes]:
    header, *parts = store.read_original(COLLECTION.collection_id, handle)
    assert isinstance(header, OriginalHeader)
    return header, b"".join(part for part in parts if isinstance(part, bytes))


def read_planes(store: Store, handle: bytes) -> tuple[PlanesHeader, list[bytes]]:
    """The header of planes, and their pieces and seal in the order in which they were sent."""
    header, *parts = store.read_planes(COLLECTION.collection_id, handle)
    assert isinstance(header, PlanesHeader)
    pieces: list[bytes] = []
    announced: list[PieceHeader] = []
    for part in parts:
        if isinstance(part, PieceHeader):
            announced.append(part)
            pieces.append(b"")
        else:
            assert isinstance(part, bytes)
            pieces[-1] += part
    assert announced == [PieceHeader(len(piece), sha256(piece)) for piece in pieces]
    return header, [*pieces[1:], pieces[0]]


def staged(store: Store, append: Append, pieces: list[bytes]) -> Append:
    """The append with its pieces staged."""
    upload = identifier("upload", append.header.batch_id)
    for piece in pieces:
        store.stage(upload, PieceHeader(len(piece), sha256(piece)), piece)
    return replace(append, upload=upload)


def sweep(store: Store) -> None:
    while store.sweep():
        pass


def whole(store: Store) -> tuple[object, ...]:
    """Everything that a store tells of the collection."""
    return (
        state(store),
        read_log(store),
        list(store.read_slots(COLLECTION.collection_id, 0)),
        store.status().items,
        store.get_items(COLLECTION.collection_id, handles(items(20))),
    )


def refused(store: Store, append: Append, error: type[Exception], message: str) -> None:
    """The append is refused and leaves no trace."""
    before = whole(store)
    with pytest.raises(error, match=message):
        store.append(append)
    assert whole(store) == before


# --- collections --------------------------------------------------------------------------------------


def test_a_collection_comes_back_as_it_was_created(store: Store) -> None:
    created = store.create_collection(COLLECTION)
    assert created.created_unix_seconds > 0
    assert replace(created, created_unix_seconds=0) == COLLECTION
    assert state(store) == created


def test_creating_a_collection_again_is_a_no_op(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    before = state(store)
    # The keyholder seals its settings anew each time, so they differ.
    assert store.create_collection(replace(COLLECTION, sealed_config=sealed(90, "anew"))) == before
    assert state(store) == before


def test_a_taken_name_tag_is_refused(store: Store, batches: Batches) -> None:
    with pytest.raises(AlreadyExists, match="name_tag"):
        store.create_collection(collection(1, name_tag=COLLECTION.name_tag))


@pytest.mark.parametrize(
    "changes",
    [{"name_tag": identifier("other")}, {"dimension": 9}, {"stride": 2}, {"key_id": identifier("key")}],
)
def test_a_taken_id_with_other_parameters_is_refused(
    store: Store, batches: Batches, changes: dict[str, object]
) -> None:
    with pytest.raises(AlreadyExists, match=next(iter(changes))):
        store.create_collection(collection(**changes))


def test_collections_are_listed_in_the_order_of_creation_page_by_page(store: Store) -> None:
    made = [store.create_collection(collection(number)) for number in range(7)]
    listed: list[StoredCollection] = []
    after, sizes = 0, []
    while True:
        page, after = store.list_collections(after, 3)
        listed += page
        sizes.append(len(page))
        if not after:
            break
    assert listed == made
    assert sizes == [3, 3, 1]


def test_a_page_of_large_collections_fits_into_a_message(store: Store) -> None:
    for number in range(50):
        store.create_collection(collection(number, sealed_config=sealed(64 << 10, number)))
    page, after = store.list_collections(0, 1000)
    assert 0 < sum(len(record.sealed_config) for record in page) < 3 << 20
    rest, end = store.list_collections(after, 1000)
    assert len(page) + len(rest) == 50
    assert end == 0


@pytest.mark.parametrize("written", [0, 1], ids=["never", "once"])
def test_settings_are_replaced_in_one_write_of_the_log(store: Store, batches: Batches, written: int) -> None:
    for _ in range(written):
        store.append(batches.make(MAIN_0, items(1)))
    change = settings_to(COLLECTION, sealed(50, "new"), written + 1, name_tag=identifier("another name"))
    for _ in range(2):  # its answer was lost
        assert store.replace_config(change) == written + 1
        told = state(store)
        assert (told.sealed_config, told.name_tag) == (sealed(50, "new"), identifier("another name"))
        assert (told.sequence, told.epoch, told.chain) == (written + 1, 0, chain_at(written + 1))
    log, blocks = read_log(store, written)
    assert (log.sequence, log.after_chain, blocks) == (written + 1, chain_at(written), [])
    (page,) = store.read_slots(COLLECTION.collection_id, written)
    assert page.links == (change.link,)


def test_settings_of_another_state_or_with_the_name_of_another_collection_are_refused(
    store: Store, batches: Batches
) -> None:
    other = store.create_collection(collection(1))
    store.append(batches.make(MAIN_0, items(1)))
    before = store.list_collections(0, 10)
    another_link = replace(link_to(1), chain=sha256(b"of another writer"))
    for change, kind, why in [
        (settings_to(COLLECTION, sealed(50, "new"), 1, link=another_link), Conflict, "another history"),
        (settings_to(COLLECTION, sealed(50, "new"), 2, name_tag=other.name_tag), AlreadyExists, "name_tag"),
        (settings_to(COLLECTION, sealed(50), 2, link=link_to(3, before=1)), InvalidArgument, "want 2 and 0"),
    ]:
        with pytest.raises(kind, match=why):
            store.replace_config(change)
        assert store.list_collections(0, 10) == before


def test_a_name_is_free_once_its_collection_has_another(store: Store, batches: Batches) -> None:
    store.replace_config(settings_to(COLLECTION, sealed(50), 1, name_tag=identifier("another name")))
    named = store.create_collection(collection(1, name_tag=COLLECTION.name_tag))
    assert [one.name_tag for one in store.list_collections(0, 10)[0]] == [
        identifier("another name"),
        named.name_tag,
    ]


def test_an_unknown_collection_is_not_found_anywhere(store: Store) -> None:
    unknown = identifier("unknown")
    append = Batches(collection(9)).make(MAIN_0, items(1))
    calls = [
        lambda: store.get_collection(unknown),
        lambda: store.replace_config(settings_to(COLLECTION, sealed(9), 1, collection_id=unknown)),
        lambda: store.truncate_collection(truncation_to(COLLECTION, 1, 1, collection_id=unknown)),
        lambda: store.delete_collection(unknown),
        lambda: store.admit(append.header),
        lambda: store.append(append),
        lambda: list(store.read_batches(unknown, 0, ())),
        lambda: list(store.read_slots(unknown, 0)),
        lambda: store.get_items(unknown, handles(items(1))),
        lambda: list(store.read_original(unknown, identifier("item", 0))),
        lambda: list(store.read_planes(unknown, identifier("item", 0))),
        lambda: delete_from(store, unknown, handles(items(1))),
    ]
    for call in calls:
        with pytest.raises(NotFound):
            call()


def test_a_deleted_collection_is_gone_and_its_name_is_free(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(1, original_bytes=9000), [original_of(0, 9000)]))
    other = store.create_collection(collection(1))
    store.delete_collection(COLLECTION.collection_id)
    while store.sweep():
        pass
    with pytest.raises(NotFound):
        state(store)
    assert store.list_collections(0, 10) == ([other], 0)
    assert store.create_collection(COLLECTION).sequence == 0
    assert read_log(store)[1] == []
    assert store.get_items(COLLECTION.collection_id, handles(items(1))) == []


# --- appends ------------------------------------------------------------------------------------------


def test_a_batch_comes_back_byte_by_byte(store: Store, batches: Batches) -> None:
    first = batches.make(MAIN_0, items(3))
    second = batches.make(MAIN_0, items(2, start=3))
    third = batches.make(TAIL_0, items(1, start=5))
    answers = [store.append(append) for append in (first, second, third)]
    assert answers == [Appended(1, 0), Appended(2, 0), Appended(3, 0)]
    log, blocks = read_log(store)
    assert log == LogHeader(
        3, 0, 3, sum(len(append.blocks[0]) for append in (first, second, third)), (), chain_at(3)
    )
    assert [block for _, block in blocks] == [first.blocks[0], second.blocks[0], third.blocks[0]]
    places = [(batch.segment, batch.first_slot, batch.count, batch.sequence) for batch, _ in blocks]
    assert places == [(MAIN_0, 0, 3, 1), (MAIN_0, 3, 2, 2), (TAIL_0, 0, 1, 3)]
    assert [batch.block_sha256 for batch, _ in blocks] == [sha256(block) for _, block in blocks]


def test_the_log_is_read_from_a_sequence_on_and_by_segment(store: Store, batches: Batches) -> None:
    for number, segment in enumerate((MAIN_0, TAIL_0, MAIN_0, MAIN_1)):
        store.append(batches.make(segment, items(1, start=number)))
    sequences = [batch.sequence for batch, _ in read_log(store, after=2)[1]]
    assert sequences == [3, 4]
    log, blocks = read_log(store, only=(MAIN_0, TAIL_0))
    assert [batch.sequence for batch, _ in blocks] == [1, 2, 3]
    assert (log.sequence, log.batches) == (4, 3)
    assert read_log(store, after=2**64 - 1)[0] == LogHeader(4, 0, 0, 0, (), chain_at(4), b"")


def test_items_and_sizes_are_counted_as_they_come_and_go(store: Store, batches: Batches) -> None:
    first = batches.make(
        MAIN_0, items(2, metadata_bytes=50, original_bytes=5000), [original_of(n, 5000) for n in (0, 1)]
    )
    store.append(first)
    record = state(store)
    assert (record.sequence, record.items, record.items_added) == (1, 2, 2)
    assert record.size_bytes == len(first.blocks[0]) + 2 * 50 + 2 * 5000
    delete_from(store, COLLECTION.collection_id, handles(items(1)))
    record = state(store)
    assert (record.sequence, record.items, record.items_added) == (2, 1, 2)
    assert record.size_bytes == len(first.blocks[0]) + 50 + 5000
    assert (store.status().collections, store.status().items) == (1, 1)


def test_metadata_and_originals_come_back(store: Store, batches: Batches) -> None:
    sizes = [0, 1, 5000, (1 << 20) + 1, 3 << 20]
    made = [items(1, start=n, metadata_bytes=10 * n, original_bytes=size)[0] for n, size in enumerate(sizes)]
    originals = [original_of(n, size) for n, size in enumerate(sizes)]
    store.append(batches.make(MAIN_0, made, originals))
    asked = [made[3].handle, identifier("unknown"), made[0].handle, made[2].handle]
    found = store.get_items(COLLECTION.collection_id, asked)
    assert [item.handle for item in found] == [made[3].handle, made[0].handle, made[2].handle]
    assert [item.sealed_metadata for item in found] == [made[n].sealed_metadata for n in (3, 0, 2)]
    assert [item.original_size_bytes for item in found] == [sizes[n] for n in (3, 0, 2)]
    for n in range(1, len(sizes)):
        assert read_original(store, made[n].handle) == (
            OriginalHeader(sizes[n], sha256(originals[n])),
            originals[n],
        )
    for handle in (made[0].handle, identifier("unknown")):
        with pytest.raises(NotFound, match="original"):
            read_original(store, handle)


def test_thousands_of_items_with_metadata_stand_in_one_batch(store: Store) -> None:
    record = store.create_collection(collection(dimension=1, stride=1))
    made = items(4096, metadata_bytes=30)
    store.append(Batches(record).make(MAIN_0, made))
    found = store.get_items(record.collection_id, handles(made))
    assert [item.handle for item in found] == handles(made)
    assert [item.sealed_metadata for item in found] == [item.sealed_metadata for item in made]
    assert shapes(store) == [(MAIN_0, b"".join(handles(made)), 1)]


def test_more_metadata_than_a_message_holds_is_refused(store: Store, batches: Batches) -> None:
    made = items(100, metadata_bytes=64 << 10)
    store.append(batches.make(MAIN_0, made))
    with pytest.raises(ResourceExhausted, match="want fewer items"):
        store.get_items(COLLECTION.collection_id, handles(made))
    assert len(store.get_items(COLLECTION.collection_id, handles(made[:20]))) == 20


def test_a_repeated_batch_is_answered_as_the_first_time_and_changes_nothing(
    store: Store, batches: Batches
) -> None:
    first = batches.make(MAIN_0, items(3))
    store.append(first)
    store.append(batches.make(MAIN_0, items(1, start=3)))
    before = whole(store)
    assert store.admit(first.header) == Appended(1, 0)
    assert store.append(first) == Appended(1, 0)
    assert whole(store) == before


def test_items_of_many_appends_are_all_found_refused_and_deleted(store: Store, batches: Batches) -> None:
    for number in range(40):
        store.append(batches.make(MAIN_0, items(2, start=2 * number)))
    every = handles(items(80))
    found = store.get_items(COLLECTION.collection_id, every)
    assert [item.handle for item in found] == every
    again = batches.make(MAIN_0, items(80))
    refused(store, again, AlreadyExists, "80 handles")
    deleted = delete_from(store, COLLECTION.collection_id, every)
    assert (deleted.deleted, state(store).items) == (80, 0)
    anew = Batches(COLLECTION, sequence=deleted.sequence, filled={MAIN_0: 80}, made=1000)
    store.append(anew.make(MAIN_0, items(80)))
    assert len(store.get_items(COLLECTION.collection_id, every)) == 80


def test_an_unexpected_sequence_is_a_conflict_that_names_both(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    batches.sequence = 7
    late = batches.make(MAIN_0, items(1, start=3))
    refused(store, late, Conflict, "at sequence 1, the append expects 7")
    with pytest.raises(Conflict):
        store.admit(late.header)


def test_a_welcome_append_is_admitted_with_its_collection(store: Store, batches: Batches) -> None:
    assert store.admit(batches.make(MAIN_0, items(1)).header) == state(store)


def test_a_live_handle_is_refused_by_its_position(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    again = batches.make(TAIL_0, [*items(2, start=3), *items(3)])
    refused(store, again, AlreadyExists, "3 handles .*: of the items 2, 3, 4$")


@pytest.mark.parametrize(
    ("segment", "first_slot", "message"),
    [
        (MAIN_0, 2, "first_slot 2 of segment MAIN 0, want 3"),
        (MAIN_0, 4, "first_slot 4 of segment MAIN 0, want 3"),
        (MAIN_1, 1, "first_slot 1 of segment MAIN 1, want 0"),
        (SegmentId(Region.MAIN, 2), 0, "new segment MAIN 2, want index 1"),
        (TAIL_1, 0, "new segment TAIL 1, want index 0"),
    ],
)
def test_slots_that_are_not_the_next_free_ones_are_refused(
    store: Store, batches: Batches, segment: SegmentId, first_slot: int, message: str
) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    append = batches.make(segment, items(1, start=3))
    misplaced = replace(append, header=changed(append.header, first_slot=first_slot))
    refused(store, misplaced, InvalidArgument, message)


def joined(first: Append, second: Append) -> Append:
    """Two appends that follow each other, as one."""
    link = replace(second.header.link, previous=first.header.link.previous)
    header = replace(first.header, batches=first.header.batches + second.header.batches, link=link)
    return Append(
        header, first.items + second.items, first.blocks + second.blocks, first.originals + second.originals
    )


def test_batches_of_one_append_are_stored_together_as_if_each_were_its_own(
    store: Store, batches: Batches
) -> None:
    main = batches.make(MAIN_0, items(3, original_bytes=5), [original_of(n, 5) for n in range(3)])
    tail = batches.make(TAIL_0, items(2, start=3, metadata_bytes=50))
    both = joined(main, tail)
    assert store.append(both) == Appended(2, 0)
    assert store.append(both) == Appended(2, 0)
    log, blocks = read_log(store)
    assert (log.sequence, log.batches) == (2, 2)
    assert blocks == [
        (main.header.batches[0], main.blocks[0]),
        (tail.header.batches[0], tail.blocks[0]),
    ]
    assert [run.handles for run in read_runs(store)] == [
        b"".join(handles(main.items)),
        b"".join(handles(tail.items)),
    ]
    assert delete_from(store, COLLECTION.collection_id, [tail.items[1].handle]).deleted == 1
    assert [run.handles for run in read_runs(store)] == [
        b"".join(handles(main.items)),
        tail.items[0].handle + NO_HANDLE,
    ]
    third = Batches(COLLECTION, 3, {MAIN_0: 3}, made=9).make(MAIN_0, items(1, start=9))
    assert store.append(third) == Appended(4, 0)


def test_of_an_append_whose_last_batch_is_refused_nothing_is_stored(store: Store, batches: Batches) -> None:
    store.append(batches.make(TAIL_0, items(2)))
    both = joined(batches.make(MAIN_0, items(3, start=5)), batches.make(TAIL_0, items(2, start=1)))
    before = read_log(store), read_runs(store)
    refused(store, both, AlreadyExists, "1 handles are in the collection already: of the items 3")
    assert (read_log(store), read_runs(store)) == before


def test_a_segment_takes_as_many_batches_as_its_noise_allows(store: Store) -> None:
    # One-dimensional rows: a tail segment has room for far more batches than it may take.
    record = store.create_collection(collection(dimension=1, stride=1))
    pattern = Batches(record).make(TAIL_0, items(1))

    def nth(number: int) -> Append:
        header = changed(
            pattern.header,
            batch_id=identifier("batch", number),
            expected_sequence=number,
            first_slot=number,
        )
        return replace(pattern, header=header, items=tuple(items(1, start=number)))

    for number in range(MAX_BATCHES_PER_SEGMENT):
        store.append(nth(number))
    message = f"has {MAX_BATCHES_PER_SEGMENT} batches, want a new segment"
    refused(store, nth(MAX_BATCHES_PER_SEGMENT), ResourceExhausted, message)
    (run,) = read_runs(store)
    assert len(run.batches) == MAX_BATCHES_PER_SEGMENT
    assert run.handles == b"".join(handles(items(MAX_BATCHES_PER_SEGMENT)))


# --- slots, deletions ---------------------------------------------------------------------------------


def test_an_empty_collection_has_one_empty_page_of_slots(store: Store, batches: Batches) -> None:
    (page,) = store.read_slots(COLLECTION.collection_id, 0)
    assert (page.sequence, page.runs, page.next_main_index, page.next_tail_index) == (0, (), 0, 0)


def test_the_slot_map_has_a_run_for_each_segment_in_use(store: Store, batches: Batches) -> None:
    for start, segment in enumerate((TAIL_0, MAIN_0, TAIL_0, MAIN_1)):
        store.append(batches.make(segment, items(2, start=2 * start)))
    (page,) = store.read_slots(COLLECTION.collection_id, 0)
    packed = [b"".join(handles(items(2, start=start))) for start in (0, 2, 4, 6)]
    assert [shape(run) for run in page.runs] == [
        (MAIN_0, packed[1], 1),
        (MAIN_1, packed[3], 1),
        (TAIL_0, packed[0] + packed[2], 2),
    ]
    assert (page.sequence, page.next_main_index, page.next_tail_index) == (4, 2, 1)


def test_a_deleted_item_leaves_zeros_and_nothing_else(store: Store, batches: Batches) -> None:
    made = items(3, metadata_bytes=40, original_bytes=100)
    store.append(batches.make(MAIN_0, made, [original_of(n, 100) for n in range(3)]))
    store.append(batches.make(MAIN_0, items(2, start=3)))
    deleted = delete_from(store, COLLECTION.collection_id, [made[1].handle, identifier("item", 4)] * 2)
    assert (deleted.deleted, deleted.sequence) == (2, 3)
    kept = [made[0].handle, NO_HANDLE, made[2].handle, identifier("item", 3), NO_HANDLE]
    assert shapes(store) == [(MAIN_0, b"".join(kept), 2)]
    assert [item.handle for item in store.get_items(COLLECTION.collection_id, handles(made))] == kept[::2][:2]
    with pytest.raises(NotFound):
        read_original(store, made[1].handle)
    assert len(read_log(store)[1]) == 2


def test_deleting_again_is_a_no_op(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    gone = handles(items(2))
    assert delete_from(store, COLLECTION.collection_id, gone).deleted == 2
    before = whole(store)
    repeated = Deletion(COLLECTION.collection_id, tuple(gone), link_to(2))
    assert store.delete_items(repeated) == Deleted(2, 2)
    assert whole(store) == before
    store.append(Batches(COLLECTION, 2, {MAIN_0: 3}, made=9).make(MAIN_0, items(1, start=9)))
    before = whole(store)
    assert store.delete_items(repeated) == Deleted(2, 2)
    assert whole(store) == before


@pytest.mark.parametrize(
    ("link", "error", "message"),
    [
        (link_to(2, before=7), Conflict, "another history"),
        (link_to(3, before=1), InvalidArgument, "a link to sequence 3 and epoch 0, want 2 and 0"),
        (link_to(2, epoch=1), InvalidArgument, "a link to sequence 2 and epoch 1, want 2 and 0"),
    ],
)
def test_a_deletion_for_another_state_is_refused(
    store: Store, batches: Batches, link: Link, error: type[Exception], message: str
) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    before = whole(store)
    with pytest.raises(error, match=message):
        store.delete_items(
            Deletion(COLLECTION.collection_id, tuple(handles(items(1))), replace(link, root=bytes(32)))
        )
    assert whole(store) == before


def test_a_deletion_of_what_is_not_live_is_refused(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    before = whole(store)
    with pytest.raises(InvalidArgument, match="2 items to delete, of which 1 are live"):
        delete_from(store, COLLECTION.collection_id, [*handles(items(1)), identifier("unknown")])
    assert whole(store) == before


def test_an_append_to_another_history_is_refused(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    append = batches.make(MAIN_0, items(1, start=3))
    other = replace(append.header, link=link_to(2, before=7))
    refused(store, replace(append, header=other), Conflict, "another history")
    with pytest.raises(Conflict, match="another history"):
        store.admit(other)


def test_links_are_given_out_as_they_came_in_the_order_of_the_writes(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    store.append(batches.make(MAIN_0, items(1, start=3)))
    delete_from(store, COLLECTION.collection_id, handles(items(1)))
    for known, told in ((0, (1, 2, 3)), (1, (2, 3)), (2, (3,)), (3, (3,)), (9, (3,))):
        (page,) = store.read_slots(COLLECTION.collection_id, known)
        assert page.links == tuple(map(link_to, told))
    assert state(store).chain == chain_at(3)
    assert (read_log(store)[0].chain, read_log(store)[0].after_chain) == (chain_at(3), bytes(32))
    assert (read_log(store, 2)[0].chain, read_log(store, 2)[0].after_chain) == (chain_at(3), chain_at(2))
    assert read_log(store, 9)[0].after_chain == b""


def test_the_slot_map_says_which_batches_a_segment_has(store: Store, batches: Batches) -> None:
    made = [batches.make(MAIN_0, items(3)), batches.make(MAIN_0, items(2, start=3))]
    for append in made:
        store.append(append)
    (run,) = read_runs(store)
    assert run.batches == tuple(SlotBatch(len(one.items), sha256(one.blocks[0])) for one in made)


def test_a_deleted_handle_may_be_added_again(store: Store, batches: Batches) -> None:
    made = items(1, metadata_bytes=40)
    store.append(batches.make(MAIN_0, made))
    batches.sequence = delete_from(store, COLLECTION.collection_id, handles(made)).sequence
    anew = replace(made[0], sealed_metadata=sealed(70, "anew"))
    store.append(batches.make(MAIN_0, [anew]))
    (found,) = store.get_items(COLLECTION.collection_id, handles(made))
    assert found.sealed_metadata == anew.sealed_metadata
    assert shapes(store) == [(MAIN_0, NO_HANDLE + anew.handle, 2)]
    assert (state(store).items, state(store).items_added) == (1, 2)


def test_thousands_of_items_are_deleted_at_once(store: Store) -> None:
    record = store.create_collection(collection(dimension=1, stride=1))
    batches = Batches(record)
    for start in range(0, 9000, 3000):
        segment = SegmentId(Region.MAIN, start // 3000)
        store.append(batches.make(segment, items(3000, start, metadata_bytes=20)))
    deleted = delete_from(store, record.collection_id, handles(items(9000)))
    assert deleted.deleted == 9000
    assert {run.handles for run in read_runs(store)} == {bytes(3000 * 16)}
    assert state(store).items == 0


def test_versions_stand_beside_their_handles_until_the_items_are_deleted(
    store: Store, batches: Batches
) -> None:
    first, second = (
        replace(one, version=identifier("version", one)[:8]) for one in items(2, metadata_bytes=9)
    )
    store.append(batches.make(MAIN_0, items(2, start=5)))
    assert [run.versions for run in read_runs(store)] == [b""]
    store.append(batches.make(MAIN_0, [first, *items(1, start=8), second]))
    assert [run.versions for run in read_runs(store)] == [
        bytes(16) + first.version + bytes(8) + second.version
    ]
    batches.sequence = delete_from(store, COLLECTION.collection_id, [second.handle]).sequence
    assert [run.versions for run in read_runs(store)] == [bytes(16) + first.version + bytes(16)]
    moved = [*items(2, start=5), AppendItem(first.handle, version=first.version), *items(1, start=8)]
    store.append(batches.make(MAIN_1, moved, retires=[MAIN_0]))
    assert [run.versions for run in read_runs(store)] == [bytes(16) + first.version + bytes(8)]


# --- updating and replacing ---------------------------------------------------------------------------


def update_of(store: Store, *changes: ItemUpdate) -> Update:
    before = state(store)
    return Update(before.collection_id, changes, link_to(before.sequence + 1, before.epoch))


def told(number: int, size: int, version: bytes = b"version!") -> ItemUpdate:
    return ItemUpdate(identifier("item", number), sealed(size, "changed", number), version)


def test_an_update_changes_metadata_and_versions_and_leaves_all_else(store: Store, batches: Batches) -> None:
    made = items(3, metadata_bytes=30, original_bytes=200)
    store.append(batches.make(TAIL_0, made, [original_of(number, 200) for number in range(3)]))
    before = state(store)
    update = update_of(store, told(0, 50), told(2, 20))
    assert store.update_items(update) == Updated(2)
    found = store.get_items(COLLECTION.collection_id, handles(made))
    assert [one.sealed_metadata for one in found] == [
        update.items[0].sealed_metadata,
        made[1].sealed_metadata,
        update.items[1].sealed_metadata,
    ]
    assert [read_original(store, one.handle)[1] for one in made] == [original_of(n, 200) for n in range(3)]
    assert [run.versions for run in read_runs(store)] == [b"version!" + bytes(8) + b"version!"]
    after = state(store)
    assert (after.sequence, after.chain) == (2, update.link.chain)
    assert after.size_bytes - before.size_bytes == 20 - 10
    assert (after.items, after.items_added, after.epoch) == (before.items, before.items_added, before.epoch)


def test_an_update_that_is_repeated_changes_nothing(store: Store, batches: Batches) -> None:
    store.append(batches.make(TAIL_0, items(1, metadata_bytes=30)))
    update = update_of(store, told(0, 50))
    answer = store.update_items(update)
    found = whole(store)
    assert store.update_items(update) == answer
    assert whole(store) == found


def test_an_item_that_was_nothing_but_a_handle_is_given_metadata(store: Store, batches: Batches) -> None:
    store.append(batches.make(TAIL_0, items(2)))
    store.update_items(update_of(store, told(1, 40)))
    found = store.get_items(COLLECTION.collection_id, handles(items(2)))
    assert [len(one.sealed_metadata) for one in found] == [0, 40]
    batches.sequence = delete_from(store, COLLECTION.collection_id, [identifier("item", 1)]).sequence
    assert [run.versions.strip(bytes(1)) for run in read_runs(store)] == [b""]
    assert state(store).size_bytes == Geometry.of(COLLECTION, Region.TAIL).block_bytes


def test_an_update_of_what_is_not_there_or_after_another_write_changes_nothing(
    store: Store, batches: Batches
) -> None:
    store.append(batches.make(TAIL_0, items(1, metadata_bytes=30)))
    late = update_of(store, told(0, 50))
    late = replace(late, link=replace(late.link, chain=sha256(b"another write")))
    store.append(batches.make(TAIL_0, items(1, start=1, metadata_bytes=30)))
    before = whole(store)
    with pytest.raises(Conflict):
        store.update_items(late)
    with pytest.raises(InvalidArgument, match="2 items to update, of which 1 are live, want all"):
        store.update_items(update_of(store, told(0, 50), told(9, 50)))
    assert whole(store) == before


def replacing(append: Append, more: Sequence[AppendItem] = ()) -> Append:
    """The append that deletes the items that have its handles, and others."""
    gone = b"".join(handles([*append.items, *more]))
    return replace(append, header=replace(append.header, replaces=gone))


def test_an_item_takes_the_place_of_the_one_with_its_handle(store: Store, batches: Batches) -> None:
    made = items(3, metadata_bytes=30, original_bytes=200)
    store.append(batches.make(TAIL_0, made, [original_of(number, 200) for number in range(3)]))
    newer = replace(items(1, start=1, original_bytes=90)[0], sealed_metadata=sealed(44, "newer"))
    fresh = items(1, start=7)[0]
    store.append(replacing(batches.make(TAIL_0, [newer, fresh], [original_of(1, 90), b""])))
    found = store.get_items(COLLECTION.collection_id, [*handles(made), fresh.handle])
    assert [one.sealed_metadata for one in found] == [
        made[0].sealed_metadata,
        newer.sealed_metadata,
        made[2].sealed_metadata,
        b"",
    ]
    assert read_original(store, newer.handle)[1] == original_of(1, 90)
    wanted = [made[0].handle, NO_HANDLE, made[2].handle, newer.handle, fresh.handle]
    assert b"".join(run.handles for run in read_runs(store)) == b"".join(wanted)
    record = state(store)
    assert (record.items, record.items_added) == (4, 5)
    blocks = 2 * Geometry.of(COLLECTION, Region.TAIL).block_bytes
    assert record.size_bytes == blocks + 30 + 200 + 44 + 90 + 30 + 200
    sweep(store)


def test_a_replacement_may_delete_more_than_it_brings_and_must_name_what_it_replaces(
    store: Store, batches: Batches
) -> None:
    made = items(4, metadata_bytes=30, original_bytes=200)
    store.append(batches.make(TAIL_0, made, [original_of(number, 200) for number in range(4)]))
    again = batches.make(TAIL_0, items(1, start=1))
    refused(store, replacing_only(again, made[2:3]), AlreadyExists, "1 handles are in the collection already")
    store.append(replacing(again, made[2:]))
    wanted = [made[0].handle, NO_HANDLE, NO_HANDLE, NO_HANDLE, made[1].handle]
    assert b"".join(run.handles for run in read_runs(store)) == b"".join(wanted)
    assert state(store).items == 2
    sweep(store)


def replacing_only(append: Append, gone: Sequence[AppendItem]) -> Append:
    return replace(append, header=replace(append.header, replaces=b"".join(handles(gone))))


def test_a_replacement_that_fails_leaves_the_item_as_it_was(store: Store, batches: Batches) -> None:
    store.append(batches.make(TAIL_0, items(1, metadata_bytes=30)))
    wrong = replacing(batches.make(TAIL_0, items(1, metadata_bytes=30)))
    refused(
        store, replace(wrong, header=changed(wrong.header, first_slot=9)), InvalidArgument, "first_slot 9"
    )


# --- retiring -----------------------------------------------------------------------------------------


@pytest.fixture
def tailed(store: Store, batches: Batches) -> Batches:
    """A tail of two segments with four items that have metadata and originals, and two deleted ones."""
    for start, segment in ((0, TAIL_0), (3, TAIL_1)):
        made = items(3, start, metadata_bytes=30, original_bytes=200)
        store.append(batches.make(segment, made, [original_of(n, 200) for n in range(start, start + 3)]))
    deleted = delete_from(store, COLLECTION.collection_id, [identifier("item", 1), identifier("item", 5)])
    batches.sequence = deleted.sequence
    return batches


LIVE = (0, 2, 3, 4)


def moving(numbers: tuple[int, ...] = LIVE) -> list:
    return [items(1, start=number)[0] for number in numbers]


def test_a_retiring_append_moves_items_with_all_that_they_have(store: Store, tailed: Batches) -> None:
    append = tailed.make(MAIN_0, [*moving(), *items(1, start=9)], retires=(TAIL_0, TAIL_1))
    assert store.append(append) == Appended(4, 1)
    log, blocks = read_log(store)
    assert (log.retired, log.epoch, log.batches) == ((TAIL_0, TAIL_1), 1, 1)
    assert blocks[0][1] == append.blocks[0]
    assert shapes(store) == [(MAIN_0, b"".join(handles(append.items)), 1)]
    record = state(store)
    assert (record.items, record.items_added, record.epoch) == (5, 7, 1)
    assert record.size_bytes == len(append.blocks[0]) + 4 * (30 + 200)
    for number in LIVE:
        (found,) = store.get_items(COLLECTION.collection_id, [identifier("item", number)])
        assert found.sealed_metadata == items(1, number, metadata_bytes=30)[0].sealed_metadata
        assert read_original(store, found.handle)[1] == original_of(number, 200)


def test_retired_segments_are_told_to_who_has_not_heard_of_them(store: Store, tailed: Batches) -> None:
    store.append(tailed.make(MAIN_0, moving((0, 2)), retires=(TAIL_0,)))
    store.append(tailed.make(MAIN_0, moving((3, 4)), retires=(TAIL_1,)))
    assert read_log(store, after=3)[0].retired == (TAIL_0, TAIL_1)
    assert read_log(store, after=4)[0].retired == (TAIL_1,)
    assert read_log(store, after=5)[0].retired == ()


def test_an_index_is_never_used_again(store: Store, tailed: Batches) -> None:
    store.append(tailed.make(MAIN_0, moving(), retires=(TAIL_0, TAIL_1)))
    (page,) = store.read_slots(COLLECTION.collection_id, 0)
    assert (page.next_main_index, page.next_tail_index) == (1, 2)
    revived = tailed.make(TAIL_0, items(1, start=9))
    refused(store, revived, InvalidArgument, "segment TAIL 0 is retired")
    tailed.sequence -= 1
    store.append(tailed.make(SegmentId(Region.TAIL, 2), items(1, start=9)))


def test_a_retiring_append_that_would_lose_an_item_is_refused(store: Store, tailed: Batches) -> None:
    append = tailed.make(MAIN_0, moving((0, 2, 3)), retires=(TAIL_0, TAIL_1))
    refused(store, append, InvalidArgument, "1 live items of the retired segments are not in the batch")


def test_a_moving_item_may_bring_new_metadata_and_keeps_its_original(store: Store, tailed: Batches) -> None:
    before = state(store).size_bytes - sum(len(block) for _, block in read_log(store)[1])
    (anew,) = items(1, start=2, metadata_bytes=50)
    append = tailed.make(MAIN_0, [*moving((0,)), anew], retires=(TAIL_0,))
    store.append(append)
    (found,) = store.get_items(COLLECTION.collection_id, [anew.handle])
    assert (found.sealed_metadata, found.original_size_bytes) == (anew.sealed_metadata, 200)
    assert read_original(store, found.handle)[1] == original_of(2, 200)
    blocks = sum(len(block) for _, block in read_log(store)[1])
    assert state(store).size_bytes == before + blocks + 50 - 30


def test_a_moving_item_that_brings_an_original_is_refused(store: Store, tailed: Batches) -> None:
    given = [*moving((0,)), *items(1, start=2, metadata_bytes=30, original_bytes=200)]
    append = tailed.make(MAIN_0, given, retires=(TAIL_0,))
    refused(store, append, InvalidArgument, "item 1 moves and keeps what it has")


def test_a_moving_item_that_has_no_metadata_brings_none(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(1)))
    append = batches.make(MAIN_1, items(1, metadata_bytes=30), retires=(MAIN_0,))
    refused(store, append, InvalidArgument, "item 0 moves and keeps what it has")


def test_an_item_of_a_segment_that_stays_cannot_move(store: Store, tailed: Batches) -> None:
    append = tailed.make(MAIN_0, moving((0, 2, 3)), retires=(TAIL_0,))
    refused(store, append, AlreadyExists, "of the items 2$")


@pytest.mark.parametrize("segment", [MAIN_0, SegmentId(Region.TAIL, 7)])
def test_a_segment_that_is_not_there_cannot_be_retired(
    store: Store, tailed: Batches, segment: SegmentId
) -> None:
    refused(store, tailed.retiring(segment), InvalidArgument, f"segment {segment} is not in use")


def test_a_segment_of_tombstones_is_retired_without_a_batch(store: Store, tailed: Batches) -> None:
    refused(store, tailed.retiring(TAIL_0), InvalidArgument, "2 live items")
    tailed.sequence = delete_from(store, COLLECTION.collection_id, handles(moving((0, 2)))).sequence
    tailed.epoch = 0  # that of the refused one
    before = state(store)
    assert store.append(tailed.retiring(TAIL_0)) == Appended(5, 1)
    assert [run.segment for run in read_runs(store)] == [TAIL_1]
    after = state(store)
    assert (after.items, after.items_added) == (before.items, before.items_added)
    assert after.size_bytes == before.size_bytes - len(read_log(store)[1][0][1])
    tailed.sequence = 5
    refused(store, tailed.retiring(TAIL_0), InvalidArgument, "not in use")


def test_a_repeated_retiring_append_changes_nothing(store: Store, tailed: Batches) -> None:
    append = tailed.make(MAIN_0, moving(), retires=(TAIL_0, TAIL_1))
    assert store.append(append) == Appended(4, 1)
    before = whole(store)
    assert store.append(append) == Appended(4, 1)
    assert whole(store) == before


# --- snapshots ----------------------------------------------------------------------------------------


def test_a_reader_sees_one_snapshot_while_segments_are_retired(store: Store, tailed: Batches) -> None:
    parts = store.read_batches(COLLECTION.collection_id, 0, ())
    slots = store.read_slots(COLLECTION.collection_id, 0)
    (page,) = slots
    first = [next(parts), next(parts)]
    append = tailed.make(MAIN_0, moving(), retires=(TAIL_0, TAIL_1))
    store.append(append)
    while store.sweep():
        pass
    blocks = [part for part in parts if isinstance(part, bytes)]
    assert isinstance(first[0], LogHeader)
    assert (first[0].sequence, first[0].batches, len(blocks)) == (3, 2, 2)
    assert {run.segment for run in page.runs} == {TAIL_0, TAIL_1}
    assert read_log(store)[0].sequence == 4


def test_a_half_read_snapshot_can_be_closed(store: Store, tailed: Batches) -> None:
    for _ in range(50):
        parts = store.read_batches(COLLECTION.collection_id, 0, ())
        next(parts)
        next(parts)
        parts.close()
    assert read_log(store)[0].batches == 2


def test_appends_of_many_threads_never_mix(store: Store, batches: Batches) -> None:
    appends = [batches.make(MAIN_0, items(1, start=number)) for number in range(8)]
    outcomes: list[str] = []

    def race(append: Append) -> None:
        header = changed(append.header, expected_sequence=0, first_slot=0)
        try:
            store.append(replace(append, header=header))
            outcomes.append("stored")
        except Conflict:
            outcomes.append("conflict")

    racers = [threading.Thread(target=race, args=(append,)) for append in appends]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    assert sorted(outcomes) == ["conflict"] * 7 + ["stored"]
    assert (state(store).sequence, state(store).items) == (1, 1)


# --- planes -------------------------------------------------------------------------------------------


def test_planes_come_back_piece_by_piece(store: Store, batches: Batches) -> None:
    made = items(4, metadata_bytes=20, original_bytes=500)
    made[1], made[3] = with_planes(made[1], LARGE_PLANES), with_planes(made[3])
    large, small = pieces_of(LARGE_PLANES, 1), pieces_of(SMALL_PLANES, 3)
    assert (len(large), len(small)) == (3, 2)
    append = batches.make(MAIN_0, made, [original_of(n, 500) for n in range(4)])
    assert store.append(staged(store, append, large + small)) == Appended(1, 0)
    sizes = [sum(map(len, pieces)) for pieces in (large, small)]
    assert read_planes(store, made[1].handle) == (PlanesHeader(LARGE_PLANES, sizes[0]), large)
    assert read_planes(store, made[3].handle) == (PlanesHeader(SMALL_PLANES, sizes[1]), small)
    found = store.get_items(COLLECTION.collection_id, handles(made))
    assert [item.planes_size_bytes for item in found] == [0, sizes[0], 0, sizes[1]]
    assert read_original(store, made[3].handle)[1] == original_of(3, 500)
    for handle in (made[0].handle, identifier("unknown")):
        with pytest.raises(NotFound, match="planes"):
            read_planes(store, handle)


def test_planes_of_an_item_without_anything_else_come_back(store: Store, batches: Batches) -> None:
    made = [with_planes(item) for item in items(1)]
    store.append(staged(store, batches.make(MAIN_0, made), pieces_of(SMALL_PLANES)))
    assert read_planes(store, made[0].handle)[1] == pieces_of(SMALL_PLANES)


def test_planes_are_counted_as_they_come_and_go(store: Store, batches: Batches) -> None:
    made = [with_planes(item) for item in items(2, metadata_bytes=10)]
    first, second = (pieces_of(SMALL_PLANES, number) for number in range(2))
    size = sum(map(len, first))
    append = batches.make(MAIN_0, [*made, *items(1, start=2)])
    store.append(staged(store, append, first + second))
    record = state(store)
    assert (record.plane_items, record.plane_bytes) == (2, 2 * size)
    assert record.size_bytes == len(append.blocks[0]) + 20 + 2 * size
    delete_from(store, COLLECTION.collection_id, handles([made[0], *items(1, start=2)]))
    record = state(store)
    assert (record.plane_items, record.plane_bytes, record.items) == (1, size, 1)
    assert record.size_bytes == len(append.blocks[0]) + 10 + size
    with pytest.raises(NotFound):
        read_planes(store, made[0].handle)
    assert read_planes(store, made[1].handle)[1] == second


def test_planes_stay_with_an_item_that_moves(store: Store, batches: Batches) -> None:
    made = [with_planes(items(1, metadata_bytes=10)[0]), *items(1, start=1)]
    store.append(staged(store, batches.make(TAIL_0, made), pieces_of(SMALL_PLANES)))
    before = state(store)
    moving = batches.make(MAIN_0, items(2), retires=[TAIL_0])
    store.append(moving)
    sweep(store)
    assert read_planes(store, made[0].handle)[1] == pieces_of(SMALL_PLANES)
    after = state(store)
    assert (after.plane_items, after.plane_bytes) == (1, before.plane_bytes)


def test_an_item_that_moves_brings_no_planes(store: Store, batches: Batches) -> None:
    store.append(batches.make(TAIL_0, items(1)))
    moving = batches.make(MAIN_0, [with_planes(items(1)[0])], retires=[TAIL_0])
    refused(store, staged(store, moving, pieces_of(SMALL_PLANES)), InvalidArgument, "item 0 moves")


def test_what_is_staged_is_no_items_until_it_is_appended(store: Store, batches: Batches) -> None:
    before = whole(store)
    append = staged(store, batches.make(MAIN_0, [with_planes(items(1)[0])]), pieces_of(SMALL_PLANES))
    sweep(store)
    assert whole(store) == before
    store.append(append)
    assert read_planes(store, append.items[0].handle)[1] == pieces_of(SMALL_PLANES)


def test_uploads_that_come_at_once_are_not_mixed_up(store: Store, batches: Batches) -> None:
    uploads = [identifier("upload", number) for number in range(2)]
    pieces = [pieces_of(LARGE_PLANES, number) for number in range(2)]
    for place in range(3):
        for upload, of in zip(uploads, pieces, strict=True):
            store.stage(upload, PieceHeader(len(of[place]), sha256(of[place])), of[place])
    for number, upload in enumerate(uploads):
        append = batches.make(MAIN_0, [with_planes(items(1, start=number)[0], LARGE_PLANES)])
        store.append(replace(append, upload=upload))
        assert read_planes(store, append.items[0].handle)[1] == pieces[number]


def test_a_discarded_upload_is_gone_and_its_append_refused(store: Store, batches: Batches) -> None:
    append = staged(store, batches.make(MAIN_0, [with_planes(items(1)[0])]), pieces_of(SMALL_PLANES))
    full = store.status().disk_bytes
    for _ in range(2):
        store.discard(append.upload)
    sweep(store)
    assert store.status().disk_bytes < full
    refused(store, append, InvalidArgument, "0 pieces of planes are staged, want 2")


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_an_append_with_fewer_or_more_pieces_than_its_planes_is_refused(
    store: Store, batches: Batches, count: int
) -> None:
    pieces = (pieces_of(LARGE_PLANES) * 2)[:count]
    append = staged(store, batches.make(MAIN_0, [with_planes(items(1)[0], LARGE_PLANES)]), pieces)
    refused(store, append, InvalidArgument, f"{count} pieces of planes are staged, want 3")


def test_a_repeated_batch_drops_the_planes_that_came_again(store: Store, batches: Batches) -> None:
    append = batches.make(MAIN_0, [with_planes(items(1)[0])])
    store.append(staged(store, append, pieces_of(SMALL_PLANES)))
    before, full = whole(store), store.status().disk_bytes
    again = staged(store, append, pieces_of(SMALL_PLANES, 7))
    assert store.append(again) == Appended(1, 0)
    sweep(store)
    assert whole(store) == before
    assert store.status().disk_bytes <= full
    assert read_planes(store, append.items[0].handle)[1] == pieces_of(SMALL_PLANES)


def test_a_deleted_collection_takes_its_planes_along(store: Store) -> None:
    empty = store.status().disk_bytes
    record = store.create_collection(COLLECTION)
    append = Batches(record).make(MAIN_0, [with_planes(items(1)[0], LARGE_PLANES)])
    store.append(staged(store, append, pieces_of(LARGE_PLANES)))
    store.delete_collection(COLLECTION.collection_id)
    sweep(store)
    assert store.status().disk_bytes <= empty
    store.create_collection(COLLECTION)
    assert (state(store).plane_items, state(store).plane_bytes) == (0, 0)


def test_planes_are_read_to_their_end_while_their_item_is_deleted(store: Store, batches: Batches) -> None:
    append = batches.make(MAIN_0, [with_planes(items(1)[0], LARGE_PLANES)])
    store.append(staged(store, append, pieces_of(LARGE_PLANES)))
    reading = store.read_planes(COLLECTION.collection_id, append.items[0].handle)
    next(reading)
    delete_from(store, COLLECTION.collection_id, handles(append.items))
    sweep(store)
    rest = b"".join(part for part in reading if isinstance(part, bytes))
    *pieces, seal = pieces_of(LARGE_PLANES)
    assert rest == b"".join((seal, *pieces))


# --- attachments --------------------------------------------------------------------------------------


def read_attachments(store: Store, of: list[bytes]) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    announced: dict[bytes, AttachmentHeader] = {}
    handle = b""
    for part in store.read_attachments(COLLECTION.collection_id, of):
        if isinstance(part, AttachmentHeader):
            handle = part.handle
            announced[handle], found[handle] = part, b""
        else:
            found[handle] += part
    for handle, data in found.items():
        assert announced[handle] == AttachmentHeader(handle, len(data), sha256(data))
    return found


@pytest.fixture
def attached(store: Store, batches: Batches) -> list[AppendItem]:
    """Four items of one batch, of which the second and the last have attachments."""
    made = items(4, metadata_bytes=20, original_bytes=500)
    attachments = {place: attachment_of(place, ATTACHMENT_BYTES) for place in (1, 3)}
    made = [
        with_attachment(item, attachments[n]) if n in attachments else item for n, item in enumerate(made)
    ]
    originals = [original_of(n, 500) for n in range(4)]
    store.append(batches.make(TAIL_0, made, originals, attachments=attachments))
    return made


ATTACHMENT_BYTES = 300_000  # two chunks


def test_attachments_come_back_for_many_items_at_once(store: Store, attached: list[AppendItem]) -> None:
    asked = [*handles(attached), identifier("unknown"), attached[1].handle]
    assert read_attachments(store, asked) == {
        attached[n].handle: attachment_of(n, ATTACHMENT_BYTES) for n in (1, 3)
    }
    assert read_original(store, attached[3].handle)[1] == original_of(3, 500)
    with pytest.raises(NotFound):
        list(store.read_attachments(identifier("nowhere"), asked))


def test_attachments_count_among_the_bytes_and_go_with_their_item(
    store: Store, attached: list[AppendItem]
) -> None:
    before = state(store).size_bytes
    delete_from(store, COLLECTION.collection_id, [attached[1].handle, attached[0].handle])
    sweep(store)
    assert state(store).size_bytes == before - ATTACHMENT_BYTES - 2 * (20 + 500)
    assert list(read_attachments(store, handles(attached))) == [attached[3].handle]


def test_an_attachment_stays_with_an_item_that_moves(
    store: Store, batches: Batches, attached: list[AppendItem]
) -> None:
    before = read_attachments(store, handles(attached))
    store.append(batches.make(MAIN_0, items(4), retires=[TAIL_0]))
    sweep(store)
    assert read_attachments(store, handles(attached)) == before


def test_an_item_that_moves_brings_no_attachment(store: Store, batches: Batches) -> None:
    store.append(batches.make(TAIL_0, items(1)))
    new = attachment_of(0, 100)
    moving = batches.make(MAIN_0, [with_attachment(items(1)[0], new)], retires=[TAIL_0], attachments={0: new})
    refused(store, moving, InvalidArgument, "item 0 moves")


def test_a_deleted_collection_takes_its_attachments_along(store: Store, attached: list[AppendItem]) -> None:
    full = store.status().disk_bytes
    store.delete_collection(COLLECTION.collection_id)
    sweep(store)
    assert store.status().disk_bytes < full - 2 * ATTACHMENT_BYTES
    store.create_collection(COLLECTION)
    assert read_attachments(store, handles(attached)) == {}


# --- truncation -------------------------------------------------------------------------------------------


def test_a_truncation_takes_all_items_and_what_they_have_and_leaves_the_collection(
    store: Store, batches: Batches
) -> None:
    other = Batches(store.create_collection(collection(1)))
    store.append(other.make(MAIN_0, items(2, original_bytes=500), [original_of(n, 500) for n in range(2)]))
    empty = store.status().disk_bytes
    made = [with_attachment(one, attachment_of(1, 900)) for one in items(1, start=9, metadata_bytes=80)]
    store.append(batches.make(TAIL_0, made, attachments={0: attachment_of(1, 900)}))
    large = items(4, metadata_bytes=100, original_bytes=1_000_000)
    store.append(batches.make(MAIN_0, large, [original_of(n, 1_000_000) for n in range(4)]))
    delete_from(store, COLLECTION.collection_id, handles(large[:1]))
    before = state(store)
    change = truncation_to(COLLECTION, 4, 1)
    for _ in range(2):  # its answer was lost
        assert store.truncate_collection(change) == 4
        told = state(store)
        counts = (told.items, told.size_bytes, told.plane_items, told.plane_bytes, told.items_added)
        assert counts == (0, 0, 0, 0, before.items_added)
        assert (told.sequence, told.epoch, told.chain) == (4, 1, chain_at(4))
        assert told.sealed_config == COLLECTION.sealed_config
    log, blocks = read_log(store, 2)
    assert (set(log.retired), blocks) == ({MAIN_0, TAIL_0}, [])
    (page,) = store.read_slots(COLLECTION.collection_id, 3)
    assert (page.runs, page.next_main_index, page.next_tail_index) == ((), 1, 1)
    assert store.get_items(COLLECTION.collection_id, handles([*made, *large])) == []
    while store.sweep():
        pass
    assert store.status().disk_bytes <= empty + 100_000
    header, *_ = store.read_original(other.record.collection_id, handles(items(1))[0])
    assert isinstance(header, OriginalHeader)
    assert header.size_bytes == 500


def test_a_truncated_collection_is_written_to_again(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    store.truncate_collection(truncation_to(COLLECTION, 2, 1))
    batches.sequence, batches.epoch = 2, 1
    with pytest.raises(InvalidArgument, match="is retired"):
        store.append(batches.make(MAIN_0, items(1)))
    batches.sequence = 2
    store.append(batches.make(MAIN_1, items(3)))
    assert shapes(store) == [(MAIN_1, b"".join(handles(items(3))), 1)]


def test_a_truncation_of_another_state_is_refused(store: Store, batches: Batches) -> None:
    store.append(batches.make(MAIN_0, items(3)))
    before = state(store)
    another = replace(link_to(1, 1), chain=sha256(b"of another writer"))
    with pytest.raises(Conflict, match="another history"):
        store.truncate_collection(truncation_to(COLLECTION, 1, 1, link=another))
    with pytest.raises(InvalidArgument, match="want 2 and 1"):
        store.truncate_collection(truncation_to(COLLECTION, 2, 0))
    assert state(store) == before
