"""CKKS with values in all N coefficients (Cheon, Kim, Kim, Song 2017), by SEAL.

SEAL's encoder fills N/2 complex slots: slot j is the value of the polynomial at zeta^(3^j), zeta a
primitive 2N-th root of unity.  To choose coefficients instead, the polynomial is evaluated at those
points by a twisted FFT, and SEAL encodes the values; decoding goes the other way round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from tenseal import sealapi

from blindsight.ciphertext.residues import CiphertextBlock
from blindsight.packing.columns import Floats
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.trusted.schemes import seal
from blindsight.trusted.schemes.seal_key import SealKey
from blindsight.trusted.secrets import Secret


class CoefficientDecoder:
    """A decoder of N real coefficients through SEAL's slots.

    Args:
        parameters: a CKKS parameter set.
    """

    def __init__(self, parameters: ParameterSet) -> None:
        self._degree = parameters.ring_degree
        self._encoder = sealapi.CKKSEncoder(seal.context(parameters))
        self._twist = np.exp(1j * np.pi * np.arange(self._degree) / self._degree)
        self._order = _slot_order(self._degree)

    def decode(self, plain: Any) -> Floats:
        """Decodes the [N] real coefficients of a SEAL plaintext."""
        # Coefficients are real, so the values at the other half of the roots are the conjugates.
        full = np.empty(self._degree, np.complex128)
        full[self._order] = self._encoder.decode_complex(plain)
        full[self._degree - 1 - self._order] = np.conj(full[self._order])
        coefficients: Floats = (np.fft.fft(full) / self._degree * np.conj(self._twist)).real
        return coefficients


def _slot_order(degree: int) -> npt.NDArray[np.intp]:
    """Returns each slot's entry in the twisted FFT: slot j is at zeta^(3^j), which is entry (3^j - 1) / 2."""
    order = np.empty(degree // 2, np.intp)
    exponent = 1
    for slot in range(degree // 2):
        order[slot] = (exponent - 1) // 2
        exponent = exponent * 3 % (2 * degree)
    return order


class CkksKeyholder:
    """CKKS encryption and decryption under one secret key.

    Args:
        parameters: a CKKS parameter set.
        secret_key: as `seal_key.generate_secret_key` returned it.

    Raises:
        KeyFileError: if SEAL does not accept the key.
    """

    def __init__(self, parameters: ParameterSet, secret_key: Secret) -> None:
        self._parameters = parameters
        self._key = SealKey(parameters, secret_key)
        self._encoder = CoefficientDecoder(parameters)

    def encrypt_planes(self, tiles: Integers, key_id: bytes) -> CiphertextBlock:
        """Encrypts integers [count, N] with the gallery's scale, which keeps the noise far below 1/2."""
        scale = self._parameters.gallery_scale
        return self._key.encrypt(np.rint(tiles.astype(np.float64) * scale).astype(np.int64), key_id)

    def decrypt_planes(self, block: CiphertextBlock) -> Integers:
        """Decrypts tiles and rounds them to int64 [count, N]."""
        scale = self._parameters.gallery_scale
        loaded = (self._key.load(block, index, scale, ntt_form=True) for index in range(block.header.count))
        values = np.stack([self._decrypt(ciphertext) for ciphertext in loaded])
        return np.rint(values).astype(np.int64)

    def _decrypt(self, ciphertext: Any) -> Floats:
        plain = sealapi.Plaintext()
        self._key.decryptor.decrypt(ciphertext, plain)
        return self._encoder.decode(plain)
