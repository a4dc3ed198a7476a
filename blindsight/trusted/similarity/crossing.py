"""Inner products of all vectors of one set with all of another: several of each in one polynomial.

A polynomial of rows holds g vectors, vector i from coefficient i*b on, as in `blindsight.packing.columns`;
one of queries holds k vectors in reverse, query j from X^(j*g*b) on.  In the product the inner product of
vector i and query j lands in coefficient (j*g + i) * b: with g * k = N / b every b-th coefficient is one,
and a result has as many scores as there are vectors in a whole segment, from far fewer query ciphertexts.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from blindsight.packing.columns import Fields, Floats, Layout

# Costs in milliseconds of one core: packing, encryption and expansion of a ciphertext that is sent;
# multiplication, transfer, decryption and decoding of a result.  A polynomial full of values takes longer to
# encode than the constants of a search.
SENT_CIPHERTEXT_MS = 1.8
RESULT_CIPHERTEXT_MS = 1.2


@dataclass(frozen=True, slots=True)
class CrossLayout:
    """The arrangement of two sets of vectors in polynomials.

    Attributes:
        fields: number of values of each field of a vector.
        stride: b, consecutive coefficients of a vector in one column; a power of two.
        rows, queries: vectors of either set in one group; times the stride they fill a polynomial.
    """

    fields: Fields
    stride: int
    rows: int
    queries: int

    @property
    def columns(self) -> int:
        """The number of ciphertexts of a group."""
        return self.layout.columns

    @property
    def ring_degree(self) -> int:
        """The ring degree N."""
        return self.stride * self.rows * self.queries

    @property
    def layout(self) -> Layout:
        """The layout of a group of rows as a segment."""
        return Layout(self.fields, self.stride, self.ring_degree)

    def pack_rows(self, vectors: Floats) -> Floats:
        """Packs a group of rows [count, dimension], at most `rows`, into polynomials [columns, N]."""
        return self.layout.pack(vectors)

    def pack_queries(self, vectors: Floats) -> Floats:
        """Packs a group of queries [count, dimension], at most `queries`, into polynomials [columns, N]."""
        packed = np.zeros((self.columns, self.ring_degree))
        for number, vector in enumerate(vectors):
            packed += _shifted(self.layout.pack_query(vector), number * self.rows * self.stride)
        return packed

    def scores(self, coefficients: Floats) -> Floats:
        """Reads the inner products of opened answers: [..., size] -> [..., queries, rows]."""
        return self.layout.scores(coefficients).reshape(*coefficients.shape[:-1], self.queries, self.rows)


def plan(rows: int, queries: int, dimension: int, ring_degree: int) -> CrossLayout:
    """Returns the cheapest layout for sets of `rows` and `queries` vectors, at least one each."""
    return min(_layouts(dimension, ring_degree), key=lambda layout: _milliseconds(layout, rows, queries))


def _layouts(dimension: int, ring_degree: int) -> Iterator[CrossLayout]:
    stride = 1
    while stride <= ring_degree:
        rows = 1
        while stride * rows <= ring_degree:
            yield CrossLayout((dimension,), stride, rows, ring_degree // stride // rows)
            rows *= 2
        if stride >= dimension:
            return
        stride *= 2


def _milliseconds(layout: CrossLayout, rows: int, queries: int) -> float:
    """Returns the cost of a layout in milliseconds of one core."""
    row_groups, query_groups = -(-rows // layout.rows), -(-queries // layout.queries)
    sent = (row_groups + query_groups) * layout.columns
    return sent * SENT_CIPHERTEXT_MS + row_groups * query_groups * RESULT_CIPHERTEXT_MS


def _shifted(polynomials: Floats, places: int) -> Floats:
    """Multiplies polynomials [count, N] by X^places; X^N is -1."""
    moved = np.roll(polynomials, places, axis=1)
    moved[:, :places] *= -1
    return moved
