"""Key sets that tests share: making one takes a second of processor time."""

from __future__ import annotations

from functools import cache

from blindsight.trusted.keyring import keys
from blindsight.trusted.keyring.keys import KeySet


@cache
def shared_key_set(owner: int = 0) -> KeySet:
    """The key set of an owner, the same for all tests of a process.

    Args:
        owner: 0 for whose vault it is, others for strangers.
    """
    return keys.create()
