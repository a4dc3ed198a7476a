"""Handles of the second and later vectors of an item: rows of their own, which nobody else can tie to it.

The handle of an item's vector i, from 1 on, is the item's handle with i in its last two bytes, enciphered as
one block of AES-256.  So whoever has the key finds the item of a row, and the rows of an item, without a
table; to anybody else it is as random as every handle.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blindsight.trusted.keyring.keys import HANDLE_BYTES
from blindsight.trusted.secrets import Secret

_INDEX = struct.Struct("<H")
_START = HANDLE_BYTES - _INDEX.size

Words = npt.NDArray[np.uint64]


class PartKey:
    """Makes handles of an item's further vectors, and finds the item again.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: Secret) -> None:
        # Each block is enciphered for itself, as a function of an item and an index: no two share both.
        self._cipher = Cipher(algorithms.AES(key.reveal_secret()), modes.ECB())  # noqa: S305

    def handles(self, item: bytes, count: int) -> list[bytes]:
        """Returns the handles of an item's vectors 1 to `count`; its vector 0 has the item's own."""
        (last,) = _INDEX.unpack_from(item, _START)
        blocks = b"".join(item[:_START] + _INDEX.pack(last ^ index) for index in range(1, count + 1))
        made = self._cipher.encryptor().update(blocks)
        return [made[start : start + HANDLE_BYTES] for start in range(0, len(made), HANDLE_BYTES)]

    def blocks(self, handles: npt.NDArray[np.void]) -> Words:
        """Deciphers such handles, V16 [n]: [n, 2], the item's handle but for the last two bytes."""
        plain = self._cipher.decryptor().update(handles.tobytes())
        return np.frombuffer(plain, "<u8").reshape(-1, HANDLE_BYTES // 8)

    @staticmethod
    def index(block: bytes, item: bytes) -> int:
        """Returns which vector of an item it is, by the deciphered handle."""
        (one,), (other,) = _INDEX.unpack_from(block, _START), _INDEX.unpack_from(item, _START)
        return int(one ^ other)
