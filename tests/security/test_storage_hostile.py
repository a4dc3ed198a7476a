"""Hostile bytes at every rpc of storage: one clear status each, nothing stored, still serving."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.services import Process, wait_until
from support.storage import (
    LARGE_PLANES,
    MAIN_0,
    TAIL_0,
    Batches,
    Client,
    attachment_of,
    changed,
    collection,
    deletion_to,
    handles,
    identifier,
    items,
    items_message,
    link_to,
    original_of,
    piece_messages,
    pieces_of,
    random_block,
    random_planes,
    refusal,
    requests,
    sealed,
    settings_to,
    sha256,
    truncation_to,
    with_attachment,
    with_planes,
)

from blindsight.ciphertext import residues
from blindsight.ciphertext.header import SECRET_MAGICS
from blindsight.parameters import BFV_4096
from blindsight.rpc.storage.v1 import storage_pb2 as pb
from blindsight.wire.storage import ItemUpdate, Update
from services.storage.records import Append

COLLECTION = collection()
SERVICE = pb.DESCRIPTOR.services_by_name["StorageService"]
GOOD = Batches(COLLECTION).make(
    MAIN_0, items(2, metadata_bytes=50, original_bytes=500), [original_of(0, 500), original_of(1, 500)]
)
KEY = SECRET_MAGICS[0] + bytes(200)
INVALID = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_ARGUMENT")
CIPHERTEXT = (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_CIPHERTEXT")
SECRET = (grpc.StatusCode.INVALID_ARGUMENT, "SECRET_MATERIAL_REFUSED")
EXHAUSTED = (grpc.StatusCode.RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED")
CONFLICT = (grpc.StatusCode.ABORTED, "CONFLICT")
MISSING = (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("storage")
    process = Process("storage", {"data": str(folder / "data")}, folder / "log")
    process.start()
    with Client(process.address) as client:
        client.create(COLLECTION)
    yield process
    assert process.stop() == 0
    log = (folder / "log").read_text()
    assert "Traceback" not in log
    assert "unexpected_exception" not in log


@pytest.fixture
def client(service: Process) -> Iterator[Client]:
    """A client; after every test the service serves, has stored nothing and takes a good append's header."""
    with Client(service.address) as made:
        yield made
        assert made.serving()
        listed = made.stub.ListCollections(pb.ListCollectionsRequest()).collections
        assert [(record.collection_id, record.sequence, record.items) for record in listed] == [
            (COLLECTION.collection_id, 0, 0)
        ]


def is_refused(call: Callable[[], object], expected: tuple[grpc.StatusCode, str], message: str = "") -> None:
    code, reason, text = refusal(call)
    assert (code, reason) == expected, text
    assert message in text
    assert text
    assert "\n" not in text


def append(client: Client, messages: Iterable[pb.AppendRequest]) -> Callable[[], object]:
    return lambda: client.stub.Append(iter(list(messages)), timeout=30)


def parts(
    of: Append = GOOD, *, chunks: Sequence[bytes] | None = None, **header: object
) -> list[pb.AppendRequest]:
    """The messages of an append with another header or other chunks."""
    first, listed, *rest = requests(replace(of, header=changed(of.header, **header)))
    return [first, listed, *(rest if chunks is None else [pb.AppendRequest(chunk=chunk) for chunk in chunks])]


def with_block(block: bytes) -> list[pb.AppendRequest]:
    """An append whose announced digest is that of these bytes, which have the announced size."""
    size = GOOD.header.block_size_bytes
    block = (block + bytes(size))[:size]
    return parts(chunks=[block, *GOOD.originals], block_sha256=sha256(block))


def with_original(original: bytes) -> list[pb.AppendRequest]:
    (item,) = items(1)
    given_item = replace(item, original_size_bytes=len(original), original_sha256=sha256(original))
    return list(requests(Batches(COLLECTION).make(MAIN_0, [given_item], [original])))


# --- bytes that are no message, at every rpc ----------------------------------------------------------


@pytest.mark.parametrize("method", list(SERVICE.methods), ids=lambda method: method.name)
@pytest.mark.parametrize(
    "data",
    [b"junk", b"\xff" * 64, KEY, b"\x0a\xff\xff\xff\xff\x0f"],
    ids=["junk", "ones", "key", "truncated"],
)
def test_bytes_that_are_no_message_are_refused(client: Client, method, data: bytes) -> None:
    path = f"/{SERVICE.full_name}/{method.name}"

    def call() -> object:
        if method.client_streaming:
            return client.channel.stream_unary(path)(iter([data]), timeout=30)
        if method.server_streaming:
            return client.channel.unary_stream(path)(data, timeout=30)
        return client.channel.unary_unary(path)(data, timeout=30)

    is_refused(call, INVALID, "not a message of this rpc")


@pytest.mark.parametrize(
    "method",
    [method for method in SERVICE.methods if not method.name.startswith(("List", "GetStatus"))],
    ids=lambda method: method.name,
)
def test_an_empty_message_is_refused(client: Client, method) -> None:
    request = getattr(pb, method.input_type.name)()
    call = getattr(client.stub, method.name)
    is_refused(lambda: call(iter([request]) if method.client_streaming else request, timeout=30), INVALID)


def told(**changes: object) -> ItemUpdate:
    """What an item is given, as it should be but for some changes."""
    given: dict[str, object] = {
        "handle": identifier("item", 0),
        "sealed_metadata": sealed(40),
        "version": bytes(7) + b"v",
    }
    return ItemUpdate(**{**given, **changes})  # type: ignore[arg-type]


def update(collection_id: bytes, *items: ItemUpdate, **changes: object) -> object:
    return Update(collection_id, items, replace(link_to(1), **changes)).to_message()


HOSTILE_UPDATES = {
    "nothing": ([], {}, INVALID, "want one at least"),
    "an item twice": ([told(), told()], {}, INVALID, "stands twice"),
    "a short version": ([told(version=b"short")], {}, INVALID, "version of 5 bytes"),
    "no version": ([told(version=b"")], {}, INVALID, "version of 0 bytes"),
    "metadata that are not sealed": ([told(sealed_metadata=b"name")], {}, INVALID, "not sealed"),
    "no metadata": ([told(sealed_metadata=b"")], {}, INVALID, "not sealed"),
    "a key": (
        [told(sealed_metadata=SECRET_MAGICS[0] + bytes(50))],
        {},
        SECRET,
        "looks like a serialised key",
    ),
    "metadata of 65 KiB": ([told(sealed_metadata=sealed(65 << 10))], {}, EXHAUSTED, "want at most 65536"),
    "an item that is not there": ([told(handle=identifier("nobody"))], {}, INVALID, "are live, want all"),
    "a sequence that is not the next": ([told()], {"sequence": 7}, INVALID, "want 1 and 0"),
    "another epoch": ([told()], {"epoch": 3}, INVALID, "want 1 and 0"),
    "a short chain": ([told()], {"chain": b"short"}, INVALID, "the link's chain"),
    "another history": ([told()], {"previous": bytes(31) + b"x"}, CONFLICT, "another history"),
}


@pytest.mark.parametrize("name", HOSTILE_UPDATES)
def test_a_hostile_update_is_refused_and_changes_nothing(client: Client, name: str) -> None:
    items, changes, status, message = HOSTILE_UPDATES[name]
    is_refused(
        lambda: client.stub.UpdateItems(update(COLLECTION.collection_id, *items, **changes)), status, message
    )


@pytest.mark.parametrize("value", [b"", b"short", bytes(16), b"x" * 17, b"x" * 100_000])
def test_an_id_of_another_form_is_refused_everywhere(client: Client, value: bytes) -> None:
    stub, key = client.stub, COLLECTION.collection_id
    calls: list[Callable[[], object]] = [
        lambda: stub.GetCollection(pb.GetCollectionRequest(collection_id=value)),
        lambda: stub.DeleteCollection(pb.DeleteCollectionRequest(collection_id=value)),
        lambda: stub.ReplaceConfig(settings_to(COLLECTION, sealed(9), 1, collection_id=value).to_message()),
        lambda: stub.ReplaceConfig(settings_to(COLLECTION, sealed(9), 1, name_tag=value).to_message()),
        lambda: stub.TruncateCollection(truncation_to(COLLECTION, 1, 1, collection_id=value).to_message()),
        lambda: stub.ReadBatches(pb.ReadBatchesRequest(collection_id=value)),
        lambda: stub.ReadSlots(pb.ReadSlotsRequest(collection_id=value)),
        lambda: stub.GetItems(pb.GetItemsRequest(collection_id=value)),
        lambda: stub.GetItems(pb.GetItemsRequest(collection_id=key, handles=[identifier(1), value])),
        lambda: stub.DeleteItems(pb.DeleteItemsRequest(collection_id=value)),
        lambda: stub.DeleteItems(pb.DeleteItemsRequest(collection_id=key, handles=[value])),
        lambda: stub.UpdateItems(update(value, told())),
        lambda: stub.UpdateItems(update(key, told(handle=value))),
        lambda: stub.ReadOriginal(pb.ReadOriginalRequest(collection_id=key, handle=value)),
        lambda: stub.ReadOriginal(pb.ReadOriginalRequest(collection_id=value, handle=identifier(1))),
        lambda: stub.ReadPlanes(pb.ReadPlanesRequest(collection_id=key, handle=value)),
        lambda: stub.ReadPlanes(pb.ReadPlanesRequest(collection_id=value, handle=identifier(1))),
        append(client, parts(collection_id=value)),
        append(client, parts(batch_id=value)),
        lambda: client.create(collection(1, collection_id=value)),
        lambda: client.create(collection(1, name_tag=value)),
        lambda: client.create(collection(1, key_id=value)),
    ]
    for call in calls:
        is_refused(call, INVALID)


def test_unknown_collections_and_items_are_not_found(client: Client) -> None:
    stub, unknown = client.stub, identifier("unknown")
    calls: list[Callable[[], object]] = [
        lambda: stub.GetCollection(pb.GetCollectionRequest(collection_id=unknown)),
        lambda: stub.DeleteCollection(pb.DeleteCollectionRequest(collection_id=unknown)),
        lambda: stub.ReplaceConfig(settings_to(COLLECTION, sealed(9), 1, collection_id=unknown).to_message()),
        lambda: stub.TruncateCollection(truncation_to(COLLECTION, 1, 1, collection_id=unknown).to_message()),
        lambda: stub.ReadBatches(pb.ReadBatchesRequest(collection_id=unknown)),
        lambda: stub.ReadSlots(pb.ReadSlotsRequest(collection_id=unknown)),
        lambda: stub.GetItems(pb.GetItemsRequest(collection_id=unknown)),
        lambda: stub.DeleteItems(deletion_to(collection(1, collection_id=unknown), [unknown], 1)),
        lambda: stub.UpdateItems(update(unknown, told())),
        lambda: stub.ReadOriginal(pb.ReadOriginalRequest(collection_id=unknown, handle=unknown)),
        lambda: client.original(COLLECTION, unknown),
        lambda: stub.ReadPlanes(pb.ReadPlanesRequest(collection_id=unknown, handle=unknown)),
        lambda: client.planes(COLLECTION, unknown),
        append(client, parts(collection_id=unknown)),
    ]
    for call in calls:
        is_refused(call, MISSING)


# --- collections --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (b"", INVALID),
        (b"junk", INVALID),
        (bytes(64), INVALID),
        (b'{"name": "holiday"}', INVALID),
        (KEY, SECRET),
        (b"BSKY" + bytes(60), SECRET),
        (sealed((64 << 10) + 1), EXHAUSTED),
    ],
    ids=["empty", "junk", "zeros", "json", "seal", "key file", "large"],
)
def test_settings_that_are_not_sealed_are_refused(
    client: Client, config: bytes, expected: tuple[grpc.StatusCode, str]
) -> None:
    is_refused(lambda: client.create(collection(1, sealed_config=config)), expected)
    replacing = settings_to(COLLECTION, config, 1).to_message()
    is_refused(lambda: client.stub.ReplaceConfig(replacing), expected)


@pytest.mark.parametrize(
    "changes",
    [
        {"parameter_set": ""},
        {"parameter_set": "ckks-4096'; DROP TABLE collections; --"},
        {"parameter_set": "x" * 1_000_000},
        {"dimension": 0},
        {"dimension": 2**32 - 1},
        {"stride": 0},
        {"stride": 3},
        {"stride": 2**31},
    ],
    ids=str,
)
def test_parameters_that_cannot_be_are_refused(client: Client, changes: dict[str, object]) -> None:
    is_refused(lambda: client.create(collection(1, **changes)), INVALID)


@pytest.mark.parametrize(
    "fields",
    [{"page_size": 1001}, {"page_size": 2**32 - 1}, {"page_token": "-1"}, {"page_token": "9" * 100_000}],
)
def test_pages_that_cannot_be_are_refused(client: Client, fields: dict) -> None:
    is_refused(lambda: client.stub.ListCollections(pb.ListCollectionsRequest(**fields)), INVALID)


def test_regions_that_are_unspecified_or_unknown_are_refused(client: Client) -> None:
    for region in (0, 3, -1, 2**31 - 1):
        segment = pb.SegmentId(region=region, index=0)  # type: ignore[arg-type]
        reading = pb.ReadBatchesRequest(collection_id=COLLECTION.collection_id, only_segments=[segment])
        is_refused(lambda reading=reading: client.stub.ReadBatches(reading), INVALID, "want MAIN, TAIL")
        into, retiring = GOOD.header.to_message(), GOOD.header.to_message()
        into.batches[0].segment.CopyFrom(segment)
        retiring.retires.append(segment)
        for header in (into, retiring):
            messages = [pb.AppendRequest(header=header), *parts()[1:]]
            is_refused(append(client, messages), INVALID, "want MAIN, TAIL")


def test_lists_that_are_too_long_are_refused(client: Client) -> None:
    many = [identifier(0)] * 10_001
    key = COLLECTION.collection_id
    is_refused(lambda: client.stub.GetItems(pb.GetItemsRequest(collection_id=key, handles=many)), INVALID)
    is_refused(
        lambda: client.stub.DeleteItems(pb.DeleteItemsRequest(collection_id=key, handles=many)), INVALID
    )
    items = [told(handle=identifier(number)) for number in range(10_001)]
    is_refused(lambda: client.stub.UpdateItems(update(key, *items)), INVALID)
    segments = [pb.SegmentId(region=pb.REGION_MAIN, index=index) for index in range(100_001)]
    reading = pb.ReadBatchesRequest(collection_id=key, only_segments=segments)
    is_refused(lambda: client.stub.ReadBatches(reading), INVALID)


def test_a_message_over_the_size_limit_is_refused(client: Client) -> None:
    huge = pb.AppendRequest(chunk=bytes(5 << 20))
    with pytest.raises(grpc.RpcError) as caught:
        client.stub.Append(iter([parts()[0], parts()[1], huge]), timeout=30)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


# --- appends: the order of the parts ------------------------------------------------------------------


def header() -> pb.AppendRequest:
    return parts()[0]


def listed(count: int = 2) -> pb.AppendRequest:
    return pb.AppendRequest(items=items_message(items(count)))


def chunk(data: bytes = b"chunk") -> pb.AppendRequest:
    return pb.AppendRequest(chunk=data)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ([], "the end, want a header"),
        ([chunk()], "a chunk, want a header"),
        ([listed()], "2 items, want a header"),
        ([header()], "the end after 0 items, want 2"),
        ([header(), header()], "a header after 0 items"),
        ([header(), chunk()], "a chunk after 0 items"),
        ([header(), listed(1), chunk()], "a chunk after 1 items"),
        ([header(), listed(0)], "0 items after 0 items"),
        ([header(), listed(3)], "3 items came, want 2"),
        ([header(), parts()[1]], "the end, want a chunk"),
        ([header(), parts()[1], header()], "a header, want a chunk"),
        ([header(), parts()[1], listed()], "2 items, want a chunk"),
        ([header(), parts()[1], chunk(b"")], "an empty chunk"),
        ([header(), parts()[1], pb.AppendRequest()], "without a part"),
        ([pb.AppendRequest(piece=pb.PieceHeader())], "the header of a piece, want a header"),
        ([header(), pb.AppendRequest(piece=pb.PieceHeader())], "the header of a piece after 0 items"),
        ([header(), parts()[1], pb.AppendRequest(piece=pb.PieceHeader())], "the header of a piece, want a"),
        ([*parts(), pb.AppendRequest(piece=pb.PieceHeader())], "the header of a piece after everything"),
        ([*parts(), chunk()], "a chunk after everything"),
        ([*parts(), header()], "a header after everything"),
        ([*parts(), listed()], "2 items after everything"),
        (parts(chunks=[GOOD.blocks[0]]), "the end, want a chunk"),
        (parts(chunks=[GOOD.blocks[0][:-1]]), "the end, want a chunk"),
        (parts(chunks=[GOOD.blocks[0], *GOOD.originals, b"x"]), "a chunk after everything"),
        (parts(chunks=[GOOD.blocks[0] + b"".join(GOOD.originals) + b"x"]), "1 bytes more than announced"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_parts_out_of_order_are_refused(
    client: Client, messages: list[pb.AppendRequest], message: str
) -> None:
    is_refused(append(client, messages), INVALID, message)


# --- appends: the header ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"block_size_bytes": 0}, CIPHERTEXT),
        ({"block_size_bytes": GOOD.header.block_size_bytes - 1}, CIPHERTEXT),
        ({"block_size_bytes": 2**64 - 1}, CIPHERTEXT),
        ({"segment": TAIL_0}, CIPHERTEXT),
        ({"block_sha256": b""}, INVALID),
        ({"block_sha256": bytes(31)}, INVALID),
        ({"count": 0}, INVALID),
        ({"count": 1025}, INVALID),
        ({"count": 2**32 - 1}, INVALID),
        ({"first_slot": 1}, INVALID),
        ({"first_slot": 2**32 - 1}, INVALID),
        ({"segment": MAIN_0._replace(index=1)}, INVALID),
        ({"segment": MAIN_0._replace(index=2**32 - 1)}, INVALID),
        ({"retires": (MAIN_0,)}, INVALID),
        ({"retires": (TAIL_0,)}, INVALID),
        ({"retires": (TAIL_0, TAIL_0)}, INVALID),
        ({"expected_sequence": 1}, (grpc.StatusCode.ABORTED, "CONFLICT")),
        ({"expected_sequence": 2**64 - 1}, (grpc.StatusCode.ABORTED, "CONFLICT")),
    ],
    ids=str,
)
def test_a_header_that_does_not_fit_is_refused(
    client: Client, changes: dict[str, object], expected: tuple[grpc.StatusCode, str]
) -> None:
    is_refused(append(client, parts(**changes)), expected)


def test_an_announced_size_is_refused_before_a_byte_of_it_is_taken(client: Client) -> None:
    taken = 0

    def endless() -> Iterator[pb.AppendRequest]:
        nonlocal taken
        yield from parts(block_size_bytes=2**40)[:2]
        while True:
            taken += 1
            yield chunk(bytes(1 << 16))

    is_refused(lambda: client.stub.Append(endless(), timeout=30), CIPHERTEXT)
    # Some are on their way before the answer is there; gigabytes are not.
    assert taken < 1000


# --- appends: items, block, originals -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"handle": b""}, INVALID),
        ({"handle": bytes(16)}, INVALID),
        ({"handle": items(1, start=1)[0].handle}, INVALID),
        ({"sealed_metadata": b"holiday.jpg"}, INVALID),
        ({"sealed_metadata": KEY}, SECRET),
        ({"sealed_metadata": sealed((64 << 10) + 1)}, EXHAUSTED),
        ({"original_size_bytes": 2**64 - 1}, EXHAUSTED),
        ({"original_size_bytes": (80 << 20) + 1}, EXHAUSTED),
        ({"original_size_bytes": 0}, INVALID),
        ({"original_sha256": b""}, INVALID),
        ({"original_sha256": bytes(33)}, INVALID),
    ],
    ids=str,
)
def test_an_item_that_cannot_be_is_refused(
    client: Client, changes: dict[str, object], expected: tuple[grpc.StatusCode, str]
) -> None:
    changed = [replace(GOOD.items[0], **changes), GOOD.items[1]]  # type: ignore[arg-type]
    first, _, *rest = parts()
    is_refused(append(client, [first, pb.AppendRequest(items=items_message(changed)), *rest]), expected)


def test_metadata_of_many_items_is_limited_in_all(client: Client) -> None:
    large = items(1000, metadata_bytes=60_000)
    batch = Batches(COLLECTION).make(MAIN_0, large)
    messages = [pb.AppendRequest(header=batch.header.to_message())]
    messages += [
        pb.AppendRequest(items=items_message(large[start : start + 50])) for start in range(0, 1000, 50)
    ]
    is_refused(append(client, messages), EXHAUSTED, "metadata of")


def test_originals_of_many_items_are_limited_in_all(client: Client) -> None:
    large = [replace(item, original_size_bytes=70 << 20, original_sha256=bytes(32)) for item in items(4)]
    batch = Batches(COLLECTION).make(MAIN_0, large)
    messages = [batch.header.to_message(), items_message(large)]
    wrapped = [pb.AppendRequest(header=messages[0]), pb.AppendRequest(items=messages[1])]
    is_refused(append(client, wrapped), EXHAUSTED, "originals and attachments of")


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"", CIPHERTEXT),
        (b"junk", CIPHERTEXT),
        (KEY, SECRET),
        (b"BSKY", SECRET),
        (sealed(100), CIPHERTEXT),
        (random_block(1), CIPHERTEXT),
        (random_block(2, key_id=identifier("another key")), CIPHERTEXT),
        (random_planes(2), CIPHERTEXT),
        (GOOD.blocks[0][:4] + b"\x02" + GOOD.blocks[0][5:], CIPHERTEXT),
        (GOOD.blocks[0][:6] + b"\x04" + GOOD.blocks[0][7:], CIPHERTEXT),
        (GOOD.blocks[0][:7] + b"\x02" + GOOD.blocks[0][8:], CIPHERTEXT),
        (GOOD.blocks[0][:8] + b"\xff\xff" + GOOD.blocks[0][10:], CIPHERTEXT),
        (GOOD.blocks[0][:12] + b"\xff\xff\xff\xff" + GOOD.blocks[0][16:], CIPHERTEXT),
    ],
    ids=[
        "zeros", "junk", "seal", "key file", "sealed", "fewer", "other key", "planes", "version", "query",
        "polynomials", "set", "count",
    ],
)  # fmt: skip
def test_a_block_that_is_no_ciphertext_of_the_collection_is_refused(
    client: Client, block: bytes, expected: tuple[grpc.StatusCode, str]
) -> None:
    is_refused(append(client, with_block(block)), expected)


@pytest.mark.parametrize(
    ("original", "expected"),
    [
        (b"\xff\xd8\xff\xe0 a photo", INVALID),
        (bytes(64), INVALID),
        (KEY, SECRET),
        (b"BSKY" + bytes(9), SECRET),
    ],
    ids=["photo", "zeros", "seal", "key file"],
)
def test_an_original_that_is_not_sealed_is_refused(
    client: Client, original: bytes, expected: tuple[grpc.StatusCode, str]
) -> None:
    is_refused(append(client, with_original(original)), expected)


def test_an_attachment_that_is_not_sealed_is_refused(client: Client) -> None:
    for attachment, expected in [(bytes(64), INVALID), (KEY, SECRET)]:
        made = [with_attachment(items(1)[0], attachment)]
        batch = Batches(COLLECTION).make(MAIN_0, made, attachments={0: attachment})
        is_refused(append(client, requests(batch)), expected, "attachment")


def test_an_attachment_that_is_not_what_was_announced_is_refused(client: Client) -> None:
    attachment = attachment_of(0, 100)
    batch = Batches(COLLECTION).make(MAIN_0, [with_attachment(items(1)[0], attachment)])
    for sent in (attachment[:-1], attachment + b"x", attachment[::-1]):
        messages = requests(replace(batch, attachments={0: sent}))
        is_refused(append(client, messages), INVALID)


# --- appends: planes ----------------------------------------------------------------------------------

PIECES = pieces_of(LARGE_PLANES)
PLANES_GOOD = Batches(COLLECTION).make(MAIN_0, [with_planes(items(1)[0], LARGE_PLANES)])
BEFORE_PIECES = list(requests(PLANES_GOOD))


def with_pieces(*pieces: bytes) -> list[pb.AppendRequest]:
    """An append of an item with planes, of which these pieces come."""
    return [*BEFORE_PIECES, *(message for piece in pieces for message in piece_messages(piece))]


def as_large_as_a_piece(data: bytes) -> bytes:
    return (data + bytes(len(PIECES[0])))[: len(PIECES[0])]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": 0}, "0 x 500 pixels"),
        ({"height": 0}, "600 x 0 pixels"),
        ({"channels": 0}, "0 channels, want 1"),
        ({"channels": 2}, "2 channels"),
        ({"channels": 2**32 - 1}, "want 1 \\(grey\\)"),
        ({"halo": 32}, "halo of 32 pixels, want 0 to 31"),
        ({"halo": 2**32 - 1}, "halo of"),
        ({"width": 2**32 - 1, "height": 2**32 - 1}, "want at most 8388608"),
        ({"width": 1, "height": 8 << 20}, "too narrow or too flat"),
        ({"width": 2000, "height": 2000, "halo": 31}, "tiles for 2000 x 2000"),
    ],
    ids=str,
)
def test_planes_that_cannot_be_are_refused_before_a_byte_of_them_is_taken(
    client: Client, changes: dict[str, int], message: str
) -> None:
    planes = replace(LARGE_PLANES, **changes)
    batch = Batches(COLLECTION).make(MAIN_0, [with_planes(items(1)[0], planes)])
    is_refused(append(client, list(requests(batch))[:2]), INVALID, message.replace("\\", ""))


def test_planes_of_many_items_are_limited_in_all(client: Client) -> None:
    huge = replace(LARGE_PLANES, width=3840, height=2160, channels=3)
    batch = Batches(COLLECTION).make(MAIN_0, [with_planes(item, huge) for item in items(40)])
    is_refused(append(client, list(requests(batch))[:2]), EXHAUSTED, "planes of")


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (b"", CIPHERTEXT),
        (b"junk", CIPHERTEXT),
        (KEY, SECRET),
        (b"BSKY", SECRET),
        (b"BSAS", SECRET),
        (b"\x89PNG\r\n\x1a\n", CIPHERTEXT),
        (sealed(100), CIPHERTEXT),
        (random_planes(64, key_id=identifier("another key")), CIPHERTEXT),
        (random_planes(63), CIPHERTEXT),
        (PIECES[0][:4] + b"\x02" + PIECES[0][5:], CIPHERTEXT),
        (PIECES[0][:6] + b"\x02" + PIECES[0][7:], CIPHERTEXT),
        (random_block(64), CIPHERTEXT),
        (PIECES[0][:8] + b"\x03" + PIECES[0][9:], CIPHERTEXT),
        (PIECES[0][:12] + b"\xff\xff\xff\xff" + PIECES[0][16:], CIPHERTEXT),
    ],
    ids=[
        "zeros", "junk", "seal", "key file", "additive key", "photo", "sealed", "other key", "fewer",
        "version", "full", "batch", "set", "count",
    ],
)  # fmt: skip
def test_a_piece_that_is_no_ciphertexts_of_the_collection_is_refused(
    client: Client, piece: bytes, expected: tuple[grpc.StatusCode, str]
) -> None:
    is_refused(append(client, with_pieces(as_large_as_a_piece(piece))), expected)
    # Also when what came before it was good, and is on the disk.
    second = (piece + bytes(len(PIECES[1])))[: len(PIECES[1])]
    is_refused(append(client, with_pieces(PIECES[0], second)), expected)


@pytest.mark.parametrize(("start", "expected"), [(b"junk", INVALID), (KEY, SECRET), (PIECES[0], INVALID)])
def test_a_seal_of_planes_that_is_not_sealed_is_refused(
    client: Client, start: bytes, expected: tuple[grpc.StatusCode, str]
) -> None:
    unsealed = (start + bytes(len(PIECES[-1])))[: len(PIECES[-1])]
    is_refused(append(client, with_pieces(*PIECES[:-1], unsealed)), expected)


def test_a_piece_of_another_parameter_set_is_refused(client: Client) -> None:
    primes = residues.prime_column(BFV_4096)
    values = np.random.default_rng(0).integers(0, primes, (64, 1, 3, 4096), np.uint32)
    other = residues.seeded_block(
        BFV_4096, COLLECTION.key_id, values, np.zeros((64, 81), np.uint8)
    ).to_bytes()
    is_refused(append(client, with_pieces(other)), CIPHERTEXT, f"want {len(PIECES[0])}")
    is_refused(append(client, with_pieces(as_large_as_a_piece(other))), CIPHERTEXT, "of bfv-4096, want ckks")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"size_bytes": 0}, CIPHERTEXT),
        ({"size_bytes": len(PIECES[0]) + 1}, CIPHERTEXT),
        ({"size_bytes": len(PIECES[1])}, CIPHERTEXT),
        ({"size_bytes": 2**64 - 1}, CIPHERTEXT),
        ({"sha256": b""}, INVALID),
        ({"sha256": bytes(33)}, INVALID),
        ({"sha256": bytes(32)}, INVALID),
    ],
    ids=str,
)
def test_a_header_of_a_piece_that_does_not_fit_is_refused(
    client: Client, changes: dict[str, object], expected: tuple[grpc.StatusCode, str]
) -> None:
    first, *rest = piece_messages(PIECES[0])
    for name, value in changes.items():
        setattr(first.piece, name, value)
    is_refused(append(client, [*BEFORE_PIECES, first, *rest]), expected)


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        (with_pieces(), "the end, want the header of a piece"),
        ([*BEFORE_PIECES, chunk()], "a chunk, want the header of a piece"),
        ([*BEFORE_PIECES, header()], "a header, want the header of a piece"),
        ([*BEFORE_PIECES, listed()], "2 items, want the header of a piece"),
        (with_pieces(PIECES[0])[:-1], "the end, want a chunk"),
        ([*with_pieces(PIECES[0])[:-1], chunk(b"")], "want 2102368"),
        ([*with_pieces(PIECES[0])[:-1], chunk(bytes(1 << 20))], "bytes came, want 2102368"),
        ([*with_pieces(PIECES[0])[:-1], *piece_messages(PIECES[1])], "the header of a piece, want a chunk"),
        (with_pieces(PIECES[0]), "the end, want the header of a piece"),
        ([*with_pieces(*PIECES), *piece_messages(PIECES[1])], "the header of a piece after everything"),
        ([*with_pieces(*PIECES), chunk()], "a chunk after everything"),
    ],
    ids=lambda value: value.replace(" ", "_") if isinstance(value, str) else "",
)
def test_pieces_out_of_order_are_refused(
    client: Client, messages: list[pb.AppendRequest], message: str
) -> None:
    is_refused(append(client, messages), INVALID, message)


def test_after_all_of_it_good_planes_are_stored_and_refused_ones_are_gone(tmp_path: Path) -> None:
    process = Process("storage", {"data": str(tmp_path / "data")}, tmp_path / "log")
    process.start()
    with Client(process.address) as client:
        client.create(COLLECTION)
        empty = client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes
        is_refused(append(client, with_pieces(PIECES[0], KEY)), CIPHERTEXT)

        def freed() -> bool:
            return bool(client.stub.GetStatus(pb.GetStatusRequest()).disk_bytes <= empty)

        wait_until(freed, what="freeing what was staged")
        assert client.stub.Append(iter(with_pieces(*PIECES))).sequence == 1
        assert client.planes(COLLECTION, PLANES_GOOD.items[0].handle)[1] == PIECES
    assert process.stop() == 0


def test_bytes_that_do_not_match_their_digest_are_refused(client: Client) -> None:
    is_refused(append(client, parts(block_sha256=bytes(32))), INVALID, "SHA-256")
    flipped = bytearray(GOOD.blocks[0])
    flipped[-1] ^= 1
    is_refused(append(client, parts(chunks=[bytes(flipped), *GOOD.originals])), INVALID, "block: the SHA-256")
    swapped = parts(chunks=[GOOD.blocks[0], *reversed(GOOD.originals)])
    is_refused(append(client, swapped), INVALID, "original: the SHA-256")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    part=st.sampled_from(["header", "items", "chunk"]),
    position=st.floats(0, 1, exclude_max=True),
    flip=st.integers(1, 255),
)
def test_an_append_with_one_changed_byte_is_stored_right_or_refused(
    service: Process, part: str, position: float, flip: int
) -> None:
    """Raw bytes on the wire, changed in one place; what is taken all the same is taken away again."""
    first, listed_items, *rest = parts()
    sent = [message.SerializeToString() for message in (first, listed_items, *rest)]
    index = {"header": 0, "items": 1, "chunk": 2}[part]
    changed = bytearray(sent[index])
    changed[int(position * len(changed))] ^= flip
    sent[index] = bytes(changed)
    with Client(service.address) as client:
        call = client.channel.stream_unary(f"/{SERVICE.full_name}/Append")
        outcome = call.future(iter(sent), timeout=30).code()
        assert outcome not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)
        if outcome is grpc.StatusCode.OK:
            # The changed byte was an id, a handle or sealed bytes, which are opaque here.
            assert part != "chunk"
            client.stub.DeleteCollection(pb.DeleteCollectionRequest(collection_id=COLLECTION.collection_id))
            client.create(COLLECTION)
        assert client.serving()


def test_after_all_of_it_a_good_append_is_stored(tmp_path: Path) -> None:
    """The fixture's appends are good ones: what was refused above was refused for its fault alone."""
    process = Process("storage", {"data": str(tmp_path / "data")}, tmp_path / "log")
    process.start()
    with Client(process.address) as client:
        client.create(COLLECTION)
        assert refusal(append(client, with_block(KEY)))[1] == "SECRET_MATERIAL_REFUSED"
        assert client.stub.Append(iter(parts())).sequence == 1
        assert client.read(COLLECTION).batches[0][1] == GOOD.blocks[0]
        assert [client.original(COLLECTION, handle) for handle in handles(GOOD.items)] == list(GOOD.originals)
    assert process.stop() == 0
