"""Squared cosine of the colour channels of raw pixels, without normalisation before encryption.

    (a.b)^2 / (|a|^2 |b|^2)

The evaluator returns two encrypted terms for each channel, a.b and |a|^2, from two fields of a row: the
pixels, and the digits of their squared length.  The keyholder, which knows b, squares and divides.

Pixels are integers, and so are all values derived from them: under BFV both terms are exact.  A channel is
multiplied by the largest integer that keeps its length within bounds.  The factor cancels in the quotient,
and a dark image then stands as far above the noise of CKKS as a bright one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidVector
from blindsight.packing.columns import Fields, Floats
from blindsight.trusted.similarity.linear import LinearForm

MAX_PIXEL = 255
# Rows are integers divided by this; BFV multiplies by the same number (2^13.5, see `parameters`).
UNIT = 11585
# Largest squared length of a channel, in integers; in rows its length is sqrt(2), as for all metrics.
MAX_SQUARED_LENGTH = 2 * UNIT**2
# Base of the two digits of a squared length; in rows both are below sqrt(2), as pixels are.
DIGIT = 1 << 14
# A channel that is not black has at least MAX_SQUARED_LENGTH / 4 once it is multiplied; the threshold is
# half of that.
_NOT_BLACK = MAX_SQUARED_LENGTH / 8 / UNIT**2

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ChannelReading:
    """Squared cosines from the terms of each channel; the score is their distance from all ones.

    Attributes:
        squared_lengths: squared lengths of the query's channels as they were encrypted, divided by `UNIT`^2.
    """

    squared_lengths: tuple[float, ...]
    higher_is_better: bool = False
    scale: float = 1.0

    def scores(self, products: Floats) -> Floats:
        scores: Floats = np.linalg.norm(1.0 - self.parts(products), axis=1)
        return scores

    def parts(self, products: Floats) -> Floats:
        """Returns squared cosines, 0 to 1: [count, 2 * channels] -> [count, channels].

        A black channel has no direction: its similarity is 1 to another black one, and 0 to any other.
        """
        inner, theirs = np.split(products, 2, axis=1)
        ours = np.array(self.squared_lengths)
        black = theirs < _NOT_BLACK
        scale = np.where(black, 1.0, theirs) * np.where(ours == 0, 1.0, ours)
        cosines = np.where(black | (ours == 0), 0.0, np.square(inner) / scale)
        return np.where(black & (ours == 0), 1.0, np.clip(cosines, 0.0, 1.0))


class SquaredCosine:
    """Squared cosine; rows are [a of each channel, digits of |a|^2 of each channel], each a field of its own.

    Args:
        dimension: number of values of an image, channel by channel.
        channels: number of channels.
    """

    # The norm of the digits' field may reach this; that of the pixels' is smaller.
    largest_row = 2.0
    # Queries are up to sqrt(2) long, both squared lengths at least 1/2: a factor of 2 sqrt(2) (2 + 1) for
    # one channel, and of sqrt(3) for the norm over three.
    amplification = 6 * math.sqrt(6)
    whole = True

    def __init__(self, dimension: int, channels: int) -> None:
        self._channels = channels
        self.fields: Fields = (dimension // channels,) * channels + (2,) * channels

    def rows(self, vectors: Floats) -> Floats:
        """Returns rows to encrypt; raises InvalidVector if values are not pixels or a channel is too long."""
        pixels = self._channels_of(vectors)
        squared = np.square(pixels).sum(axis=2)
        digits = np.stack([squared // DIGIT, squared % DIGIT], axis=2)
        flat = [part.reshape(len(vectors), -1) for part in (pixels, digits)]
        return np.concatenate(flat, axis=1) / UNIT

    def vectors(self, rows: Floats) -> Floats:
        """Returns pixels; of a channel that may have been brighter or darker, the brightest."""
        pixels = np.rint(rows[:, : -2 * self._channels] * UNIT).astype(np.int64).clip(0)
        channels = pixels.reshape(len(rows) * self._channels, -1)
        return np.array([_divided(channel) for channel in channels], np.float64).reshape(len(rows), -1)

    def form(self, query: Floats) -> LinearForm:
        pixels = self._channels_of(query[None])[0]
        digits = np.tile([DIGIT, 1], self._channels)
        weights = np.concatenate([pixels.ravel(), digits]) / UNIT
        lengths = np.square(pixels).sum(axis=1) / UNIT**2
        return LinearForm(weights, ChannelReading(tuple(map(float, lengths))))

    def _channels_of(self, vectors: Floats) -> Integers:
        """Returns pixels [count, channels, pixels of one], each channel multiplied by its integer."""
        integers = vectors.astype(np.int64)
        wrong = (integers != vectors) | (integers < 0) | (integers > MAX_PIXEL)
        _refuse(
            wrong.any(axis=1), f"holds values that are not pixels, want whole numbers from 0 to {MAX_PIXEL}"
        )
        pixels = integers.reshape(len(vectors), self._channels, -1)
        squared = np.square(pixels).sum(axis=2)
        longest = squared.max(axis=1)
        _refuse(
            longest > MAX_SQUARED_LENGTH,
            f"has a channel of squared length {longest.max()}, want at most {MAX_SQUARED_LENGTH}",
        )
        factors = [[_factor(int(one)) for one in row] for row in squared]
        multiplied: Integers = pixels * np.array(factors)[:, :, None]
        return multiplied


def _refuse(wrong: npt.NDArray[np.bool_], message: str) -> None:
    if wrong.any():
        raise InvalidVector(f"row {int(np.argmax(wrong))} {message}")


def _factor(squared_length: int) -> int:
    """Returns the integer that a channel of this squared length is multiplied by."""
    return math.isqrt(MAX_SQUARED_LENGTH // squared_length) if squared_length else 1


def _divided(channel: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Returns the pixels of a multiplied channel; nearly, if noise has changed one of its values."""
    most, common = int(channel.max()), int(np.gcd.reduce(channel))
    for factor in range(max(1, -(-most // MAX_PIXEL)), common + 1):
        pixels = channel // factor
        if common % factor == 0 and _factor(int(np.square(pixels).sum())) == factor:
            return pixels
    return (2 * channel * MAX_PIXEL + most) // (2 * max(most, 1))
