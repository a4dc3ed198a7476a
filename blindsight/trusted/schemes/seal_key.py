"""A secret key of a SEAL scheme, and SEAL's objects that use it; common to all SEAL schemes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from tenseal import sealapi

from blindsight.ciphertext.residues import CiphertextBlock, seeded_block
from blindsight.errors import KeyFileError
from blindsight.parameters import ParameterSet
from blindsight.trusted.schemes import seal
from blindsight.trusted.secrets import Secret


class SealKey:
    """SEAL's encryptor, decryptor and evaluator under one secret key.

    Args:
        parameters: the parameter set.
        secret_key: as `generate_secret_key` returned it.

    Raises:
        KeyFileError: if SEAL does not accept the key.
    """

    def __init__(self, parameters: ParameterSet, secret_key: Secret) -> None:
        context = seal.context(parameters)
        key = sealapi.SecretKey()
        try:
            key.load(context, seal.scratch().fill(secret_key.reveal_secret()))
        except (RuntimeError, ValueError) as error:
            raise KeyFileError(f"SEAL refuses the secret key of {parameters.name}") from error
        finally:
            seal.scratch().wipe()
        self.parameters = parameters
        self.encryptor = sealapi.Encryptor(context, key)
        # Also decrypts results of three polynomials, with s and s^2, so no relinearisation key is needed.
        self.decryptor = sealapi.Decryptor(context, key)
        self.evaluator = sealapi.Evaluator(context)

    def encrypt(self, plaintexts: Iterable[Any], key_id: bytes) -> CiphertextBlock:
        """Encrypts SEAL plaintexts into a seeded block."""
        # Symmetric encryption, because only the key's owner encrypts: the second polynomial is then uniform,
        # and a seed replaces it.  SEAL draws a new seed and error for every ciphertext, the error from a
        # generator about which the seed reveals nothing (`encrypt_zero_symmetric` in SEAL's `rlwe.cpp`): the
        # sum of 21 fair bits minus that of 21 others, of standard deviation 3.24 (`sample_poly_cbd`).
        pairs = [seal.to_residues(self.encryptor.encrypt_symmetric(plain)) for plain in plaintexts]
        residues = np.stack([pair[0] for pair in pairs])
        seeds = np.stack([np.frombuffer(pair[1], np.uint8) for pair in pairs])
        return seeded_block(self.parameters, key_id, residues, seeds)

    def load(self, block: CiphertextBlock, index: int, scale: float, *, ntt_form: bool) -> Any:
        """Returns one ciphertext of a block as a SEAL object."""
        seed = b"" if block.seeds is None else block.seeds[index].tobytes()
        residues = block.residues[index]
        return seal.from_residues(self.parameters, residues, scale, seed, ntt_form=ntt_form)

    def sum(self, blocks: list[CiphertextBlock], index: int, *, ntt_form: bool) -> Any:
        """Returns one column of a segment: the sum of its ciphertexts in all batches."""
        total = None
        scale = self.parameters.gallery_scale if ntt_form else 1.0
        for block in blocks:
            one = self.load(block, index, scale, ntt_form=ntt_form)
            if total is None:
                total = one
            else:
                self.evaluator.add_inplace(total, one)
        return total


def generate_secret_key(parameters: ParameterSet) -> Secret:
    """Draws a ternary secret key (`sample_poly_ternary` in SEAL's `rlwe.cpp`), in SEAL's serialised form."""
    key = sealapi.KeyGenerator(seal.context(parameters)).secret_key()
    try:
        return Secret(seal.scratch().raw(key))
    finally:
        seal.scratch().wipe()
