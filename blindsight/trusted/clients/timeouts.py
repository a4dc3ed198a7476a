"""What calls of both services have in common."""

from __future__ import annotations

from blindsight.errors import DataLoss
from blindsight.packing.segments import Region

CALL_SECONDS = 30.0
STATUS_SECONDS = 3.0
# Writes hold their collection's lock.  Half a gigabyte over a slow line onto a slow disk takes less; a peer
# that answers pings and not the call does not keep the lock for ever.
LONG_CALL_SECONDS = 600.0


def region_of(number: int) -> Region:
    """A region by its number in an answer.

    Raises:
        DataLoss: when there is none.
    """
    try:
        return Region(number)
    except ValueError:
        raise DataLoss(f"an answer names a segment of region {number}, want main or tail") from None
