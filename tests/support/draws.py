"""What worker processes draw at random; a worker imports it."""

from __future__ import annotations

import os
import random
import secrets
import time

import numpy as np

from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted.columns import checking, gallery, queries
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.schemes import encryption, sampling


def draw() -> tuple[int, list[bytes]]:
    """The process, and the first that it draws in each way in which a secret or a seed is drawn."""
    time.sleep(0.3)  # so that no worker does the work of two
    parameters = PARAMETER_SETS["ckks-4096"]
    secret = np.zeros((len(parameters.primes), parameters.ring_degree), np.uint32)
    block = encryption.encrypt(parameters, secret, np.zeros((1, parameters.ring_degree), np.int64), bytes(16))
    assert block.seeds is not None
    keys = ColumnKeys.derive(parameters, bytes(32), bytes(32), 1)
    nothing = np.zeros((1, parameters.ring_degree), np.int64)
    tiles, seed = gallery.encrypt(nothing, keys)
    query = queries.encrypt(nothing, keys, ((0, 1),))
    return os.getpid(), [
        random.randbytes(16),
        secrets.token_bytes(16),
        os.urandom(16),
        sampling.random_words((2,)).tobytes(),
        block.seeds.tobytes(),
        block.residues.tobytes(),
        seed,
        gallery.decrypt([(tiles, seed)], keys).tobytes(),  # the noise
        query.secret.residues.tobytes(),
        query.tiles.tobytes(),
        checking.random_factors(parameters).tobytes(),
    ]
