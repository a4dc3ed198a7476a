"""Encryption and decryption of rows, and of queries and scores of additive schemes, in a worker process."""

from __future__ import annotations

import numpy as np

from blindsight.packing.columns import Floats
from blindsight.parameters import ADDITIVE_SETS, PARAMETER_SETS
from blindsight.trusted.additive import packed
from blindsight.trusted.columns import batches
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import keys
from blindsight.trusted.secrets import Secret


def _keys(secret: tasks.ColumnSecret) -> CollectionKeys:
    name = secret.parameter_set
    return CollectionKeys(Secret(secret.root), PARAMETER_SETS[name], secret.layout, keys.key_id(name))


def encrypt_batch(task: tasks.EncryptBatch) -> bytes:
    """Encrypts rows to the block of a batch."""
    return batches.encrypt(task.rows, task.place, _keys(task.secret))


def decrypt_segment(task: tasks.DecryptSegment) -> Floats:
    """Decrypts a segment from all of its batches.

    Raises:
        DataLoss: if a batch is not the one that was written.
    """
    return batches.decrypt(task.blocks, task.region, _keys(task.secret))


def encrypt_columns(task: tasks.EncryptColumns) -> bytes:
    """Encrypts columns of a batch under an additive scheme."""
    name, coefficients = task.parameter_set, task.layout.pack(task.rows, task.first_slot)
    return packed.encrypt(keys.additive_key(name), ADDITIVE_SETS[name], coefficients)


def decrypt_columns(task: tasks.DecryptColumns) -> Floats:
    """Decrypts columns of a segment under an additive scheme."""
    name = task.parameter_set
    columns = packed.decrypt_columns(keys.additive_key(name), ADDITIVE_SETS[name], task.batches)
    return task.layout.unpack(columns)


def plain_queries(task: tasks.PlainQueries) -> bytes:
    """Packs linear forms as the evaluator will see them; see `packed.plain_queries`."""
    name = task.parameter_set
    return packed.plain_queries(keys.additive_key(name), ADDITIVE_SETS[name], task.layout, task.forms)


def decrypt_scores(task: tasks.DecryptScores) -> Floats:
    """Decrypts results under an additive scheme, rounded to its grid.

    Raises:
        InvalidCiphertext: if the evaluator's block is malformed.
    """
    parameters = ADDITIVE_SETS[task.parameter_set]
    products = packed.decrypt_scores(keys.additive_key(task.parameter_set), parameters, task.block)
    grid = parameters.score_grid
    rounded: Floats = np.rint(task.layout.scores(products) / grid) * grid
    return rounded
