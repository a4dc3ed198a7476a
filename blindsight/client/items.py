"""What callers of the SDK say of items, as records."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral

from blindsight.client import where
from blindsight.client.arguments import identifier, several
from blindsight.client.inputs import Values
from blindsight.errors import InvalidArgument
from blindsight.wire.metadata import (
    All,
    AnyOf,
    Comparison,
    Filter,
    GeoBox,
    Has,
    Metadata,
    Not,
    Where,
    checked,
)

# A filter, or its text as of `blindsight.client.where`.
Filters = str | Filter


def filter_of(wanted: Filters | None) -> Where | None:
    """Returns the record of a filter.

    Raises:
        InvalidArgument: if it is none.
    """
    if wanted is None:
        return None
    if isinstance(wanted, str):
        return Where(where.parse(wanted))
    if isinstance(wanted, All | AnyOf | Comparison | GeoBox | Has | Not):
        return Where(wanted)
    raise InvalidArgument(f"where of type {type(wanted).__name__}, want a text or a filter")


def metadata_of(values: Values | None) -> Metadata | None:
    """Returns the record of metadata.

    Raises:
        InvalidArgument: if they are none.
    """
    return Metadata(checked(values)) if values is not None and len(values) else None


def ids_of(ids: str | int | Iterable[str | int]) -> list[str]:
    """Returns ids as a list of texts.

    Raises:
        InvalidArgument: if they are none.
    """
    if isinstance(ids, bool):  # which Python counts among the numbers
        several("ids", ids, "texts or whole numbers")
    if isinstance(ids, str | Integral):
        return [identifier("id", ids)]
    return [identifier("id", one) for one in several("ids", ids, "texts or whole numbers")]
