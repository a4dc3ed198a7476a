"""Queries: v_j = m_j + e_j - u_j t with public masks u_j and a fresh secret t; and the opening of answers.

A query is a Ring-LWE sample for each column, under one secret that is used once, with a uniform part that is
public and fixed (as in SimplePIR: Henzinger et al., USENIX Security 2023).  For a segment's columns
b_j = g_j - a s_j and a query's columns v_j = q_j - u_j t, noise included, in NTT form,

    sum_j g_j q_j  =  sum_j b_j v_j  +  t sum_j b_j u_j  +  a sum_j s_j (v_j + u_j t)
                   =       P         +  t      H         +  a      w

The evaluator computes P.  H is a property of the segment, w of the query: what covers an answer is known
before it comes.  The answer is added to that and multiplied by nothing, so a forged one tells nobody
anything about a secret; H and a are the keyholder's own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numba
import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.packing.planes import Integers
from blindsight.ring import ntt
from blindsight.ring.columns import Spans, products
from blindsight.ring.jit import compiled, reduced
from blindsight.trusted.columns.gallery import cover
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.columns.numbers import integers, transformed
from blindsight.trusted.schemes.sampling import KEY_BYTES, Words, ternary


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Query:
    """An encrypted query, and the secrets that open its answers.

    Attributes:
        keys: of its columns.
        tiles: v_j, for the evaluator.
        secret: t in NTT form, uint32 [primes, N].
        weights: w of each field, uint32 [fields, primes, N].
    """

    keys: ColumnKeys
    tiles: Residues
    secret: Residues
    weights: Residues


class Draft:
    """A query in the making: its columns may be encrypted in several threads.

    Args:
        keys: of its columns.
    """

    def __init__(self, keys: ColumnKeys) -> None:
        parameters = keys.parameters
        self._keys = keys
        self._secret = transformed(ternary(os.urandom(KEY_BYTES), (1, parameters.ring_degree)), parameters)[0]
        self._tiles = np.empty_like(keys.masks)

    def encrypt(self, messages: Integers, first_column: int = 0) -> None:
        """Encrypts some columns, int64 [count, N], from `first_column` on."""
        cover(messages, self._secret, self._keys.masks, self._keys.parameters, self._tiles, first_column)

    def finish(self, fields: Spans) -> Query:
        """Returns the query, of which all columns are encrypted."""
        keys = self._keys
        weights = products(keys.secrets, self._tiles, keys.parameters, fields)
        _multiply_add(keys.masked(fields), self._secret, _primes(keys), weights)
        return Query(keys, self._tiles, self._secret, weights)


def encrypt(messages: Integers, keys: ColumnKeys, fields: Spans) -> Query:
    """Encrypts a query's polynomials int64 [columns, N] under a fresh secret."""
    draft = Draft(keys)
    draft.encrypt(messages)
    return draft.finish(fields)


def _primes(keys: ColumnKeys) -> Words:
    return np.array(keys.parameters.primes, np.uint64)


@compiled
def _multiply_add(first: Residues, second: Residues, primes: Words, total: Residues) -> None:
    """Adds first [count, primes, N] * second [primes, N] to `total`, in place."""
    for index in range(total.shape[0]):
        for row in range(primes.size):
            reciprocal = 1.0 / numba.float64(primes[row])
            for k in range(total.shape[2]):
                product = numba.uint64(first[index, row, k]) * numba.uint64(second[row, k])
                value = product + numba.uint64(total[index, row, k])
                total[index, row, k] = reduced(value, primes[row], reciprocal)


@compiled
def _uncover(
    answer: Residues,
    held: Residues,
    common: Residues,
    secret: Residues,
    weights: Residues,
    primes: Words,
    out: Residues,
) -> None:
    """Computes answer + fold(held * secret + common * weights): [fields, primes, M]; see `Query`."""
    fold = secret.shape[1] // answer.shape[2]
    whole = np.empty(secret.shape[1], np.uint32)
    for field in range(answer.shape[0]):
        for row in range(primes.size):
            prime = primes[row]
            reciprocal = 1.0 / numba.float64(prime)
            for k in range(whole.size):
                covered = numba.uint64(held[field, row, k]) * numba.uint64(secret[row, k])
                covered += numba.uint64(common[row, k]) * numba.uint64(weights[field, row, k])
                whole[k] = reduced(covered, prime, reciprocal)
            for k in range(answer.shape[2]):
                total = numba.uint64(answer[field, row, k])
                for i in range(fold):
                    total += numba.uint64(whole[k * fold + i])
                out[field, row, k] = reduced(total, prime, reciprocal)


def open_answer(answer: Residues, held: Residues, common: Residues, query: Query) -> Integers:
    """Opens the answer of one segment to one query: int64 [fields, M], the wanted coefficients.

    Args:
        answer: P of each field, folded: uint32 [fields, primes, M], below their primes.
        held: H of each field, uint32 [fields, primes, N].
        common: a, uint32 [primes, N].
    """
    if (
        answer.shape[:2] != held.shape[:2]
        or held.shape != query.weights.shape
        or common.shape != held.shape[1:]
    ):
        raise ValueError(
            f"answer {answer.shape} for {held.shape} and {common.shape}, want the query's fields"
        )
    out = np.empty_like(answer)
    _uncover(answer, held, common, query.secret, query.weights, _primes(query.keys), out)
    ntt.inverse(out, query.keys.parameters)
    return integers(out, query.keys.parameters)


def held(tiles: Residues, keys: ColumnKeys, fields: Spans) -> Residues:
    """Returns H of a batch: the sum over each field's columns of b_j u_j, uint32 [fields, primes, N]."""
    return products(tiles, keys.masks, keys.parameters, fields)
