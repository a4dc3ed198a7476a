"""What SEAL itself encrypts, read from the objects that it saves."""

from __future__ import annotations

import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.trusted.schemes.seal import _BODY, _COUNT, _HEADER, Saves, scratch


def to_residues(thing: Saves) -> tuple[Residues, bytes]:
    """Reads residues and seed of a ciphertext (or of SEAL's serialisable form of one).

    Returns:
        uint32 [stored polynomials, primes, N], and the 81 bytes of the seed, empty for a full one.
    """
    body = scratch().saved(thing)
    _, _, polynomials, degree, primes, _, _ = _BODY.unpack_from(body)
    start = _BODY.size + _HEADER.size + _COUNT.size
    (count,) = _COUNT.unpack_from(body, _BODY.size + _HEADER.size)
    values = np.frombuffer(body, "<u8", offset=start, count=count).astype(np.uint32)
    seed = body[start + 8 * count :]
    stored = 1 if seed else polynomials
    return values.reshape(stored, primes, degree), seed
