"""Times between messages, records and databases."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from blindsight.errors import InvalidArgument
from blindsight.runtime.printable import rfc3339
from blindsight.wire.times import of_unix, to_datetime


@pytest.mark.parametrize(
    ("seconds", "year"), [(-(1 << 63), 1970), (0, 1970), (1_700_000_000, 2023), ((1 << 63) - 1, 9999)]
)
def test_whatever_storage_says_is_a_time_in_every_zone(seconds, year):
    made = of_unix(seconds)
    assert made.year == year
    for hours in (-23, 23):
        assert made.astimezone(timezone(timedelta(hours=hours))) == made
    stamp = Timestamp()
    stamp.FromDatetime(made)
    assert to_datetime(stamp) == made


def test_a_time_of_no_year_is_refused():
    with pytest.raises(InvalidArgument, match="want one of the years 1 to 9999"):
        to_datetime(Timestamp(seconds=1 << 40))


def test_a_time_is_a_text_with_its_offset():
    assert rfc3339(datetime(2026, 5, 1, 12, tzinfo=UTC)) == "2026-05-01T12:00:00Z"
    assert (
        rfc3339(datetime(2026, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))) == "2026-05-01T12:00:00+02:00"
    )
