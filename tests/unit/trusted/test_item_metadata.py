"""What an item's sealed metadata keep."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blindsight.errors import DataLoss
from blindsight.trusted.records import ItemMetadata


@given(st.text(), st.text(), st.text(), st.text())
def test_everything_is_kept_whatever_of_it_is_empty(item_id, name, media_type, origin):
    metadata = ItemMetadata(item_id, name, media_type, origin)
    assert ItemMetadata.from_bytes(metadata.to_bytes()) == metadata


def test_an_id_alone_takes_little():
    assert len(ItemMetadata("7").to_bytes()) == 5


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"7", b'["a", "b", "c", "d", "e"]', b"\xff"])
def test_damaged_metadata_are_data_loss(data):
    with pytest.raises(DataLoss):
        ItemMetadata.from_bytes(data)
