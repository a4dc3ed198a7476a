"""AES-256-GCM for everything that is not computed on: originals, names, ids, settings.

    magic "BSSB", u8 version, 12-byte nonce, ciphertext and tag

The associated data binds sealed bytes to their place: what was sealed as the original of one item of
one collection cannot be opened as anything else.
"""

from __future__ import annotations

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from blindsight.ciphertext.header import SEALED_MAGIC, SEALED_OVERHEAD_BYTES
from blindsight.errors import DataLoss
from blindsight.trusted.secrets import Secret

_PREFIX = SEALED_MAGIC + b"\x01"
_NONCE_BYTES = 12


class Sealer:
    """Authenticated encryption under one key, bound to places."""

    def __init__(self, key: Secret) -> None:
        self._aead = AESGCM(key.reveal_secret())

    def seal(self, data: bytes, place: bytes) -> bytes:
        """Seals `data` for one place."""
        nonce = os.urandom(_NONCE_BYTES)
        return _PREFIX + nonce + self._aead.encrypt(nonce, data, place)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Opens bytes that were sealed for that place.

        Raises:
            DataLoss: if the bytes are damaged, or were sealed for another place or with another key.
        """
        start = len(_PREFIX)
        if not sealed.startswith(_PREFIX) or len(sealed) < SEALED_OVERHEAD_BYTES:
            raise DataLoss("sealed bytes are damaged: wrong form")
        nonce, body = sealed[start : start + _NONCE_BYTES], sealed[start + _NONCE_BYTES :]
        try:
            return self._aead.decrypt(nonce, body, place)
        except InvalidTag:
            raise DataLoss("sealed bytes are damaged, or belong to another place or key") from None
