"""Filters on columns mean what they mean for each item."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from support.metadata import FILTERS, METADATA
from support.twin import passes

from blindsight.wire.metadata import Comparison, Has, Operator, checked
from services.keyholder.catalog.columns import Columns


@given(
    st.lists(METADATA, max_size=12),
    st.integers(0, 12),
    st.lists(st.tuples(st.integers(0, 11), METADATA), max_size=6),
    FILTERS,
)
def test_a_filter_on_columns_passes_the_items_that_it_passes_one_by_one(items, filled, changes, wanted):
    columns, kept = Columns(), list(map(checked, items))
    for start, stop in ((0, filled // 2), (filled // 2, filled)):
        columns.fill(list(enumerate(kept))[start:stop])
    for row, values in list(enumerate(kept))[filled:]:
        columns.set(row, values)
    for row, values in changes:
        if row < len(kept):
            kept[row] = checked(values)
            columns.set(row, kept[row])
    found = columns.passing(wanted, len(kept))
    assert found.dtype == np.bool_
    assert found.tolist() == [passes(wanted, values) for values in [*kept, {}]]


def test_rows_far_beyond_the_first_and_keys_that_came_late_have_room():
    columns = Columns()
    columns.set(0, {"a": 1})
    columns.set(5000, {"b": "x"})
    assert np.flatnonzero(columns.passing(Has("a"), 6000)).tolist() == [0]
    assert np.flatnonzero(columns.passing(Comparison("b", Operator.EQUAL, "x"), 6000)).tolist() == [5000]
    assert len(columns.passing(Has("nobody"), 6000)) == 6001
