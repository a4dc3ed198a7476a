"""Handles: the same for the same id, different for others, and short ids can be read back from them."""

from hypothesis import given
from hypothesis import strategies as st

from blindsight.trusted.keyring.handles import SHORT_ID_BYTES, HandleKey, is_short
from blindsight.trusted.secrets import Secret

KEY = HandleKey(Secret(b"s" * 32), Secret(b"l" * 32))
OTHER = HandleKey(Secret(b"S" * 32), Secret(b"L" * 32))
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)


@given(st.lists(IDS, max_size=20))
def test_short_ids_and_no_others_are_read_back(ids):
    handles = KEY.of(ids)
    for item_id, handle in zip(ids, handles, strict=True):
        assert len(handle) == 16
        assert KEY.short_id(handle) == (item_id if is_short(item_id.encode()) else None)


@given(st.lists(IDS, min_size=2, max_size=20, unique=True))
def test_different_ids_have_different_handles_alone_or_together(ids):
    assert len(set(KEY.of(ids))) == len(ids)
    assert KEY.of(ids) == [handle for item_id in ids for handle in KEY.of([item_id])]


@given(IDS)
def test_another_key_makes_other_handles_and_reads_nothing(item_id):
    (handle,) = KEY.of([item_id])
    assert OTHER.of([item_id]) != [handle]
    assert OTHER.short_id(handle) is None


def test_handles_of_long_ids_do_not_look_like_those_of_short_ones():
    longer = [f"{number:0{SHORT_ID_BYTES + 1}d}" for number in range(20_000)]
    assert all(KEY.short_id(handle) is None for handle in KEY.of(longer))
