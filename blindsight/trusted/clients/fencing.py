"""The right to write to storage: a fencing token, which grows whenever a keyholder of the keys starts."""

from __future__ import annotations

FENCED = (
    "another keyholder of these keys has taken over at storage, so this one does nothing more: "
    "stop one of the two, and start the other again"
)


class Fence:
    """The right to write of whoever learns the token from its keyholder, as workers do.

    Attributes:
        newest: the newest token that is known; 0 for none.
    """

    def __init__(self) -> None:
        self.newest = 0

    async def token(self) -> int:
        """Returns the token for a write."""
        return self.newest

    def require(self) -> None:
        """Refuses any use of a collection where it is known that another keyholder has taken over.

        Raises:
            Fenced: if it is.
        """

    def lost(self) -> None:
        """Notes that storage has refused the token, because there is a newer one."""
