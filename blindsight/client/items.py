"""What callers of the SDK say of items, as records."""

from __future__ import annotations

from collections.abc import Iterable

from blindsight.client import where
from blindsight.client.arguments import text
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


def ids_of(ids: str | Iterable[str]) -> list[str]:
    """Returns ids as a list.

    Raises:
        InvalidArgument: if they are none.
    """
    if not isinstance(ids, Iterable):
        raise InvalidArgument(f"ids of type {type(ids).__name__}, want texts")
    return [text("id", one) for one in ([ids] if isinstance(ids, str) else ids)]
