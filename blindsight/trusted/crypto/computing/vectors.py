"""Encryption of rows and queries, and decryption and selection of scores, in a worker process."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import CiphertextBlock, read_block
from blindsight.errors import InvalidCiphertext
from blindsight.packing.columns import Floats
from blindsight.parameters import ADDITIVE_SETS, PARAMETER_SETS
from blindsight.trusted.additive import packed
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import keys
from blindsight.trusted.similarity.linear import Reading
from blindsight.trusted.similarity.ranking import best_of


def _read(parameter_set: str, block: bytes) -> CiphertextBlock:
    return read_block(block, PARAMETER_SETS[parameter_set], keys.key_id(parameter_set))


def _parts(block: CiphertextBlock) -> tasks.Encrypted:
    if block.seeds is None:
        raise ValueError("fresh ciphertexts are seeded")
    return block.residues.tobytes(), block.seeds.tobytes()


def encrypt_rows(task: tasks.EncryptRows) -> tasks.Encrypted:
    """Encrypts columns of a batch."""
    name, coefficients = task.parameter_set, task.layout.pack(task.rows, task.first_slot)
    if name in ADDITIVE_SETS:
        return packed.encrypt(keys.additive_key(name), ADDITIVE_SETS[name], coefficients), b""
    return _parts(keys.scheme(name).encrypt_gallery(coefficients, keys.key_id(name)))


def decrypt_rows(task: tasks.DecryptRows) -> Floats:
    """Decrypts a segment from all of its batches to rows [capacity, row dimension]."""
    name, layout = task.parameter_set, task.layout
    if name in ADDITIVE_SETS:
        columns = packed.decrypt_columns(keys.additive_key(name), ADDITIVE_SETS[name], task.batches)
        return layout.unpack(columns)
    return layout.unpack(keys.scheme(name).decrypt_gallery([_read(name, batch) for batch in task.batches]))


def encrypt_queries(task: tasks.EncryptQueries) -> tasks.Encrypted:
    """Encrypts polynomials of queries."""
    layout, name = task.layout, task.parameter_set
    per_query = layout.query_ciphertexts
    polynomials = []
    for index in range(task.start // per_query, -(-task.stop // per_query)):
        form = task.forms[index]
        whole = np.concatenate([layout.of(region).pack_query(form) for region in layout.regions])
        low = max(task.start - index * per_query, 0)
        polynomials.append(whole[low : task.stop - index * per_query])
    return _parts(keys.scheme(name).encrypt_query(np.concatenate(polynomials), keys.key_id(name)))


def plain_queries(task: tasks.PlainQueries) -> bytes:
    """Packs linear forms as the evaluator will see them; see `packed.plain_queries`."""
    name = task.parameter_set
    return packed.plain_queries(keys.additive_key(name), ADDITIVE_SETS[name], task.layout, task.forms)


def pick_best(task: tasks.PickBest) -> list[list[tasks.Best]]:
    """Decrypts results and picks the best: [segment][query].

    Raises:
        InvalidCiphertext: if the evaluator's block is malformed, or holds another number of results.
    """
    layout, pick = task.layout, task.pick
    shape = len(task.live), len(pick.readings), len(layout.fields)
    coefficients, grid = _products(task.parameter_set, task.block)
    if len(coefficients) != math.prod(shape):
        raise InvalidCiphertext(f"{len(coefficients)} results, want {' x '.join(map(str, shape))}")
    products = layout.scores(coefficients)
    rounded = (np.rint(products / grid) * grid).reshape(*shape, layout.capacity)
    return [
        [
            _best(by_field.T, np.flatnonzero(slots), reading, pick.k)
            for by_field, reading in zip(by_query, pick.readings, strict=True)
        ]
        for by_query, slots in zip(rounded, task.live, strict=True)
    ]


def _products(parameter_set: str, block: bytes) -> tuple[Floats, float]:
    """Returns decrypted results [count, N], and the grid to which they are rounded."""
    if parameter_set in ADDITIVE_SETS:
        additive = ADDITIVE_SETS[parameter_set]
        return packed.decrypt_scores(keys.additive_key(parameter_set), additive, block), additive.score_grid
    residues = _read(parameter_set, block).residues
    return keys.scheme(parameter_set).decrypt_scores(residues), PARAMETER_SETS[parameter_set].score_grid


def _best(products: Floats, slots: npt.NDArray[np.intp], reading: Reading, k: int) -> tasks.Best:
    """Picks the best of products [capacity, fields] in slots that hold an item."""
    scores = reading.scores(products[slots])
    chosen = best_of(scores, k, largest=reading.higher_is_better)
    return tasks.Best(slots[chosen], scores[chosen], reading.parts(products[slots[chosen]]))


def encrypt_pair(task: tasks.EncryptPair) -> tuple[bytes, bytes]:
    """Encrypts one row and one linear form; returns the blocks of a segment and of a query."""
    name, layout = task.parameter_set, task.layout
    scheme, key_id, balance = keys.scheme(name), keys.key_id(name), PARAMETER_SETS[name].pair_balance
    gallery = scheme.encrypt_gallery(layout.pack(task.row[None] * balance), key_id)
    query = scheme.encrypt_query(layout.pack_query(task.form / balance), key_id)
    return gallery.to_bytes(), query.to_bytes()


def decrypt_pair(task: tasks.DecryptPair) -> Floats:
    """Decrypts the products of a pair: [fields].

    Raises:
        InvalidCiphertext: if the evaluator's block is malformed, or not one unrelinearised result per field.
    """
    name, layout = task.parameter_set, task.layout
    parsed = _read(name, task.block)
    got = parsed.header.count, parsed.header.polynomials
    if got != (len(layout.fields), 3):
        raise InvalidCiphertext(f"{got[0]} results of {got[1]} polynomials, want {len(layout.fields)} of 3")
    products = layout.scores(keys.scheme(name).decrypt_scores(parsed.residues))[:, 0]
    grid = PARAMETER_SETS[name].pair_grid
    rounded: Floats = np.rint(products / grid) * grid
    return rounded


def encrypt_crossed(task: tasks.EncryptCrossed) -> tasks.Encrypted:
    """Encrypts groups of rows or of queries; both sides have the same scale, as in a single pair."""
    name, layout = task.parameter_set, task.layout
    scheme, key_id, balance = keys.scheme(name), keys.key_id(name), PARAMETER_SETS[name].pair_balance
    if task.queries:
        return _parts(scheme.encrypt_query(layout.pack_queries(task.vectors) / balance, key_id))
    return _parts(scheme.encrypt_gallery(layout.pack_rows(task.vectors) * balance, key_id))


def decrypt_crossed(task: tasks.DecryptCrossed) -> npt.NDArray[np.float32]:
    """Decrypts products of groups to inner products [results, queries, rows].

    Raises:
        InvalidCiphertext: if the evaluator's block is malformed, or its results are not unrelinearised.
    """
    name = task.parameter_set
    parsed = _read(name, task.block)
    if parsed.header.polynomials != 3:
        raise InvalidCiphertext(f"results of {parsed.header.polynomials} polynomials, want 3")
    scores = task.layout.scores(keys.scheme(name).decrypt_scores(parsed.residues))
    grid = PARAMETER_SETS[name].pair_grid
    rounded: npt.NDArray[np.float32] = (np.rint(scores / grid) * grid).astype(np.float32)
    return rounded
