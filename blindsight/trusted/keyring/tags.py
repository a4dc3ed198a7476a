"""Tags in the versions of items that no search ranks, since nothing could be made of their files.

The 48 bits of a version that stay when metadata change look random to whom has no key, tagged or not:
storage, which keeps versions, cannot tell which items are tagged.

    bits 0 to 31    the tag: a block cipher's output for the item's handle and the next bits; else random
    bits 32 to 47   random
    bits 48 to 63   the revision of the metadata, and the mark of a quarantined item, see `trusted.slots`
"""

from __future__ import annotations

import os

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blindsight.trusted.secrets import Secret

_TAG = np.uint64((1 << 32) - 1)
_DRAWN = np.uint64((1 << 16) - 1)

Words = npt.NDArray[np.uint64]


class Tags:
    """The tags of one collection's items.

    An untagged item has its tag by chance with probability 2^-32.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: Secret) -> None:
        # Each block is enciphered for itself, as a function of handle and drawn bits: no two share both.
        self._cipher = Cipher(algorithms.AES(key.reveal_secret()), modes.ECB())  # noqa: S305

    def version(self, handle: bytes) -> bytes:
        """Returns a new version with the tag of an item: 8 bytes."""
        drawn = (np.frombuffer(os.urandom(8), "<u8") & _DRAWN) << np.uint64(32)
        return (drawn | self._of(np.frombuffer(handle, "<u8"), drawn)).astype("<u8").tobytes()

    def found(self, handles: npt.NDArray[np.void], versions: Words) -> npt.NDArray[np.bool_]:
        """Returns which versions are tagged: handles V16 [n], versions [n] -> bool [n]."""
        return np.asarray((versions & _TAG) == self._of(handles.view("<u8"), versions))

    def _of(self, handles: Words, versions: Words) -> Words:
        blocks = handles.reshape(-1, 2).copy()
        blocks[:, 0] ^= (versions >> np.uint64(32)) & _DRAWN
        enciphered = self._cipher.encryptor().update(blocks.tobytes())
        return np.frombuffer(enciphered, "<u8")[::2] & _TAG
