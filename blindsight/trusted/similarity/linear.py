"""Metrics as linear forms: the keyholder chooses rows and queries, the evaluator computes inner products.

    products = <row(vector), form(query)>, one for each field of a row
    score = computed from the products by the query's `Reading`

Bounded norms on both sides keep every product below the modulus, and give all metrics the same noise bound.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np

from blindsight.errors import InvalidVector
from blindsight.packing.columns import Fields, Floats
from blindsight.parameters import ParameterSet
from blindsight.ring.jit import compiled

# Rows of dot and Euclidean collections are divided by the collection's largest norm, so a row is at
# most as long as (1, 1): one value for the vector's norm, one for the squared norm's column.
MAX_ROW_NORM = math.sqrt(2.0)
# The first ingest of a dot or Euclidean collection sets its largest norm, with this factor for later vectors.
NORM_HEADROOM = 2.0
_SINGLE_PRECISION_SLACK = 1e-5


class Metric(StrEnum):
    """The measures of similarity or distance of two vectors."""

    COSINE = "cosine"
    EUCLIDEAN = "euclidean"
    DOT = "dot"
    SQUARED_COSINE = "squared-cosine"


class Reading(Protocol):
    """The interpretation of the products of one query; small, because it is sent to workers."""

    @property
    def higher_is_better(self) -> bool: ...

    @property
    def scale(self) -> float:
        """What a product of 1 is in scores: noise and rounding are in proportion to it."""

    def scores(self, products: Floats) -> Floats:
        """Computes scores from decrypted products: [count, fields] -> [count]."""

    def parts(self, products: Floats) -> Floats:
        """Computes the components of each score, for display: [count, fields] -> [count, parts]."""


@compiled
def _affine(
    products: Floats, multiplier: float, offset: float, least: float, most: float, out: Floats
) -> None:
    """Computes scores in one pass; numpy would make an array for each step."""
    for index in range(products.size):
        out[index] = min(max(products[index] * multiplier + offset, least), most)


@dataclass(frozen=True, slots=True)
class Affine:
    """A score that is a multiple of the one product, plus an offset.

    Attributes:
        least, most: bounds of the metric, which noise must not exceed.
    """

    higher_is_better: bool
    multiplier: float
    offset: float
    least: float = -math.inf
    most: float = math.inf

    @property
    def scale(self) -> float:
        return self.multiplier

    def scores(self, products: Floats) -> Floats:
        found = np.empty(len(products))
        _affine(products[:, 0], self.multiplier, self.offset, self.least, self.most, found)
        return found

    def parts(self, products: Floats) -> Floats:
        return np.zeros((len(products), 0))


@dataclass(frozen=True, slots=True)
class LinearForm:
    """A query, ready to be encrypted.

    Attributes:
        weights: [row dimension].
        reading: computes the score from the products.
    """

    weights: Floats
    reading: Reading


class Linear(Protocol):
    """A metric over vectors of one dimension."""

    @property
    def fields(self) -> Fields: ...

    @property
    def largest_row(self) -> float:
        """The largest norm of a row's field, for error bounds."""

    @property
    def amplification(self) -> float:
        """The largest factor by which a product's error grows in the score, for scores of unit scale."""

    @property
    def whole(self) -> bool:
        """Whether rows and forms are integers that no scheme needs to round."""

    def rows(self, vectors: Floats) -> Floats:
        """Returns rows to encrypt: [count, dimension] -> [count, row dimension]."""

    def vectors(self, rows: Floats) -> Floats:
        """Returns vectors of rows, as far as these tell: [count, row dimension] -> [count, dimension]."""

    def form(self, query: Floats) -> LinearForm:
        """Returns the linear form of a query [dimension]."""


class Cosine:
    """Inner product of unit vectors."""

    largest_row = 1.0
    amplification = 1.0
    whole = False

    def __init__(self, dimension: int, _max_norm: float) -> None:
        self.fields: Fields = (dimension,)

    def rows(self, vectors: Floats) -> Floats:
        return vectors / _nonzero_norms(vectors)[:, None]

    def vectors(self, rows: Floats) -> Floats:
        return rows

    def form(self, query: Floats) -> LinearForm:
        return LinearForm(self.rows(query[None])[0], Affine(True, 1.0, 0.0, least=-1.0, most=1.0))


class Dot:
    """Inner product; rows are divided by the collection's largest norm."""

    largest_row = MAX_ROW_NORM
    amplification = 1.0
    whole = False

    def __init__(self, dimension: int, max_norm: float) -> None:
        self.fields: Fields = (dimension,)
        self._max_norm = max_norm

    def rows(self, vectors: Floats) -> Floats:
        _check_norms(vectors, self._max_norm)
        return vectors / self._max_norm

    def vectors(self, rows: Floats) -> Floats:
        return rows * self._max_norm

    def form(self, query: Floats) -> LinearForm:
        norm = float(np.linalg.norm(query))
        weights = query / norm if norm else query
        return LinearForm(weights, Affine(True, norm * self._max_norm, 0.0))


class Euclidean:
    """Squared Euclidean distance |g|^2 - 2 g.q + |q|^2: one more column holds |g|^2."""

    largest_row = MAX_ROW_NORM
    amplification = 1.0
    whole = False

    def __init__(self, dimension: int, max_norm: float) -> None:
        self.fields: Fields = (dimension + 1,)
        self._max_norm = max_norm

    def rows(self, vectors: Floats) -> Floats:
        _check_norms(vectors, self._max_norm)
        scaled = vectors / self._max_norm
        return np.column_stack([scaled, np.square(scaled).sum(axis=1)])

    def vectors(self, rows: Floats) -> Floats:
        return rows[:, :-1] * self._max_norm

    def form(self, query: Floats) -> LinearForm:
        scaled = query / self._max_norm
        weights = np.append(-2.0 * scaled, 1.0)
        length = float(np.linalg.norm(weights))
        area = self._max_norm**2
        reading = Affine(False, length * area, float(scaled @ scaled) * area, least=0.0)
        return LinearForm(weights / length, reading)


@dataclass(frozen=True, slots=True)
class RefinedReading:
    """The combined products of two digits, interpreted by another reading."""

    coarse: Reading
    steps: int

    @property
    def higher_is_better(self) -> bool:
        return self.coarse.higher_is_better

    @property
    def scale(self) -> float:
        return self.coarse.scale

    def scores(self, products: Floats) -> Floats:
        return self.coarse.scores(self._joined(products))

    def parts(self, products: Floats) -> Floats:
        return self.coarse.parts(self._joined(products))

    def _joined(self, products: Floats) -> Floats:
        return products[:, :1] + products[:, 1:] / self.steps


class Refined:
    """A metric of one field whose values have two digits, for a scheme that rounds them.

    With r = r1 + r2 / steps and f = f1 + f2 / steps, where r1 and f1 are multiples of 1 / unit,

        <r, f> = <r1, f1> + (<r1, f2> + <r2, f1>) / steps

    up to <r2, f2> / steps^2, which is smaller than the rounding error of the second digits.  The two terms
    are two fields: r1 with f1, and (r1, r2) with (f2, f1).
    """

    def __init__(self, coarse: Linear, unit: float, steps: int) -> None:
        (dimension,) = coarse.fields
        self._coarse, self._unit, self._steps = coarse, unit, steps
        self.fields: Fields = (dimension, 2 * dimension)
        self.largest_row, self.amplification = coarse.largest_row, coarse.amplification
        self.whole = coarse.whole

    def rows(self, vectors: Floats) -> Floats:
        first, second = self._digits(self._coarse.rows(vectors))
        return np.concatenate([first, first, second], axis=1)

    def vectors(self, rows: Floats) -> Floats:
        first, _, second = np.split(rows, 3, axis=1)
        return self._coarse.vectors(first + second / self._steps)

    def form(self, query: Floats) -> LinearForm:
        made = self._coarse.form(query)
        first, second = self._digits(made.weights)
        return LinearForm(np.concatenate([first, second, first]), RefinedReading(made.reading, self._steps))

    def _digits(self, values: Floats) -> tuple[Floats, Floats]:
        first = np.rint(values * self._unit) / self._unit
        return first, (values - first) * self._steps


def refined(coarse: Linear, parameters: ParameterSet) -> Linear:
    """Returns the metric with as many digits as a pair of vectors needs under these parameters."""
    if parameters.pair_steps == 1:
        return coarse
    return Refined(coarse, parameters.gallery_scale, parameters.pair_steps)


def check_vectors(vectors: Floats, dimension: int) -> None:
    """Checks that vectors are valid for every metric.

    Raises:
        InvalidVector: if the dimension is wrong, or a row holds NaN or infinity; names the first such row.
    """
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise InvalidVector(f"vectors of dimension {vectors.shape[-1]}, want {dimension}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise InvalidVector(f"row {int(np.argmin(finite))} holds NaN or infinity, want finite numbers")


def _nonzero_norms(vectors: Floats) -> Floats:
    norms: Floats = np.linalg.norm(vectors, axis=1)
    if not norms.all():
        row = int(np.argmin(norms))
        raise InvalidVector(f"row {row} is all zeros, want a direction: cosine is not defined for it")
    return norms


def _check_norms(vectors: Floats, max_norm: float) -> None:
    norms = np.linalg.norm(vectors, axis=1)
    row = int(np.argmax(norms))
    if norms[row] > max_norm * (1 + _SINGLE_PRECISION_SLACK):
        raise InvalidVector(
            f"row {row} has length {norms[row]:.6g}, want at most {max_norm:.6g}; "
            "create the collection with a larger --max-norm"
        )
