"""Encryption of pixel tiles, and decryption of stored tiles and of results, in a worker process."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues, read_block, select
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import keys
from blindsight.trusted.imaging.tile_checks import combined


def encrypt_planes(task: tasks.EncryptPlanes) -> tuple[bytes, Residues]:
    """Encrypts tiles of pixels into a seeded block; returns also its combination, uint32 [2, primes, N]."""
    name = task.parameter_set
    block = keys.scheme(name).encrypt_planes(task.tiles, keys.key_id(name))
    return block.to_bytes(), combined(block, task.factors)


def decrypt_planes(task: tasks.DecryptPlanes) -> npt.NDArray[np.uint8]:
    """Decrypts tiles of pixels to uint8 [count, N].

    Raises:
        InvalidCiphertext: if the bytes are not a block of this key.
        DataLoss: if the block does not hold pixels.
    """
    name = task.parameter_set
    parsed = read_block(task.block, PARAMETER_SETS[name], keys.key_id(name))
    values = keys.scheme(name).decrypt_planes(parsed)
    if values.min() < 0 or values.max() > np.iinfo(np.uint8).max:
        raise DataLoss("the planes do not hold pixels: their ciphertexts are not those that were stored")
    return values.astype(np.uint8)


def decrypt_results(task: tasks.DecryptResults) -> tuple[npt.NDArray[np.int32], Residues]:
    """Decrypts tiles that the evaluator computed to int32 [count, inner height, inner width].

    Nothing that is refused here depends on what they decrypt to: they were not checked yet, and a refusal
    would tell their sender something of the key.

    Returns:
        The values, which may be anything until the check has passed, and the combination of the ciphertexts,
        uint32 [2, primes, N].

    Raises:
        InvalidCiphertext: if the evaluator's block is malformed.
    """
    name = task.parameter_set
    parsed = read_block(task.block, PARAMETER_SETS[name], keys.key_id(name))
    values = np.zeros((parsed.header.count, task.layout.ring_degree), np.int64)
    # A ciphertext less itself is all zeros, which SEAL refuses to decrypt.  A ciphertext whose second
    # polynomial is zero encrypts nothing, so its first must be zero, too.
    hidden = parsed.residues[:, 1].any(axis=(1, 2))
    if parsed.residues[~hidden].any():
        raise InvalidCiphertext("the evaluator answered with tiles that are not encrypted")
    (there,) = np.nonzero(hidden)
    if there.size:
        values[there] = keys.scheme(name).decrypt_planes(select(parsed, there))
    inner = np.ascontiguousarray(task.layout.inner(values), np.int32)
    return inner, combined(parsed, task.factors)
