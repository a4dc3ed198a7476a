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
from functools import cached_property
from typing import Any

import numba
import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.packing.columns import Floats
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet
from blindsight.ring import ntt
from blindsight.ring.columns import Spans, addresses, products
from blindsight.ring.jit import compiled, reduced
from blindsight.ring.lanes import LANES, Address, Factors, Lanes, Word, vector_code
from blindsight.trusted.columns.gallery import cover
from blindsight.trusted.columns.keys import ColumnKeys
from blindsight.trusted.columns.numbers import compose, composition, to_grid, transformed
from blindsight.trusted.schemes.sampling import KEY_BYTES, Words, ternary


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Query:
    """An encrypted query, and the secrets that open its answers.

    Attributes:
        keys: of its columns.
        tiles: v_j, for the evaluator.
        secret: t in NTT form, [primes, N].
        weights: w of each field, [fields, primes, N].
    """

    keys: ColumnKeys
    tiles: Residues
    secret: Factors
    weights: Factors


class Draft:
    """A query in the making: its columns may be encrypted in several threads.

    Args:
        keys: of its columns.
    """

    def __init__(self, keys: ColumnKeys) -> None:
        parameters = keys.parameters
        self._keys = keys
        secret = transformed(ternary(os.urandom(KEY_BYTES), (1, parameters.ring_degree)), parameters)[0]
        self._secret = Factors.of(secret, parameters.primes)
        self._tiles = np.empty_like(keys.masks)

    def encrypt(self, messages: Integers, first_column: int = 0) -> None:
        """Encrypts some columns, int64 [count, N], from `first_column` on."""
        cover(messages, self._secret, self._keys.masks, self._keys.parameters, self._tiles, first_column)

    def finish(self, fields: Spans) -> Query:
        """Returns the query, of which all columns are encrypted."""
        keys = self._keys
        weights = products(keys.secrets, self._tiles, keys.parameters, fields)
        _multiply_add(keys.masked(fields), self._secret.residues, _primes(keys), weights)
        return Query(keys, self._tiles, self._secret, Factors.of(weights, keys.parameters.primes))


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


@vector_code
def _cover(
    v: Lanes,
    held: Address,
    secret: Address,
    secret_companion: Address,
    common: Address,
    weight: Address,
    weight_companion: Address,
    prime: Word,
    out: Address,
) -> None:
    """Computes held * secret + common * weight."""
    prime = v.filled(prime)
    double = v.add(prime, prime)
    first = v.times(v.load(held), v.load(secret), v.load(secret_companion), prime)
    second = v.times(v.load(common), v.load(weight), v.load(weight_companion), prime)
    v.store(v.below(v.below(v.add(first, second), double), prime), out)


@compiled
def _add_folded(answer: Residues, whole: Residues, prime: Any, out: Residues) -> None:
    """Computes the sum of an answer [M] and of neighbours [N] that are folded as it is."""
    fold = whole.size // answer.size
    if fold == 1:
        for k in range(answer.size):
            total = numba.uint32(answer[k] + whole[k])
            out[k] = min(total, numba.uint32(total - prime))
        return
    reciprocal = 1.0 / numba.float64(prime)
    for k in range(answer.size):
        total_ = numba.uint64(answer[k])
        for n in range(fold):
            total_ += numba.uint64(whole[k * fold + n])
        out[k] = reduced(total_, numba.uint64(prime), reciprocal)


@compiled
def _open(
    answer: Residues,
    held: Any,
    common: Any,
    secret: Residues,
    secret_companions: Residues,
    weight: Residues,
    weight_companions: Residues,
    transform: Any,
    composition_: Any,
    out: Integers,
) -> None:
    """Opens an answer [primes, M] of one field: takes away what covers it, and composes the coefficients.

    Args:
        held, common: addresses of H and a, uint32 [primes, N].
        secret, weight, and companions: t and w, uint32 [primes, N].
        transform, composition_: see `ntt.inverse_tables` and `numbers.composition`.
    """
    primes = transform[0]
    size = secret.shape[1]
    whole, uncovered = np.empty(size, np.uint32), np.empty(answer.shape, np.uint32)
    for row in range(primes.size):
        for k in range(0, size, LANES):
            point = numba.uintp(4 * (row * size + k))
            _cover(
                held + point,
                numba.uintp(secret.ctypes.data) + point,
                numba.uintp(secret_companions.ctypes.data) + point,
                common + point,
                numba.uintp(weight.ctypes.data) + point,
                numba.uintp(weight_companions.ctypes.data) + point,
                primes[row],
                numba.uintp(whole.ctypes.data) + numba.uintp(4 * k),
            )
        _add_folded(answer[row], whole, primes[row], uncovered[row])
    ntt.inverse_rows(uncovered, *transform)
    compose(uncovered, out, *composition_)


@compiled
def _open_all(
    answers: Residues,
    held: Words,
    common: Words,
    secrets: Residues,
    secret_companions: Residues,
    weights: Residues,
    weight_companions: Residues,
    transform: Any,
    composition_: Any,
    factor: float,
    grid: float,
    out: Floats,
) -> None:
    """Opens answers [rows, queries, fields, primes, M] and rounds them; see `Opener.open`."""
    step = numba.uintp(4 * secrets.shape[1] * secrets.shape[2])
    found = np.empty(answers.shape[4], np.int64)
    for row in range(answers.shape[0]):
        for query in range(answers.shape[1]):
            for field in range(answers.shape[2]):
                _open(
                    answers[row, query, field],
                    numba.uintp(held[row]) + numba.uintp(field) * step,
                    numba.uintp(common[row]),
                    secrets[query],
                    secret_companions[query],
                    weights[query, field],
                    weight_companions[query, field],
                    transform,
                    composition_,
                    found,
                )
                to_grid(found, factor, grid, out[row, query, field])


@dataclass(frozen=True, eq=False, repr=False)
class Cover:
    """What covers the answers of some rows, together with a query's secrets.

    Attributes:
        held: H of each field, uint32 [fields, primes, N], contiguous.
        common: a, uint32 [primes, N], contiguous.
    """

    held: Residues
    common: Residues

    def __post_init__(self) -> None:
        """Refuses arrays that compiled code would read beyond; raises ValueError."""
        _require_shape(self.common, self.common.shape)
        _require_shape(self.held, (len(self.held), *self.common.shape))

    @cached_property
    def addresses(self) -> tuple[int, int]:
        """Where the arrays are in memory."""
        return self.held.ctypes.data, self.common.ctypes.data


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Opener:
    """The secrets of several queries for the same columns, side by side.

    Attributes:
        parameters: ring and primes.
        secrets: t of each query, [queries, primes, N].
        weights: w of each query and field, [queries, fields, primes, N].
    """

    parameters: ParameterSet
    secrets: Factors
    weights: Factors

    @classmethod
    def of(cls, queries: Sequence[Query]) -> Opener:
        """Returns the opener of some queries, at least one."""
        return cls(
            queries[0].keys.parameters,
            Factors.stack([query.secret for query in queries]),
            Factors.stack([query.weights for query in queries]),
        )

    def part(self, start: int, stop: int) -> Opener:
        """Returns the opener of the queries from `start` up to `stop`."""
        return Opener(self.parameters, self.secrets[start:stop], self.weights[start:stop])

    def open(
        self,
        answers: Residues,
        covers: Sequence[Cover],
        scale: float,
        grid: float,
    ) -> Floats:
        """Opens answers: [rows, queries, fields, M], coefficients at a scale, rounded to a grid.

        Args:
            answers: P, folded: uint32 [rows, queries, fields, primes, M], below their primes.
            covers: of each row.
        """
        rows, queries, *polynomial, size = answers.shape
        shape = *polynomial, self.parameters.ring_degree
        _require_shape(self.weights.residues, (queries, *shape))
        if [cover.held.shape for cover in covers] != [shape] * rows:
            raise ValueError(f"covers {[cover.held.shape for cover in covers]}, want {rows} of {shape}")
        out = np.empty((rows, queries, polynomial[0], size))
        places = np.array([cover.addresses for cover in covers], np.uint64)
        _open_all(
            answers,
            places[:, 0].copy(),
            places[:, 1].copy(),
            self.secrets.residues,
            self.secrets.companions,
            self.weights.residues,
            self.weights.companions,
            ntt.inverse_tables(self.parameters, size),
            composition(self.parameters),
            1 / (scale * grid),
            grid,
            out,
        )
        return out


def _require_shape(array: Residues, shape: tuple[int, ...]) -> None:
    """Refuses an array that compiled code would read beyond; raises ValueError."""
    if array.shape != shape or array.dtype != np.uint32 or not array.flags.c_contiguous:
        raise ValueError(f"residues {array.dtype} {array.shape}, want contiguous uint32 {shape}")


def open_answer(answer: Residues, cover: Cover, query: Query) -> Integers:
    """Opens the answer of one segment to one query: int64 [fields, M], the wanted coefficients.

    Args:
        answer: P of each field, folded: uint32 [fields, primes, M], below their primes.
        cover: of the segment.
    """
    parameters, (fields, _, size) = query.keys.parameters, answer.shape
    _require_shape(query.weights.residues, cover.held.shape)
    _require_shape(cover.held, (fields, *cover.common.shape))
    out = np.empty((fields, size), np.int64)
    for field in range(fields):
        held_, common = addresses([cover.held[field], cover.common])
        _open(
            answer[field],
            held_,
            common,
            query.secret.residues,
            query.secret.companions,
            query.weights.residues[field],
            query.weights.companions[field],
            ntt.inverse_tables(parameters, size),
            composition(parameters),
            out[field],
        )
    return out


def held(tiles: Residues, keys: ColumnKeys, fields: Spans) -> Residues:
    """Returns H of a batch: the sum over each field's columns of b_j u_j, uint32 [fields, primes, N]."""
    return products(tiles, keys.masks, keys.parameters, fields)
