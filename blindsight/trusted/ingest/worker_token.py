"""How a worker shows that it has the owner's keys, before the keyholder believes what it reports."""

from __future__ import annotations

import hmac

from blindsight.errors import PermissionDenied
from blindsight.trusted.keyring.keys import KeySet
from blindsight.trusted.secrets import Secret

TOKEN_KEY = "x-worker-token"  # noqa: S105 - a name in the metadata


class WorkerAccess:
    """The token of the workers of one key set.

    Args:
        keys: the owner's key set.
    """

    def __init__(self, keys: KeySet) -> None:
        self._token = Secret(keys.subkey("workers").reveal_secret().hex().encode())

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a worker sends with its calls; it crosses the trusted zone only."""
        return ((TOKEN_KEY, self._token.reveal_secret().decode()),)

    def require(self, shown: str | bytes) -> None:
        """Refuses who does not show the token.

        Raises:
            PermissionDenied: whatever was shown instead.
        """
        given = shown.encode() if isinstance(shown, str) else shown
        if not hmac.compare_digest(given, self._token.reveal_secret()):
            raise PermissionDenied("no token of a worker of this key set came, want one")
