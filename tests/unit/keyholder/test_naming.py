"""Errors of operations on items name these, once, and say else what they said."""

import pytest

from blindsight.errors import NO_COLLECTION, BlindsightError, DataLoss, InvalidVector, NotFound, Unavailable
from services.keyholder.operations.naming import naming

ITEM, OTHER = ("album", "a"), ("album", "b")


def told(error: BlindsightError, *items: tuple[str, str]) -> BlindsightError:
    with pytest.raises(type(error)) as caught, naming(*items):
        raise error
    assert caught.value is error
    assert str(error) == error.message
    return error


@pytest.mark.parametrize("kind", [Unavailable, DataLoss, InvalidVector, NotFound])
def test_an_item_that_is_not_named_is_named_and_what_else_was_said_stays(kind):
    error = told(kind("gone", row=3), ITEM)
    assert error.message == "item 'a' of collection 'album': gone"
    assert error.metadata == {"row": "3"}


@pytest.mark.parametrize(
    "error",
    [
        NotFound("no item 'a' in collection 'real name'"),
        NotFound("no collection 'album'; it has none"),
        NotFound("it is gone", **NO_COLLECTION),
        DataLoss("item 'b' of collection 'album' is damaged"),
    ],
    ids=lambda error: error.message,
)
def test_what_names_an_item_or_misses_the_whole_collection_stays_as_it_is(error):
    before = error.message
    assert told(error, ITEM, OTHER).message == before


def test_of_many_items_the_first_are_named():
    assert told(Unavailable("gone"), ITEM, OTHER).message == (
        "item 'a' of collection 'album', item 'b' of collection 'album': gone"
    )
    many = told(Unavailable("gone"), *(("album", str(number)) for number in range(1003)))
    assert many.message.endswith("item '2' of collection 'album' and 1,000 more: gone")
    assert told(Unavailable("gone")).message == "gone"


def test_other_exceptions_pass():
    with pytest.raises(KeyError), naming(ITEM):
        raise KeyError("a")
