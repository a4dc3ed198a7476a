"""Encryption of pixel tiles, and decryption of stored tiles and of results, in a worker process."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import read_block, select
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import keys

# The largest magnitude of an image's results under any scheme.
_LARGEST_RESULT = (1 << 31) - 1


def encrypt_planes(task: tasks.EncryptPlanes) -> bytes:
    """Encrypts tiles of pixels into a seeded block."""
    name = task.parameter_set
    return keys.scheme(name).encrypt_planes(task.tiles, keys.key_id(name)).to_bytes()


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


def decrypt_results(task: tasks.DecryptResults) -> npt.NDArray[np.int32]:
    """Decrypts tiles that the evaluator computed to int32 [count, inner height, inner width].

    Raises:
        InvalidCiphertext: if the evaluator's block is malformed, or holds values that no image gives.
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
    if values.min() < -_LARGEST_RESULT or values.max() > _LARGEST_RESULT:
        raise InvalidCiphertext("results that no picture has: the evaluator computed something else")
    return np.ascontiguousarray(task.layout.inner(values), np.int32)
