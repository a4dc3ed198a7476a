"""A secret key of a SEAL scheme, and SEAL's objects that use it; common to all SEAL schemes."""

from __future__ import annotations

from typing import Any

from tenseal import sealapi

from blindsight.ciphertext.residues import CiphertextBlock
from blindsight.errors import KeyFileError
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.trusted.schemes import seal
from blindsight.trusted.schemes.encryption import encrypt
from blindsight.trusted.secrets import Secret


class SealKey:
    """A secret key, with SEAL's decryptor and evaluator.

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
        self._secret = seal.secret_residues(parameters, key)
        self.decryptor = sealapi.Decryptor(context, key)
        self.evaluator = sealapi.Evaluator(context)

    def encrypt(self, messages: Integers, key_id: bytes) -> CiphertextBlock:
        """Encrypts integers [count, N] into a seeded block; see `encryption.encrypt`."""
        return encrypt(self.parameters, self._secret, messages, key_id)

    def load(self, block: CiphertextBlock, index: int, scale: float, *, ntt_form: bool) -> Any:
        """Returns one ciphertext of a block as a SEAL object."""
        seed = b"" if block.seeds is None else block.seeds[index].tobytes()
        residues = block.residues[index]
        return seal.from_residues(self.parameters, residues, scale, seed, ntt_form=ntt_form)


def generate_secret_key(parameters: ParameterSet) -> Secret:
    """Draws a ternary secret key (`sample_poly_ternary` in SEAL's `rlwe.cpp`), in SEAL's serialised form."""
    key = sealapi.KeyGenerator(seal.context(parameters)).secret_key()
    try:
        return Secret(seal.scratch().raw(key))
    finally:
        seal.scratch().wipe()
