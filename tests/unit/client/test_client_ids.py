"""Ids of items: texts, or whole numbers of any kind, which are the texts of their digits."""

import numpy as np
import pytest
from support.photos import small_photo

from blindsight.client.arguments import identifier
from blindsight.client.inputs import Photo, expand
from blindsight.client.items import ids_of
from blindsight.client.vectors import checked_ids
from blindsight.errors import InvalidArgument


@pytest.mark.parametrize(
    "ids", [["0", "1"], [0, 1], (0, "1"), range(2), np.arange(2), np.arange(2, dtype="u1")]
)
def test_whole_numbers_are_taken_as_texts(ids):
    for made in (ids_of(ids), checked_ids(ids, 2)):
        assert made == ["0", "1"]
        assert {type(one) for one in made} == {str}


@pytest.mark.parametrize("one", [3, np.int64(3), np.uint8(3), "3", np.str_("3")])
def test_a_single_one_is_taken(one):
    assert ids_of(one) == [identifier("id", one)] == ["3"]
    assert [source.id for source in expand(Photo(small_photo(1), id=one))[0]] == ["3"]


@pytest.mark.parametrize("one", [True, np.True_, 3.0, np.float64(3), None, b"3", [3]])
def test_what_is_neither_is_an_error(one):
    with pytest.raises(InvalidArgument, match="want a text or a whole number"):
        identifier("id", one)
    for take in (ids_of, lambda ids: checked_ids(ids, 1)):
        with pytest.raises(InvalidArgument, match="want a text or a whole number"):
            take([one])


@pytest.mark.parametrize("ids", [np.array("a"), np.array(3), True, 3.5, None, b"ab"])
def test_what_is_no_list_of_ids_is_an_error(ids):
    with pytest.raises(InvalidArgument, match="ids is of type"):
        ids_of(ids)
    with pytest.raises(InvalidArgument, match="ids is of type"):
        checked_ids(ids, 1)


def test_a_number_and_its_text_are_one_id():
    with pytest.raises(InvalidArgument, match="id 1 is the same as id 0: '7'"):
        checked_ids([7, "7"], 2)
