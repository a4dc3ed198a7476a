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
from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.packing.columns import Floats
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.ring import ntt
from blindsight.ring.columns import Spans, products
from blindsight.ring.jit import compiled, reduced
from blindsight.trusted.columns.gallery import cover
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.columns.numbers import integers, rounded, transformed
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
    answers: Residues,
    held: Residues,
    common: Residues,
    secrets: Residues,
    weights: Residues,
    primes: Words,
    out: Residues,
) -> None:
    """Computes answers + fold(held * secret + common * weights); see `uncovered`."""
    fold = secrets.shape[2] // answers.shape[4]
    whole = np.empty(secrets.shape[2], np.uint32)
    for i in range(answers.shape[0]):
        for j in range(answers.shape[1]):
            for field in range(answers.shape[2]):
                for row in range(primes.size):
                    prime = primes[row]
                    reciprocal = 1.0 / numba.float64(prime)
                    for k in range(whole.size):
                        covered = numba.uint64(held[i, field, row, k]) * numba.uint64(secrets[j, row, k])
                        covered += numba.uint64(common[i, row, k]) * numba.uint64(weights[j, field, row, k])
                        whole[k] = reduced(covered, prime, reciprocal)
                    for k in range(answers.shape[4]):
                        total = numba.uint64(answers[i, j, field, row, k])
                        for n in range(fold):
                            total += numba.uint64(whole[k * fold + n])
                        out[i, j, field, row, k] = reduced(total, prime, reciprocal)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Opener:
    """The secrets of several queries for the same columns, side by side.

    Attributes:
        parameters: ring and primes.
        secrets: t of each query, uint32 [queries, primes, N].
        weights: w of each query and field, uint32 [queries, fields, primes, N].
    """

    parameters: ParameterSet
    secrets: Residues
    weights: Residues

    @classmethod
    def of(cls, queries: Sequence[Query]) -> Opener:
        """Returns the opener of some queries, at least one."""
        secrets, weights = (
            np.stack([getattr(one, part) for one in queries]) for part in ("secret", "weights")
        )
        return cls(queries[0].keys.parameters, secrets, weights)

    def part(self, start: int, stop: int) -> Opener:
        """Returns the opener of the queries from `start` up to `stop`."""
        return Opener(self.parameters, self.secrets[start:stop], self.weights[start:stop])

    def uncovered(self, answers: Residues, held: Residues, common: Residues) -> Residues:
        """Takes away what covers answers: uint32 [rows * queries * fields, primes, M], coefficients.

        Args:
            answers: P, folded: uint32 [rows, queries, fields, primes, M], below their primes.
            held: H of each row and field, uint32 [rows, fields, primes, N].
            common: a of each row, uint32 [rows, primes, N].
        """
        rows, queries, *polynomials = answers.shape
        shape = (rows, *held.shape[1:]), (rows, *held.shape[2:]), (queries, *held.shape[1:])
        if (held.shape, common.shape, self.weights.shape) != shape or polynomials[:2] != [*held.shape[1:3]]:
            raise ValueError(
                f"answers {answers.shape} for {held.shape}, {common.shape}, {self.weights.shape}"
            )
        out = np.empty(answers.shape, np.uint32)
        primes = np.array(self.parameters.primes, np.uint64)
        _uncover(answers, held, common, self.secrets, self.weights, primes, out)
        flat = out.reshape(-1, *answers.shape[3:])
        ntt.inverse(flat, self.parameters)
        return flat

    def open(self, answers: Residues, held: Residues, common: Residues, scale: float, grid: float) -> Floats:
        """Opens answers: [rows, queries, fields, M], coefficients at a scale, rounded to a grid."""
        found = rounded(self.uncovered(answers, held, common), self.parameters, scale, grid)
        return found.reshape(*answers.shape[:3], -1)


def open_answer(answer: Residues, held: Residues, common: Residues, query: Query) -> Integers:
    """Opens the answer of one segment to one query: int64 [fields, M], the wanted coefficients.

    Args:
        answer: P of each field, folded: uint32 [fields, primes, M], below their primes.
        held: H of each field, uint32 [fields, primes, N].
        common: a, uint32 [primes, N].
    """
    found = Opener.of([query]).uncovered(answer[None, None], held[None], common[None])
    return integers(found, query.keys.parameters)


def held(tiles: Residues, keys: ColumnKeys, fields: Spans) -> Residues:
    """Returns H of a batch: the sum over each field's columns of b_j u_j, uint32 [fields, primes, N]."""
    return products(tiles, keys.masks, keys.parameters, fields)
