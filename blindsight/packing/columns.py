"""How vectors lie in the coefficients of polynomials: columns with a stride.

A segment holds up to N/b vectors.  Column j is one polynomial; vector i puts its dimensions
j*b .. j*b+b-1 into the coefficients i*b .. i*b+b-1.  The query's matching b values go in reversed
(q_r at X^-r), so that the inner product of vector i lands in coefficient i*b of

    sum over j of  G_j(X) * Q_j(X)   modulo X^N + 1

and every other coefficient is of no use to anyone.  With b = 1 a query is d constants and a segment
holds N vectors; with b >= d it is one ciphertext and a segment holds N/b.  The work of scoring a
vector is the same for every stride; the stride trades query size against result size.

A row may be cut into fields, each of which begins in a column of its own and is scored by itself: one
inner product for each colour channel, say.  The columns of one field are then added up, not those of
all, and a query has one result per field.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.packing.segments import Region
from blindsight.parameters import MAX_FIELD_VALUES, MAX_FIELDS

Floats = npt.NDArray[np.float64]
# Values of each field of a row; an ordinary vector is one field.
Fields = tuple[int, ...]

# Measured: what one query ciphertext and one result cost a query, in milliseconds of one core: encryption,
# expansion and transfer of the one; reduction, transfer, decryption and decoding of the other.
QUERY_CIPHERTEXT_MS = 1.1
RESULT_CIPHERTEXT_MS = 0.7


@dataclass(frozen=True, slots=True)
class Layout:
    """Geometry of one kind of segment.

    Attributes:
        fields: values of each field of an encrypted row.
        stride: b, consecutive coefficients of a vector in one column; a power of two.
        ring_degree: N.

    Raises:
        InvalidArgument: when they do not fit together.
    """

    fields: Fields
    stride: int
    ring_degree: int

    def __post_init__(self) -> None:
        check_fields(self.fields)
        # A power of two divides N: no vector reaches over the end of the polynomial.
        if self.stride & (self.stride - 1) or not 1 <= self.stride <= self.ring_degree:
            raise InvalidArgument(f"stride {self.stride}, want a power of two up to {self.ring_degree}")

    @property
    def dimension(self) -> int:
        """Values of an encrypted row."""
        return sum(self.fields)

    @property
    def field_columns(self) -> tuple[tuple[int, int], ...]:
        """First column and the one after the last, of each field."""
        counts = (-(-field // self.stride) for field in self.fields)
        return tuple(pairwise(accumulate(counts, initial=0)))

    @property
    def columns(self) -> int:
        """Ciphertexts of a segment, and of a query."""
        return self.field_columns[-1][1]

    @property
    def capacity(self) -> int:
        """Vectors that a segment holds."""
        return self.ring_degree // self.stride

    def align(self, rows: Floats) -> Floats:
        """Lets every field begin in a column of its own: [..., dimension] -> [..., columns * stride]."""
        aligned = np.zeros((*rows.shape[:-1], self.columns * self.stride))
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
            InvalidArgument: when the rows do not fit.
        """
        count = rows.shape[0]
        if first_slot < 0 or first_slot + count > self.capacity:
            raise InvalidArgument(f"slots {first_slot} to {first_slot + count}, want at most {self.capacity}")
        slots = np.zeros((self.capacity, self.columns * self.stride))
        slots[first_slot : first_slot + count] = self.align(rows)
        by_column = slots.reshape(self.capacity, self.columns, self.stride).transpose(1, 0, 2)
        return by_column.reshape(self.columns, self.ring_degree)

    def unpack(self, coefficients: Floats) -> Floats:
        """The inverse of `pack` for a whole segment: [columns, N] -> [capacity, dimension]."""
        by_column = coefficients.reshape(self.columns, self.capacity, self.stride)
        aligned = by_column.transpose(1, 0, 2).reshape(self.capacity, self.columns * self.stride)
        return np.concatenate(
            [aligned[:, start : start + width] for start, _, width in self._places()], axis=1
        )

    def pack_query(self, form: Floats) -> Floats:
        """Puts a linear form into the coefficients of query polynomials.

        Args:
            form: [dimension].

        Returns:
            [columns, N]; q_r stands at X^-r, which is -X^(N-r).
        """
        parts = self.align(form).reshape(self.columns, self.stride)
        # X^N is -1.  The row's value at X^(i b + r) times the form's at X^-r lands in X^(i b) for every r:
        # their sum is the inner product, and what belongs to other r lands beside it.
        packed = np.zeros((self.columns, self.ring_degree))
        packed[:, 0] = parts[:, 0]
        packed[:, self.ring_degree - self.stride + 1 :] = -parts[:, :0:-1]
        return packed

    def _places(self) -> list[tuple[int, int, int]]:
        """Of each field: where it begins when aligned, where in a row, and its values."""
        starts = (column * self.stride for column, _ in self.field_columns)
        values = accumulate(self.fields, initial=0)
        return list(zip(starts, values, self.fields, strict=False))

    def scores(self, coefficients: Floats) -> Floats:
        """Picks the inner products out of decrypted results: [..., N] -> [..., capacity]."""
        return coefficients[..., :: self.stride]


@dataclass(frozen=True, slots=True)
class CollectionLayout:
    """The layouts of a collection's two regions; public.

    Attributes:
        main, tail: of each region.
        regions: those that a query is for.
    """

    main: Layout
    tail: Layout
    regions: tuple[Region, ...] = tuple(Region)

    def of(self, region: Region) -> Layout:
        """The layout of one region."""
        return self.main if region is Region.MAIN else self.tail

    def within(self, regions: Collection[Region]) -> CollectionLayout:
        """The same for queries that are for these regions alone; their order stays that of `Region`."""
        return replace(self, regions=tuple(region for region in Region if region in regions))

    @property
    def query_ciphertexts(self) -> int:
        """Ciphertexts of one query: the columns of its regions, one region after the other."""
        return sum(self.of(region).columns for region in self.regions)


def check_fields(fields: Sequence[int]) -> None:
    """Refuses rows that cannot be.

    Raises:
        InvalidArgument: with the bounds.
    """
    if not 1 <= len(fields) <= MAX_FIELDS:
        raise InvalidArgument(f"rows of {len(fields)} fields, want 1 to {MAX_FIELDS}")
    for field in fields:
        if not 1 <= field <= MAX_FIELD_VALUES:
            raise InvalidArgument(f"dimension {field}, want 1 to {MAX_FIELD_VALUES}")


def widest_stride(fields: Fields, most_stride: int) -> int:
    """The stride that puts the longest field of a vector into as few columns as can be."""
    return min(1 << (max(fields) - 1).bit_length(), most_stride)


def plan_stride(fields: Fields, ring_degree: int, expected_size: int, most_stride: int | None = None) -> int:
    """The stride with the cheapest query at an expected number of vectors.

    The optimum is near sqrt(d * N * t_query / (M * t_result)); powers of two are few, so the costs
    are simply compared.

    Args:
        most_stride: of the parameter set; None for N.
    """

    def cost(stride: int) -> float:
        layout = Layout(fields, stride, ring_degree)
        results = math.ceil(max(expected_size, 1) / layout.capacity) * len(fields)
        return layout.columns * QUERY_CIPHERTEXT_MS + results * RESULT_CIPHERTEXT_MS

    widest = widest_stride(fields, most_stride or ring_degree)
    return min((1 << power for power in range(widest.bit_length())), key=cost)


def collection_layout(
    fields: Fields, ring_degree: int, stride: int, most_stride: int | None = None
) -> CollectionLayout:
    """Layouts of a collection whose rows have these fields.

    Args:
        most_stride: of the parameter set; None for N.

    Raises:
        InvalidArgument: when fields or stride do not fit the ring.
    """
    # The widest stride needs valid fields, so they are checked first, by building MAIN.
    main = Layout(fields, stride, ring_degree)
    most = most_stride or ring_degree
    if stride > most:
        raise InvalidArgument(f"stride {stride}, want at most {most}")
    return CollectionLayout(main, Layout(fields, widest_stride(fields, most), ring_degree))
