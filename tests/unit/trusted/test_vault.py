"""What a collection in use knows of its slots."""

import pytest
from support.keysets import shared_key_set

from blindsight.packing.segments import Region
from blindsight.parameters import CKKS_4096
from blindsight.trusted.records import CollectionConfig
from blindsight.trusted.similarity.linear import Metric
from blindsight.trusted.slots import Placement, SlotMap, handles_from_bytes
from blindsight.trusted.vault.vault import OpenCollection
from blindsight.wire.storage import StoredCollection


@pytest.fixture(scope="module")
def key_set():
    return shared_key_set()


@pytest.fixture
def collection(key_set):
    record = StoredCollection(
        collection_id=b"sixteen bytes id",
        name_tag=bytes(16),
        sealed_config=b"",
        parameter_set=CKKS_4096.name,
        key_id=key_set.key_id,
        dimension=8,
        stride=8,
    )
    return OpenCollection(record, CollectionConfig("name", "none", 8, Metric.COSINE, 10, 1.0), key_set)


def test_a_read_that_ends_late_does_not_undo_what_was_written_meanwhile(collection):
    read_before = SlotMap(sequence=4)
    written = read_before.appended(Placement(Region.MAIN, 0, 0, 1), handles_from_bytes(b"h" * 16), 5, 0)
    collection.advance(written)
    collection.advance(read_before)
    assert collection.slots is written
    read_after = SlotMap(sequence=6)
    collection.advance(read_after)
    assert collection.slots is read_after
