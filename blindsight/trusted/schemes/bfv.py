"""BFV (Brakerski 2012; Fan and Vercauteren 2012) on rounded integers, by SEAL: exact scores.

Values are multiplied by the set's scales and rounded; everything after that is arithmetic of integers
modulo t.  Ciphertexts leave in coefficient form, as SEAL would make them; the evaluator transforms them.

A product comes back as C = c_g * (t c_q), see `services.evaluator.computing.schemes.bfv`: it decrypts to
-q g q_ modulo t instead of g q_, which a multiplication by -1/q modulo t undoes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from tenseal import sealapi

from blindsight.ciphertext.header import Form
from blindsight.ciphertext.residues import CiphertextBlock, Residues
from blindsight.errors import InvalidVector
from blindsight.packing.columns import Floats
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
        # q is odd and t a power of two, so -q has an inverse.
        self._undo = pow(-parameters.modulus, -1, parameters.plain_modulus)

    def encrypt_gallery(self, coefficients: Floats, key_id: bytes) -> CiphertextBlock:
        """Encrypts [count, N], multiplied by the gallery's scale and rounded."""
        return self._encrypt(coefficients, self._parameters.gallery_scale, key_id)

    def encrypt_query(self, coefficients: Floats, key_id: bytes) -> CiphertextBlock:
        """Encrypts [count, N], multiplied by the query's scale and rounded."""
        return self._encrypt(coefficients, self._parameters.query_scale, key_id)

    def decrypt_scores(self, residues: Residues) -> Floats:
        """Decrypts unrelinearised products [count, 3, primes, N] in NTT form."""
        scale = self._parameters.gallery_scale * self._parameters.query_scale
        return np.stack([self._product(one) for one in residues]) / scale

    def decrypt_gallery(self, blocks: list[CiphertextBlock]) -> Floats:
        """Decrypts the sum of batches: gallery polynomials [count, N]."""
        columns = range(blocks[0].header.count)
        sums = [self._key.sum(blocks, index, ntt_form=False) for index in columns]
        integers = np.stack([self._centred(self._decrypt(one)) for one in sums])
        return integers / self._parameters.gallery_scale

    def _encrypt(self, coefficients: Floats, scale: float, key_id: bytes) -> CiphertextBlock:
        return self.encrypt_planes(np.rint(coefficients * scale).astype(np.int64), key_id)

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

    def _product(self, residues: Residues) -> Integers:
        ciphertext = seal.from_residues(self._parameters, residues)
        self._key.evaluator.transform_from_ntt_inplace(ciphertext)
        # Both factors are below 2^31: no wrap in 64 bits.
        return self._centred(self._decrypt(ciphertext) * self._undo % self._parameters.plain_modulus)

    def _decrypt(self, ciphertext: Any) -> Integers:
        plain = sealapi.Plaintext()
        self._key.decryptor.decrypt(ciphertext, plain)
        return seal.plaintext_to_integers(self._parameters, plain)

    def _centred(self, values: Integers) -> Integers:
        modulus = self._parameters.plain_modulus
        return np.where(values >= modulus // 2, values - modulus, values)
