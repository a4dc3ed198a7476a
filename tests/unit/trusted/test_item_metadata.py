"""What an item's sealed metadata keep."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.metadata import METADATA

from blindsight.errors import DataLoss
from blindsight.trusted.records import CollectionConfig, ItemMetadata
from blindsight.trusted.similarity.linear import Metric
from blindsight.wire.metadata import checked

TIMES = st.just(0) | st.integers(10**14, 1 << 62)


@given(st.text(), st.text(), st.text(), st.text(), TIMES, st.integers(0), st.text(), METADATA)
def test_everything_is_kept_whatever_of_it_is_empty(
    item_id, name, media_type, origin, added, size, remark, said
):
    metadata = ItemMetadata(item_id, name, media_type, origin, added, size, remark, checked(said))
    assert ItemMetadata.from_bytes(metadata.to_bytes()) == metadata


def test_metadata_of_almost_all_photos_have_one_size_and_ids_alone_another():
    origins = ("", "0" * 32)
    names = ("", "a", "IMG_20261129_212334.jpg", "a" * 170, "ö" * 85, "日" * 56)
    sizes = {
        len(ItemMetadata("i" * 24, name, "image/jpeg", origin).to_bytes())
        for name in names
        for origin in origins
    }
    assert sizes == {512}
    assert {len(ItemMetadata("i" * length).to_bytes()) for length in range(1, 61)} == {64}
    assert len(ItemMetadata("i" * 512).to_bytes()) == 1024
    assert len(ItemMetadata("i" * 512, "n" * 1024, "image/jpeg").to_bytes()) == 2048
    assert len(ItemMetadata("i" * 9, values={"year": 2020}).to_bytes()) == 512


def test_settings_of_all_collections_have_one_size():
    least = CollectionConfig("a", "none", 1, Metric.DOT, 1, 0.0, "ckks-4096", 1)
    for name in ("a", "n" * 128, "\N{GRINNING FACE}" * 128):
        config = replace(least, name=name, embedder="descriptor", dimension=4096, channels="grey")
        assert len(config.to_bytes()) == 2048
        assert CollectionConfig.from_bytes(config.to_bytes()) == config
    for wrong in (least.to_bytes()[:-1], least.to_bytes() + b" ", least.to_bytes().rstrip()):
        with pytest.raises(DataLoss, match="a collection's settings are damaged"):
            CollectionConfig.from_bytes(wrong)


WHOLE = ItemMetadata("id", "name").to_bytes()
UNPADDED = [
    WHOLE.rstrip(),
    WHOLE[:-1],
    WHOLE + b" ",
    WHOLE + b" " * 256,
    WHOLE[:64],
    b"[]".ljust(64),
    WHOLE + b" " * 512,
]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b"7", b'["a","b","c","d",1,2,"e","f"]'.ljust(512), b"\xff", *UNPADDED]
)
def test_damaged_metadata_are_data_loss(data):
    with pytest.raises(DataLoss):
        ItemMetadata.from_bytes(data)


def test_a_time_of_an_earlier_version_is_read_as_it_was_meant():
    assert ItemMetadata.from_json('["x", "x.png", "image/png", "", 1798000000123, 5]').added_microseconds == (
        1798000000123000
    )
    newest = ItemMetadata("x", added_microseconds=1798000000123456)
    assert ItemMetadata.from_json(newest.to_json()) == newest
