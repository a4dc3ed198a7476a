"""The layout of vectors in the coefficients of polynomials: columns with a stride.

A segment holds up to N/b vectors.  Column j is one polynomial; vector i puts its dimensions
j*b .. j*b+b-1 into the coefficients i*b .. i*b+b-1.  The query's matching b values go in reversed
(q_r at X^-r), so that the inner product of vector i lands in coefficient i*b of

    sum over j of  G_j(X) * Q_j(X)   modulo X^N + 1

and all other coefficients are unused.  With b = 1 a query is d constants and a segment
holds N vectors; with b >= d it is one ciphertext and a segment holds N/b.  The work of scoring a
vector is the same for every stride; the stride trades query size against result size.

A row may have several fields, each of which begins in a column of its own and is scored separately, for
example one for each colour channel.  The sum is then over the columns of one field, and a query has one
result per field.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.packing.segments import Region
from blindsight.parameters import MAX_FIELD_VALUES, MAX_FIELDS

Floats = npt.NDArray[np.float64]
# Floats, or integers that were scaled.
Values = TypeVar("Values", bound=npt.NDArray[Any])
# Values of each field of a row; an ordinary vector is one field.
Fields = tuple[int, ...]

# The smallest answer, in coefficients: the transform has no smaller size.
MIN_ANSWER = 16

# Measured costs of a query in milliseconds of one core: encryption, transfer and check of one of its columns;
# transfer, opening and ranking of the answer of one segment.
QUERY_COLUMN_MS = 0.2
SEGMENT_ANSWER_MS = 0.25

# The keyholder keeps a polynomial for each field of a segment, and one more.  For each vector that is at most
# this many bytes, or this part of what the vector takes in storage, or this for all vectors together.
KEPT_BYTES = 100
KEPT_PART = 1 / 64
KEPT_IN_ALL_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Layout:
    """The geometry of one kind of segment.

    Attributes:
        fields: number of values of each field of an encrypted row.
        stride: b, consecutive coefficients of a vector in one column; a power of two.
        ring_degree: N.

    Raises:
        InvalidArgument: if they do not fit together.
    """

    fields: Fields
    stride: int
    ring_degree: int

    def __post_init__(self) -> None:
        check_fields(self.fields)
        # A power of two divides N, so no vector extends past the end of the polynomial.
        if self.stride & (self.stride - 1) or not 1 <= self.stride <= self.ring_degree:
            raise InvalidArgument(f"stride {self.stride}, want a power of two up to {self.ring_degree}")

    @property
    def dimension(self) -> int:
        """The number of values of an encrypted row."""
        return sum(self.fields)

    @property
    def field_columns(self) -> tuple[tuple[int, int], ...]:
        """The first column of each field, and the one after its last."""
        counts = (-(-field // self.stride) for field in self.fields)
        return tuple(pairwise(accumulate(counts, initial=0)))

    @property
    def columns(self) -> int:
        """The number of ciphertexts of a segment, and of a query."""
        return self.field_columns[-1][1]

    @property
    def capacity(self) -> int:
        """The number of vectors that a segment holds."""
        return self.ring_degree // self.stride

    @property
    def answer_size(self) -> int:
        """The number of coefficients of an answer: every `fold`-th of a product."""
        return max(self.capacity, MIN_ANSWER)

    @property
    def fold(self) -> int:
        """The number of neighbouring points of a product that are added up, at most the stride."""
        return self.ring_degree // self.answer_size

    def align(self, rows: Values) -> Values:
        """Aligns every field to a column of its own: [..., dimension] -> [..., columns * stride]."""
        aligned: Values = np.zeros((*rows.shape[:-1], self.columns * self.stride), rows.dtype)  # type: ignore[assignment]
        for start, values, width in self._places():
            aligned[..., start : start + width] = rows[..., values : values + width]
        return aligned

    def pack(self, rows: Floats, first_slot: int = 0) -> Floats:
        """Puts vectors into the coefficients of columns, zeros elsewhere.

        Args:
            rows: [count, dimension].
            first_slot: slot of the first row in the segment.

        Returns:
            [columns, N].

        Raises:
            InvalidArgument: if the rows do not fit.
        """
        count = rows.shape[0]
        if first_slot < 0 or first_slot + count > self.capacity:
            raise InvalidArgument(f"slots {first_slot} to {first_slot + count}, want at most {self.capacity}")
        slots = np.zeros((self.capacity, self.columns * self.stride))
        slots[first_slot : first_slot + count] = self.align(rows)
        by_column = slots.reshape(self.capacity, self.columns, self.stride).transpose(1, 0, 2)
        return by_column.reshape(self.columns, self.ring_degree)

    def unpack(self, coefficients: Floats) -> Floats:
        """Inverts `pack` for a whole segment: [columns, N] -> [capacity, dimension]."""
        by_column = coefficients.reshape(self.columns, self.capacity, self.stride)
        aligned = by_column.transpose(1, 0, 2).reshape(self.capacity, self.columns * self.stride)
        return np.concatenate(
            [aligned[:, start : start + width] for start, _, width in self._places()], axis=1
        )

    def pack_query(self, form: Values, chosen: slice = slice(None)) -> Values:
        """Puts a linear form into the coefficients of query polynomials.

        Args:
            form: [dimension].
            chosen: the columns that are wanted.

        Returns:
            [columns, N]; q_r is the coefficient of X^-r, which is -X^(N-r).
        """
        parts = self.align(form).reshape(self.columns, self.stride)[chosen]
        # X^N is -1.  The row's value at X^(i b + r) times the form's at X^-r lands in X^(i b) for every r:
        # their sum is the inner product, and products of different r land in other coefficients.
        packed: Values = np.zeros((len(parts), self.ring_degree), parts.dtype)  # type: ignore[assignment]
        packed[:, 0] = parts[:, 0]
        packed[:, self.ring_degree - self.stride + 1 :] = -parts[:, :0:-1]
        return packed

    def _places(self) -> list[tuple[int, int, int]]:
        """Returns for each field its start when aligned, its start in a row, and its number of values."""
        starts = (column * self.stride for column, _ in self.field_columns)
        values = accumulate(self.fields, initial=0)
        return list(zip(starts, values, self.fields, strict=False))

    def scores(self, coefficients: Floats) -> Floats:
        """Extracts inner products, [..., capacity], from all coefficients or from every `fold`-th."""
        return coefficients[..., :: coefficients.shape[-1] // self.capacity]


@dataclass(frozen=True, slots=True)
class CollectionLayout:
    """The layouts of a collection's two regions; public.

    Attributes:
        main, tail: the layout of each region.
        regions: the regions that a query is for.
    """

    main: Layout
    tail: Layout
    regions: tuple[Region, ...] = tuple(Region)

    def of(self, region: Region) -> Layout:
        """Returns the layout of one region."""
        return self.main if region is Region.MAIN else self.tail

    def within(self, regions: Collection[Region]) -> CollectionLayout:
        """Returns the same layouts for queries of these regions only, in the order of `Region`."""
        return replace(self, regions=tuple(region for region in Region if region in regions))

    @property
    def query_ciphertexts(self) -> int:
        """The number of ciphertexts of one query: the columns of its regions, one region after the other."""
        return sum(self.of(region).columns for region in self.regions)


def check_fields(fields: Sequence[int]) -> None:
    """Checks the number and the sizes of a row's fields.

    Raises:
        InvalidArgument: if they are out of bounds; the message names the bounds.
    """
    if not 1 <= len(fields) <= MAX_FIELDS:
        raise InvalidArgument(f"rows of {len(fields)} fields, want 1 to {MAX_FIELDS}")
    for field in fields:
        if not 1 <= field <= MAX_FIELD_VALUES:
            raise InvalidArgument(f"dimension {field}, want 1 to {MAX_FIELD_VALUES}")


def widest_stride(fields: Fields, most_stride: int) -> int:
    """Returns the stride that puts the longest field of a vector into as few columns as possible."""
    return min(1 << (max(fields) - 1).bit_length(), most_stride)


def plan_stride(
    fields: Fields,
    ring_degree: int,
    expected_size: int,
    most_stride: int | None = None,
    residue_bytes: int = 0,
) -> int:
    """Returns the stride with the cheapest query for an expected number of vectors.

    The optimum is near sqrt(d * N * t_column / (M * t_answer)); powers of two are few, so the costs
    are simply compared.

    Args:
        most_stride: the parameter set's widest stride; None for N.
        residue_bytes: size of a residue modulo all primes; 0 if the keyholder keeps nothing of a segment.
    """

    def cost(stride: int) -> float:
        layout = Layout(fields, stride, ring_degree)
        answers = math.ceil(size / layout.capacity) * len(fields)
        return layout.columns * QUERY_COLUMN_MS + answers * SEGMENT_ANSWER_MS

    def kept(stride: int) -> int:
        return (len(fields) + 1) * stride * residue_bytes

    size = max(expected_size, 1)
    allowed = max(KEPT_BYTES, sum(fields) * residue_bytes * KEPT_PART, KEPT_IN_ALL_BYTES / size)
    widest = widest_stride(fields, most_stride or ring_degree)
    strides = (1 << power for power in range(widest.bit_length()))
    return min((stride for stride in strides if stride == 1 or kept(stride) <= allowed), key=cost)


def collection_layout(
    fields: Fields, ring_degree: int, stride: int, most_stride: int | None = None
) -> CollectionLayout:
    """Returns the layouts of a collection whose rows have these fields.

    Args:
        most_stride: the parameter set's widest stride; None for N.

    Raises:
        InvalidArgument: if fields or stride do not fit the ring.
    """
    # The widest stride needs valid fields, so they are checked first, by building MAIN.
    main = Layout(fields, stride, ring_degree)
    most = most_stride or ring_degree
    if stride > most:
        raise InvalidArgument(f"stride {stride}, want at most {most}")
    return CollectionLayout(main, Layout(fields, widest_stride(fields, most), ring_degree))
