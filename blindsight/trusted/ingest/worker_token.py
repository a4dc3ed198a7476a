"""The token by which a worker proves that it has the owner's keys, before the keyholder trusts it."""

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
        """Returns the metadata that a worker sends with its calls; it must stay in the trusted zone."""
        return ((TOKEN_KEY, self._token.reveal_secret().decode()),)

    def require(self, shown: str | bytes) -> None:
        """Checks the token that a caller shows.

        Raises:
            PermissionDenied: if it is not the workers' token.
        """
        given = shown.encode() if isinstance(shown, str) else shown
        if not hmac.compare_digest(given, self._token.reveal_secret()):
            raise PermissionDenied("no token of a worker of this key set came, want one")
