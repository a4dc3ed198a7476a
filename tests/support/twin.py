"""A plaintext twin of filters: what they mean for one item, as slowly and plainly as it can be said."""

from __future__ import annotations

from datetime import datetime

from blindsight.wire.metadata import All, AnyOf, Comparison, GeoBox, Has, Not, Operator


def passes(wanted, values) -> bool:
    """Returns whether an item with these metadata passes a filter."""
    match wanted:
        case All():
            return all(passes(one, values) for one in wanted.filters)
        case AnyOf():
            return any(passes(one, values) for one in wanted.filters)
        case Not():
            return not passes(wanted.filter, values)
        case Has():
            return wanted.key in values
        case GeoBox():
            return _inside(wanted, values.get(wanted.latitude), values.get(wanted.longitude))
        case Comparison():
            value = values.get(wanted.key)
            several = value if isinstance(value, tuple) else (value,)
            return any(_compares(one, wanted.operator, wanted.value) for one in several)
    raise AssertionError(wanted)


def _kind(value) -> str:
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, str):
        return "text"
    if isinstance(value, datetime):
        return "time"
    if isinstance(value, tuple):
        return "texts"
    return "none" if value is None else "number"


def _compares(value, operator, other) -> bool:
    if _kind(value) != _kind(other):
        return False
    match operator:
        case Operator.EQUAL:
            return value == other
        case Operator.LESS:
            return value < other
        case Operator.LESS_OR_EQUAL:
            return value <= other
        case Operator.GREATER:
            return value > other
        case Operator.GREATER_OR_EQUAL:
            return value >= other
        case Operator.MATCH:
            return other.casefold() in value.casefold()
    raise AssertionError(operator)


def _inside(box, latitude, longitude) -> bool:
    if _kind(latitude) != "number" or _kind(longitude) != "number":
        return False
    if not box.south <= latitude <= box.north:
        return False
    if box.west <= box.east:
        return box.west <= longitude <= box.east
    return longitude >= box.west or longitude <= box.east
