from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.storage import (
    KEY_ID,
    MAIN_0,
    TAIL_0,
    Batches,
    changed,
    collection,
    identifier,
    items,
    link_to,
    random_block,
    random_planes,
    sealed,
)

from blindsight.ciphertext.residues import full_block, read_block
from blindsight.errors import InvalidArgument, InvalidCiphertext, ResourceExhausted, SecretMaterialRefused
from blindsight.packing import columns
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import CKKS_4096
from blindsight.ring import tiles as tiling
from blindsight.wire.storage import AppendItem
from services.storage import validation
from services.storage.records import Geometry

COLLECTION = collection()
HEADER = Batches(COLLECTION).make(MAIN_0, items(3)).header


@given(fields=st.lists(st.integers(1, 5000), min_size=1, max_size=6), power=st.integers(0, 12))
def test_the_geometry_is_that_of_the_column_layout(fields: list[int], power: int) -> None:
    record = collection(dimension=sum(fields), stride=1 << power, fields=tuple(fields))
    layout = columns.collection_layout(tuple(fields), CKKS_4096.ring_degree, 1 << power)
    for region in Region:
        geometry = Geometry.of(record, region)
        expected = layout.of(columns.Region(region))
        assert (geometry.columns, geometry.capacity) == (expected.columns, expected.capacity)


@pytest.mark.parametrize("region", Region)
def test_the_block_size_is_that_of_real_blocks(region: Region) -> None:
    geometry = Geometry.of(COLLECTION, region)
    block = random_block(geometry.columns)
    assert len(block) == geometry.block_bytes
    validation.require_block(COLLECTION, region, block)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"collection_id": b""}, "collection_id of 0 bytes, want 16"),
        ({"collection_id": bytes(16)}, "collection_id is all zeros"),
        ({"name_tag": bytes(15)}, "name_tag of 15 bytes, want 16"),
        ({"key_id": b"k" * 17}, "key_id of 17 bytes, want 16"),
        ({"sealed_config": b""}, "not sealed"),
        ({"sealed_config": b'{"name": "photos"}'}, "not sealed"),
        ({"parameter_set": "ckks-1"}, "parameter set 'ckks-1', want one of"),
        ({"dimension": 0}, "dimension 0, want 1 to 65536"),
        ({"dimension": 65_537}, "dimension 65537, want 1 to 65536"),
        ({"dimension": 10, "fields": (4, 5)}, "fields of 9 values in all, want the dimension, 10"),
        ({"dimension": 4, "fields": (4, 0)}, "dimension 0, want 1 to 65536"),
        ({"dimension": 17, "fields": (1,) * 17}, "rows of 17 fields, want at most 16"),
        ({"stride": 0}, "stride 0, want a power of two"),
        ({"stride": 3}, "stride 3, want a power of two"),
        ({"stride": 8192}, "stride 8192, want a power of two"),
    ],
)
def test_a_collection_that_cannot_be_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        validation.require_collection(collection(**changes))


def test_settings_that_look_like_a_key_are_refused() -> None:
    for magic in (b"\x5e\xa1", b"BSKY"):
        with pytest.raises(SecretMaterialRefused):
            validation.require_collection(collection(sealed_config=magic + bytes(60)))


def test_settings_over_the_limit_are_refused() -> None:
    validation.require_collection(collection(sealed_config=sealed(64 << 10)))
    with pytest.raises(ResourceExhausted, match="65537 bytes, want at most 65536"):
        validation.require_collection(collection(sealed_config=sealed((64 << 10) + 1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_size_bytes": 0}, "block of 0 bytes, want"),
        ({"block_size_bytes": 2**63}, "block of 9223372036854775808 bytes, want"),
        ({"block_size_bytes": HEADER.block_size_bytes + 1}, "for 2 ciphertexts"),
        ({"segment": TAIL_0}, "for 1 ciphertexts"),
        ({"block_sha256": b"short"}, "digest of 5 bytes, want 32"),
        ({"count": 0}, "0 items, want 1 to 1024"),
        ({"count": 2**32 - 1}, "4294967295 items, want 1 to 1024"),
        ({"first_slot": 1022}, "slots 1022 to 1025, want at most 1024"),
        ({"first_slot": 2**32 - 1}, "want at most 1024"),
        ({"segment": SegmentId(Region.MAIN, 2**32 - 1)}, "segment index 4294967295"),
        ({"retires": (MAIN_0,)}, "appended to and retired at once"),
        ({"retires": (TAIL_0, TAIL_0)}, "stands there twice"),
    ],
)
def test_an_append_that_does_not_fit_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        validation.require_header(COLLECTION, changed(HEADER, **changes))


def test_batches_of_an_append_follow_each_other_and_are_not_too_many_or_too_large() -> None:
    batches = Batches(COLLECTION)
    (one,), (other,) = (batches.make(key, items(3)).header.batches for key in (MAIN_0, TAIL_0))
    validation.require_header(COLLECTION, replace(HEADER, batches=(one, other), link=link_to(2)))
    bad = {
        "a batch of sequence 3, want 2": (one, replace(other, sequence=3)),
        "a batch of sequence 2, want 1": (other, one),
        "a segment stands there twice": (one, replace(one, sequence=2)),
        "1001 batches, want at most 1000": (one,) * 1001,
    }
    for message, of in bad.items():
        with pytest.raises(InvalidArgument, match=message):
            validation.require_header(COLLECTION, replace(HEADER, batches=of))
    large = collection(dimension=4096, stride=1)
    size = Geometry.of(large, Region.MAIN).block_bytes
    many = tuple(
        replace(one, sequence=place + 1, segment=SegmentId(Region.MAIN, place), block_size_bytes=size)
        for place in range(validation.MAX_BLOCK_BYTES // size + 1)
    )
    validation.require_header(large, replace(HEADER, batches=many[:-1]))
    with pytest.raises(ResourceExhausted, match="bytes in one append, want at most"):
        validation.require_header(large, replace(HEADER, batches=many))


def test_an_append_of_nothing_is_refused() -> None:
    header = replace(Batches(COLLECTION).retiring(TAIL_0).header)
    validation.require_header(COLLECTION, header)
    with pytest.raises(InvalidArgument, match="append of nothing"):
        validation.require_header(COLLECTION, replace(header, retires=()))


GOOD = items(1, metadata_bytes=50, original_bytes=100)[0]


@pytest.mark.parametrize(
    ("item", "error", "message"),
    [
        (replace(GOOD, handle=b""), InvalidArgument, "handle of 0 bytes"),
        (replace(GOOD, handle=bytes(16)), InvalidArgument, "handle is all zeros"),
        (replace(GOOD, sealed_metadata=b"a name"), InvalidArgument, "not sealed"),
        (replace(GOOD, sealed_metadata=b"\x5e\xa1" + bytes(90)), SecretMaterialRefused, "serialised key"),
        (replace(GOOD, sealed_metadata=sealed(70_000)), ResourceExhausted, "at most 65536"),
        (replace(GOOD, original_size_bytes=81 << 20), ResourceExhausted, "at most 83886080"),
        (replace(GOOD, original_sha256=b""), InvalidArgument, "digest of 0 bytes"),
        (AppendItem(identifier("x"), b"", 0, bytes(32)), InvalidArgument, "has a digest, want none"),
        (replace(GOOD, attachment_size_bytes=9), InvalidArgument, "attachment has a digest of 0 bytes"),
        (replace(GOOD, attachment_sha256=bytes(32)), InvalidArgument, "attachment of 0 bytes has a digest"),
        (
            replace(GOOD, attachment_size_bytes=(1 << 20) + 1, attachment_sha256=bytes(32)),
            ResourceExhausted,
            "attachment of 1048577 bytes, want at most 1048576",
        ),
    ],
)
def test_an_item_that_cannot_be_is_refused(item: AppendItem, error: type[Exception], message: str) -> None:
    validation.require_items([GOOD])
    with pytest.raises(error, match=message):
        validation.require_items([item])


def test_a_handle_twice_in_a_batch_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="twice"):
        validation.require_items([*items(3), *items(1, start=2)])


def test_originals_over_the_limit_of_an_append_are_refused() -> None:
    large = [replace(item, original_size_bytes=64 << 20, original_sha256=bytes(32)) for item in items(5)]
    validation.require_items(large[:4])
    with pytest.raises(ResourceExhausted, match="originals and attachments of 335544320 bytes"):
        validation.require_items(large)


@pytest.mark.parametrize(
    ("block", "error", "message"),
    [
        (b"", InvalidCiphertext, "header of 0 bytes"),
        (bytes(70_000), InvalidCiphertext, "wrong magic"),
        (b"\x5e\xa1" + bytes(70_000), SecretMaterialRefused, "SEAL object"),
        (b"BSKY" + bytes(70_000), SecretMaterialRefused, "serialised key"),
        (random_block(1), InvalidCiphertext, "block of 1 ciphertexts, want 2"),
        (random_block(2, key_id=identifier("other")), InvalidCiphertext, "ciphertext of key"),
        (random_block(2)[:-1], InvalidCiphertext, "block of 65627 bytes, want 65628"),
        (random_planes(2), InvalidCiphertext, "block of SEEDED ciphertexts, want BATCH"),
    ],
)
def test_a_block_that_is_not_the_collections_is_refused(
    block: bytes, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        validation.require_block(COLLECTION, Region.MAIN, block)


def test_a_block_of_full_ciphertexts_is_refused() -> None:
    half = read_block(random_planes(2), CKKS_4096, KEY_ID).residues
    block = full_block(CKKS_4096, KEY_ID, half.repeat(2, axis=1)).to_bytes()
    with pytest.raises(InvalidCiphertext, match="block of FULL ciphertexts, want BATCH"):
        validation.require_block(COLLECTION, Region.MAIN, block)
    with pytest.raises(InvalidCiphertext, match="block of FULL ciphertexts, want SEEDED"):
        validation.require_seeded(COLLECTION, 2, block)


def test_the_columns_of_a_query_are_no_batch() -> None:
    tiles = np.zeros(tiling.Geometry(CKKS_4096, 2).shape, np.uint32)
    block = tiling.column_block(CKKS_4096, KEY_ID, [tiles])
    with pytest.raises(InvalidCiphertext, match="block of COLUMNS ciphertexts, want BATCH"):
        validation.require_block(COLLECTION, Region.MAIN, block)


def test_a_piece_of_planes_is_seeded_ciphertexts_and_no_batch() -> None:
    validation.require_seeded(COLLECTION, 2, random_planes(2))
    with pytest.raises(InvalidCiphertext, match="block of BATCH ciphertexts, want SEEDED"):
        validation.require_seeded(COLLECTION, 2, random_block(2))


def test_handles_are_checked_one_by_one_and_counted() -> None:
    validation.require_handles([identifier(0)] * 10_000)
    with pytest.raises(InvalidArgument, match="10001 handles, want at most 10000"):
        validation.require_handles([identifier(0)] * 10_001)
    with pytest.raises(InvalidArgument, match="handle of 3 bytes"):
        validation.require_handles([identifier(0), b"abc"])


def test_pages_have_a_size_and_a_token() -> None:
    assert (
        validation.page_size(0),
        validation.page_size(1000),
        validation.page_start(""),
        validation.page_start("42"),
    ) == (
        100,
        1000,
        0,
        42,
    )
    with pytest.raises(InvalidArgument, match="page_size 1001"):
        validation.page_size(1001)


@pytest.mark.parametrize("token", ["-1", "x", "1; DROP", "٣", "1" * 19, " 1", "\x00"])
def test_a_made_up_page_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidArgument, match="page_token"):
        validation.page_start(token)
