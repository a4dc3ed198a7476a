"""Counts the messages that a worker has taken from the queue and not settled yet."""

from __future__ import annotations

from collections.abc import Sequence

from blindsight.trusted.queue import Delivery

# Limit of message bodies; a prepared photo takes as much memory again.
MAX_BYTES = 256 << 20


class InFlight:
    """A count of unsettled messages and their bytes.

    Args:
        most: the most messages.
        most_bytes: another message is taken only while the bodies have fewer bytes.

    Attributes:
        count: number of messages.
    """

    def __init__(self, most: int, most_bytes: int = MAX_BYTES) -> None:
        self.count = 0
        self._size_bytes = 0
        self._most, self._most_bytes = most, most_bytes

    @property
    def full(self) -> bool:
        """Whether no more may be taken."""
        return self.count >= self._most or self._size_bytes >= self._most_bytes

    def add(self, delivery: Delivery) -> None:
        """Counts one more message."""
        self.count += 1
        self._size_bytes += len(delivery.message.body)

    def remove(self, deliveries: Sequence[Delivery]) -> None:
        """Counts out messages that were settled."""
        self.count -= len(deliveries)
        self._size_bytes -= sum(len(one.message.body) for one in deliveries)
