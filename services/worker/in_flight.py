"""What a worker has taken and not settled yet."""

from __future__ import annotations

from collections.abc import Sequence

from blindsight.trusted.queue import Delivery

# Of messages; a photo that is opened and sealed anew takes as much again.
HELD_BYTES = 256 << 20


class Hands:
    """Counts photos and their bytes.

    Args:
        most: photos.
        most_bytes: a photo is taken as long as fewer are held.

    Attributes:
        held: photos.
    """

    def __init__(self, most: int, most_bytes: int = HELD_BYTES) -> None:
        self.held = 0
        self._held_bytes = 0
        self._most, self._most_bytes = most, most_bytes

    @property
    def full(self) -> bool:
        """Whether no more may be taken."""
        return self.held >= self._most or self._held_bytes >= self._most_bytes

    def take(self, delivery: Delivery) -> None:
        """Notes one more."""
        self.held += 1
        self._held_bytes += len(delivery.message.body)

    def let_go(self, deliveries: Sequence[Delivery]) -> None:
        """Notes that some were settled."""
        self.held -= len(deliveries)
        self._held_bytes -= sum(len(one.message.body) for one in deliveries)
