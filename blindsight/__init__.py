"""Blindsight: an encrypted image vault.

    import blindsight

    vault = blindsight.connect("127.0.0.1:7420")
    photos = vault.create_collection("photos")
    photos.ingest(["holiday/"])
    photos.search("query.jpg", k=5)

The services themselves are in `services`.  This package is the library that they share: mathematics, wire
formats, layouts, errors and infrastructure that hold no secret, and `blindsight.trusted`, which may handle
keys and pixels.  Only the trusted zone imports that; import contracts check that the untrusted services
never do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from blindsight.runtime.backoff import RETRY_SECONDS
from blindsight.runtime.channels import KEEPALIVE_SECONDS

if TYPE_CHECKING:
    from blindsight.client import Vault
    from blindsight.errors import Unavailable

__version__ = "0.1.0"
__all__ = ["DEFAULT_ADDRESS", "__version__", "connect", "request_id"]

DEFAULT_ADDRESS = "127.0.0.1:7420"
"""The address at which `blindsight up` serves, and the default of the SDK and the command."""


def connect(
    address: str | None = None,
    *,
    profile: str | None = None,
    tls: str | Path | None = None,
    token_file: str | Path | None = None,
    timeout_seconds: float = 10.0,
    keepalive_seconds: float = KEEPALIVE_SECONDS,
    retry_seconds: float = RETRY_SECONDS,
    wait_seconds: float | None = None,
    away: Callable[[Unavailable], None] | None = None,
) -> Vault:
    """Opens a vault at a keyholder's address; see `blindsight.client.connect`."""
    vault: Vault = _client().connect(
        address,
        profile=profile,
        tls=tls,
        token_file=token_file,
        timeout_seconds=timeout_seconds,
        keepalive_seconds=keepalive_seconds,
        retry_seconds=retry_seconds,
        wait_seconds=wait_seconds,
        away=away,
    )
    return vault


def request_id(name: str | None = None) -> AbstractContextManager[str]:
    """Sets the request id of a `with` block's calls in the services' logs; see `client.request_id`."""
    named: AbstractContextManager[str] = _client().request_id(name)
    return named


def _client() -> ModuleType:
    """Imports the SDK late: services use this package too, and need no client."""
    try:
        from blindsight import client
    except ImportError as error:
        raise ImportError("the SDK is not installed here: pip install blindsight-vault") from error
    return client
