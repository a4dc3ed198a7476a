"""Conversions of times: aware datetimes in records, `Timestamp` in messages, seconds in databases."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from blindsight.errors import InvalidArgument

# 1970 and 9999: a day more or less is a time in every zone.
_FIRST, _LAST = 0, int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())


def to_datetime(stamp: Timestamp) -> datetime:
    """Returns the time of a message, in UTC.

    Raises:
        InvalidArgument: if it is none of the years 1 to 9999.
    """
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidArgument(f"time of {stamp.seconds} seconds, want one of the years 1 to 9999") from error


def of_unix(seconds: int) -> datetime:
    """Returns a time in UTC, the nearest of the years 1970 to 9998.

    Storage says when a collection was made: whatever it says, the collection can be listed.
    """
    return datetime.fromtimestamp(min(max(seconds, _FIRST), _LAST), UTC)
