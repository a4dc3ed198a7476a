"""Times that users type: so long after now or before it, or a time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from blindsight.errors import InvalidArgument

_SPAN = re.compile(r"([0-9]{1,6})([mhd])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def moment(option: str, text: str, *, before: bool = False) -> datetime:
    """Returns a time, in UTC if it has no zone.

    Args:
        option: that it is given by, for the message.
        text: 90m, 12h or 30d, counted from now; or a time of ISO 8601.
        before: whether it is counted backwards.

    Raises:
        InvalidArgument: if it is no such text, or no time of the years that there are.
    """
    found = _SPAN.fullmatch(text)
    try:
        if found is not None:
            span = timedelta(**{_UNITS[found[2]]: int(found[1])})
            now = datetime.now(UTC)
            return now - span if before else now + span
        given = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise InvalidArgument(
            f"{option} {text!r}, want 90m, 12h or 30d, or a time as 2027-01-31T00:00:00Z"
        ) from None
    return given if given.tzinfo is not None else given.replace(tzinfo=UTC)
