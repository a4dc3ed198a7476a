"""Names of items in the errors of operations on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from blindsight.errors import NO_COLLECTION, BlindsightError, InvalidImage, NotFound

# A collection's name, and the id of an item of it.
ItemName = tuple[str, str]
# Of many items that an operation is on.
_MOST = 3


@contextmanager
def naming(*items: ItemName) -> Iterator[None]:
    """Names items, with their collections, in a BlindsightError of the block that names none of them.

    A collection that is not there is named alone.
    """
    try:
        yield
    except BlindsightError as error:
        if items and not _is_missing(error, items) and not _names(error, items):
            error.message = f"{_listed(items)}: {error.message}"
            error.args = (error.message,)
        raise


@contextmanager
def of_photo(number: int) -> Iterator[None]:
    """Says in the InvalidImage of the block which of a call's photos it is about, from 0.

    Names of photos are not told to the keyholder: who sent them knows them.
    """
    try:
        yield
    except InvalidImage as error:
        error.metadata["photo"] = str(number)
        raise


def _is_missing(error: BlindsightError, items: Sequence[ItemName]) -> bool:
    """Returns whether it is the collection that is not there."""
    if not isinstance(error, NotFound):
        return False
    told = error.metadata.items() >= NO_COLLECTION.items()
    return told or any(repr(name) in error.message for name, _ in items)


def _names(error: BlindsightError, items: Sequence[ItemName]) -> bool:
    return any(repr(item_id) in error.message for _, item_id in items)


def _listed(items: Sequence[ItemName]) -> str:
    told = ", ".join(f"item {item_id!r} of collection {name!r}" for name, item_id in items[:_MOST])
    return told + (f" and {len(items) - _MOST:,} more" if len(items) > _MOST else "")
