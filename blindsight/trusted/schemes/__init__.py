"""Secret-key operations on pixel planes.  A scheme is one module here and one row in `SCHEMES`."""

from __future__ import annotations

from typing import Protocol

from blindsight.ciphertext.residues import CiphertextBlock
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet, Scheme
from blindsight.trusted.schemes import bfv, ckks
from blindsight.trusted.schemes.seal_key import generate_secret_key
from blindsight.trusted.secrets import Secret

__all__ = ["SCHEMES", "SecretScheme", "generate_secret_key", "load"]


class SecretScheme(Protocol):
    """Encryption and decryption under one secret key, in worker processes."""

    def encrypt_planes(self, tiles: Integers, key_id: bytes) -> CiphertextBlock:
        """Encrypts integers [count, N], such as tiles of pixels, into a seeded block."""

    def decrypt_planes(self, block: CiphertextBlock) -> Integers:
        """Decrypts tiles, or sums of them, to int64 [count, N], exactly.

        Args:
            block: seeded, as it was encrypted, or full and in NTT form, as a result of arithmetic.
        """


SCHEMES: dict[Scheme, type[ckks.CkksKeyholder | bfv.BfvKeyholder]] = {
    Scheme.CKKS: ckks.CkksKeyholder,
    Scheme.BFV: bfv.BfvKeyholder,
}


def load(parameters: ParameterSet, secret_key: Secret) -> SecretScheme:
    """Returns the scheme of a parameter set, holding its secret key."""
    return SCHEMES[parameters.scheme](parameters, secret_key)
