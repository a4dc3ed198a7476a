"""Secret-key operations of scramble: pixels are permuted in a secret order, and half of them inverted.

This is not encryption: it only hides an image from a casual look.  Every pixel value stays readable, one
known image reveals the order, and the order is the same for all images of one size.  It is included for
comparison, because learnable image encryption works like this (Tanaka, "Learnable image encryption",
ICCE-TW 2018).  Unlike there, the order comes from a 256-bit key.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.schemes import AdditiveScheme
from blindsight.errors import InvalidArgument, InvalidCiphertext

KEY_BYTES = 32
_NONCE = bytes(16)  # constant, because every derived key is used for one stream only


def generate(scheme: AdditiveScheme, bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draws a key: no public numbers; secret are the key and 1, which says that values are inverted, too."""
    return (), (secrets.randbits(8 * KEY_BYTES), 1)


class ScrambleKeyholder:
    """The permutation of a block's values and its inverse; no value is inverted if the second number is 0."""

    def __init__(self, public_key: AdditivePublicKey, numbers: tuple[int, ...]) -> None:
        if len(numbers) != 2 or numbers[0].bit_length() > 8 * KEY_BYTES or numbers[1] not in (0, 1):
            raise InvalidArgument("the numbers of a scramble key do not belong together")
        self._key, self._inversion = numbers[0].to_bytes(KEY_BYTES, "little"), bool(numbers[1])

    def encrypt(self, messages: Sequence[int], header: AdditiveHeader) -> list[int]:
        order, inverted = self._order(header)
        values = np.array(messages, np.int64)[order]
        values = np.where(inverted, (1 << header.layout.value_bits) - 1 - values, values)
        modulus = 1 << 8 * header.number_bytes
        return [value % modulus for value in values.tolist()]

    def decrypt(self, numbers: Sequence[int], header: AdditiveHeader) -> list[int]:
        if header.growth > 2:
            raise InvalidCiphertext("scramble: neither a picture nor a difference of two")
        order, inverted = self._order(header)
        # Sign-extends numbers of at most 8 bytes.  A value that wraps around is too wide for its slot, and
        # refused when it is unpacked.
        unused = np.uint64(64 - 8 * header.number_bytes)
        signed = (np.array(numbers, np.uint64) << unused).view(np.int64) >> unused.astype(np.int64)
        # An inverted fresh value is the largest value minus it; in a difference of two, the largest cancels.
        largest = (1 << header.layout.value_bits) - 1 if header.growth == 1 else 0
        values = np.empty(len(signed), np.int64)
        values[order] = np.where(inverted, largest - signed, signed)
        return [int(value) for value in values.tolist()]

    def _order(self, header: AdditiveHeader) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Returns the source index of each value, and which are inverted; both differ for every size."""
        layout = header.layout
        size = b"%d x %d x %d" % (layout.rows, layout.columns, layout.value_bits)
        info = b"blindsight/1/scramble/" + size
        derive = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=header.key_id, info=info)
        encryptor = Cipher(ChaCha20(derive.derive(self._key), _NONCE), mode=None).encryptor()
        words = np.frombuffer(encryptor.update(bytes(8 * layout.count)), np.uint64)
        signs = np.frombuffer(encryptor.update(bytes(layout.count)), np.uint8)
        return np.argsort(words, kind="stable"), (signs & 1 == 1) & self._inversion
