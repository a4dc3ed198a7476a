"""BFV (Brakerski 2012; Fan and Vercauteren 2012) on integers, for pixel planes; SEAL decrypts."""

from __future__ import annotations

from typing import Any

import numpy as np
from tenseal import sealapi

from blindsight.ciphertext.header import Form
from blindsight.ciphertext.residues import CiphertextBlock
from blindsight.errors import InvalidVector
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.trusted.schemes import seal
from blindsight.trusted.schemes.seal_key import SealKey
from blindsight.trusted.secrets import Secret


class BfvKeyholder:
    """BFV encryption and decryption under one secret key.

    Args:
        parameters: a BFV parameter set.
        secret_key: as `seal_key.generate_secret_key` returned it.

    Raises:
        KeyFileError: if SEAL does not accept the key.
    """

    def __init__(self, parameters: ParameterSet, secret_key: Secret) -> None:
        self._parameters = parameters
        self._key = SealKey(parameters, secret_key)

    def encrypt_planes(self, tiles: Integers, key_id: bytes) -> CiphertextBlock:
        """Encrypts integers [count, N] as they are.

        Raises:
            InvalidVector: if an integer is too large for the plaintext modulus.
        """
        self._require_room(tiles)
        return self._key.encrypt(tiles.astype(np.int64), key_id)

    def decrypt_planes(self, block: CiphertextBlock) -> Integers:
        """Decrypts tiles to int64 [count, N]."""
        return np.stack([self._tile(block, index) for index in range(block.header.count)])

    def _tile(self, block: CiphertextBlock, index: int) -> Integers:
        ntt_form = block.header.form is Form.FULL
        ciphertext = self._key.load(block, index, 1.0, ntt_form=ntt_form)
        if ntt_form:  # a result of arithmetic; SEAL decrypts BFV in coefficient form only
            self._key.evaluator.transform_from_ntt_inplace(ciphertext)
        return self._centred(self._decrypt(ciphertext))

    def _require_room(self, integers: Integers) -> None:
        largest, limit = int(np.abs(integers).max()), self._parameters.plain_modulus // 2
        if largest >= limit:
            raise InvalidVector(f"value of {largest} after scaling, want less than {limit} (t/2)")

    def _decrypt(self, ciphertext: Any) -> Integers:
        plain = sealapi.Plaintext()
        self._key.decryptor.decrypt(ciphertext, plain)
        return seal.plaintext_to_integers(self._parameters, plain)

    def _centred(self, values: Integers) -> Integers:
        modulus = self._parameters.plain_modulus
        return np.where(values >= modulus // 2, values - modulus, values)
