"""The check of an answer: a random combination of segments, known only here.

For a secret random number gamma_i of each segment i, modulo each prime, the keyholder keeps

    C_j = sum over i of gamma_i b_ij

and compares, for every query and modulo each prime, at every point of the folded answers,

    sum over i of gamma_i P_i  ==  fold( sum over j of C_j v_j ).

An answer that differs anywhere passes with probability 1/p for each prime modulo which it differs: 2^-27, and
2^-54 for a change modulo two (Freivalds, 1977).  It does not matter where the change came from: arithmetic,
cache, storage, another segment, a segment left out.  gamma never leaves the keyholder.
"""

from __future__ import annotations

import hmac
import os
import threading

import numba
import numpy as np

from blindsight.ciphertext.residues import Residues
from blindsight.packing.segments import Region, SegmentId
from blindsight.parameters import ParameterSet
from blindsight.ring.columns import Spans, check_shapes, products
from blindsight.ring.jit import compiled
from blindsight.ring.lanes import LANES, Address, Factors, Lanes, Word, vector_code
from blindsight.ring.tiles import Geometry
from blindsight.trusted.columns.queries import Query
from blindsight.trusted.schemes.sampling import KEY_BYTES, Words
from blindsight.trusted.secrets import Secret

# Bytes of a segment's digest for each prime; the bias of 16 bytes modulo a 27-bit prime is 2^-101.
_BYTES = 16


def factors(key: Secret, segment: SegmentId, parameters: ParameterSet) -> Words:
    """Returns gamma of a segment: uint64 [primes]."""
    found = []
    for prime in parameters.primes:
        name = b"%d/%d/%d" % (segment.region, segment.index, prime)
        digest = hmac.digest(key.reveal_secret(), name, "sha256")[:_BYTES]
        found.append(1 + int.from_bytes(digest, "little") % (prime - 1))
    return np.array(found, np.uint64)


def random_factors(parameters: ParameterSet) -> Words:
    """Returns fresh random factors, for rows that are not kept: uint64 [primes]."""
    return factors(Secret(os.urandom(KEY_BYTES)), SegmentId(Region.MAIN, 0), parameters)


@vector_code
def _add(v: Lanes, total: Address, values: Address, factor: Word, companion: Word, prime: Word) -> None:
    """Adds factor * values to `total`, in place."""
    prime = v.filled(prime)
    product = v.below(v.times(v.load(values), v.filled(factor), v.filled(companion), prime), prime)
    v.store(v.below(v.add(v.load(total), product), prime), total)


@compiled
def _add_multiples(
    total: Residues, values: Residues, factors_: Residues, companions: Residues, primes: Residues
) -> None:
    """Adds factor * values of each of some arrays [count, rows, primes, size] to `total`, in place.

    Args:
        total: [rows, primes, size], size a multiple of `LANES`.
        factors_, companions: [count, primes, 1].
    """
    rows, count, size = total.shape
    step = numba.uintp(4 * size)
    for index in range(values.shape[0]):
        for row in range(rows * count):
            factor = factors_[index, row % count, 0], companions[index, row % count, 0]
            added_to = numba.uintp(total.ctypes.data) + step * numba.uintp(row)
            added = numba.uintp(values.ctypes.data) + step * numba.uintp(index * rows * count + row)
            for k in range(0, size, LANES):
                skipped = numba.uintp(4 * k)
                _add(added_to + skipped, added + skipped, *factor, primes[row % count])


def add_to(total: Residues, values: Residues, gammas: Words, parameters: ParameterSet) -> None:
    """Adds gamma * values of each of some arrays to their total, in place.

    Args:
        total: uint32 [rows, primes, size], size a multiple of `LANES`.
        values: [count, rows, primes, size], each below its prime.
        gammas: uint64 [count, primes].
    """
    factors_ = Factors.of(gammas[..., None].astype(np.uint32), parameters.primes)
    primes = np.array(parameters.primes, np.uint32)
    # In the order of memory, whatever the strides of the answers to one query among several are.
    _add_multiples(total, np.ascontiguousarray(values), factors_.residues, factors_.companions, primes)


def add_batch(sums: Residues, tiles: Residues, gamma: Words, parameters: ParameterSet) -> None:
    """Adds gamma * b_j to check sums C_j, tiles of the same shape, in place."""
    check_shapes([sums, tiles], parameters, sums.shape[1], ((0, sums.shape[1]),), 1)
    by_prime = 1, gamma.size, -1
    add_to(sums.reshape(by_prime), tiles.reshape(1, *by_prime), gamma[None], parameters)


def no_sums(parameters: ParameterSet, columns: int) -> Residues:
    """Returns the check sums of no segments."""
    return np.zeros(Geometry(parameters, columns).shape, np.uint32)


class Check:
    """The check of all answers to one query in one region; several threads may add answers.

    Args:
        query: the query.
        fields, fold: of the answers.
    """

    def __init__(self, query: Query, fields: Spans, fold: int) -> None:
        self._query, self._fields, self._fold = query, tuple(fields), fold
        self._lock = threading.Lock()
        parameters = query.keys.parameters
        size = parameters.ring_degree // fold
        self._total = np.zeros((len(self._fields), len(parameters.primes), size), np.uint32)

    def add(self, answer: Residues, gamma: Words) -> None:
        """Adds the answer of one segment, uint32 [fields, primes, M]."""
        self.add_all(answer[None], gamma[None])

    def add_all(self, answers: Residues, gammas: Words) -> None:
        """Adds the answers of some segments, uint32 [segments, fields, primes, M].

        Args:
            gammas: the factors of each, uint64 [segments, primes].
        """
        if answers.shape[1:] != self._total.shape or gammas.shape != (len(answers), self._total.shape[1]):
            raise ValueError(f"answers {answers.shape} and factors {gammas.shape}, want {self._total.shape}")
        with self._lock:
            add_to(self._total, answers, gammas, self._query.keys.parameters)

    def passes(self, sums: Residues) -> bool:
        """Returns whether the answers added are those that the batches of these check sums give."""
        wanted = products(sums, self._query.tiles, self._query.keys.parameters, self._fields, self._fold)
        return bool((self._total == wanted).all())
