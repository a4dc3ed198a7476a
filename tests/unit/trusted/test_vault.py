"""What a collection in use knows of its slots and keys."""

import pytest
from support.keysets import shared_key_set

from blindsight.errors import DataLoss, InvalidArgument
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import CKKS_4096, PAILLIER_3072
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import Segment, SlotMap, handles_from_bytes
from blindsight.trusted.vault.collection import ItemKey, OpenCollection
from blindsight.wire.storage import SlotBatch, StoredCollection


@pytest.fixture(scope="module")
def key_set():
    return shared_key_set()


def opened(key_set, collection_id=b"sixteen bytes id", parameters=CKKS_4096, stride=8):
    record = StoredCollection(
        collection_id=collection_id,
        name_tag=bytes(16),
        sealed_config=b"",
        parameter_set=parameters.name,
        key_id=key_set.key_id,
        dimension=8,
        stride=stride,
    )
    return OpenCollection(
        record, CollectionConfig("name", "none", 8, Metric.COSINE, 10, 1.0, parameters.name, stride), key_set
    )


@pytest.fixture
def collection(key_set):
    return opened(key_set)


def test_a_read_that_ends_late_does_not_undo_what_was_written_meanwhile(collection):
    read_before = SlotMap(sequence=4)
    batch = Segment(handles_from_bytes(b"h" * 16), (SlotBatch(1, bytes(32)),))
    written = read_before.appended(Placement(Region.MAIN, 0, 0, 1), batch, 5, 0)
    collection.advance(written)
    collection.advance(read_before)
    assert collection.slots is written
    read_after = SlotMap(sequence=6)
    collection.advance(read_after)
    assert collection.slots is read_after


def test_originals_that_are_nearly_as_long_have_one_size_and_grow_by_an_eighth_at_most(collection):
    item = ItemKey.new(collection.handle("photo"))
    sizes = {
        length: len(collection.seal_original(item, bytes(length))) for length in (60_000, 60_100, 300_000)
    }
    assert sizes[60_000] == sizes[60_100]
    assert all(length < size < 1.12 * length + 64 for length, size in sizes.items())
    photo = b"\xff\xd8 photo" * 1000
    assert collection.open_original(item, collection.seal_original(item, photo)) == photo


def test_an_original_whose_padding_is_not_right_does_not_open(collection):
    item = ItemKey.new(collection.handle("photo"))
    sealed = collection._sealer.seal(b"photo", b"original:" + item.place)
    with pytest.raises(DataLoss, match="not padded"):
        collection.open_original(item, sealed)


def root_of(collection):
    return collection.column_keys.root.reveal_secret()


def test_the_keys_of_columns_are_a_collections_own_and_the_same_whenever_it_is_opened(key_set, collection):
    assert root_of(collection) == root_of(opened(key_set))
    others = opened(key_set, b"another 16 bytes"), opened(shared_key_set(1))
    assert len({root_of(one) for one in (collection, *others)}) == 3
    keys = collection.column_keys
    assert (keys.parameters, keys.layout, keys.key_id) == (CKKS_4096, collection.layout, key_set.key_id)
    assert key_set.master.reveal_secret() != root_of(collection)


def test_a_collection_of_an_additive_scheme_has_no_such_keys(key_set):
    with pytest.raises(InvalidArgument, match="columns under paillier, want ckks or bfv"):
        _ = opened(key_set, parameters=PAILLIER_3072, stride=1).column_keys
