"""Morphology by threshold decomposition: counts under encryption, and decisions from decrypted counts.

An image of L levels is L - 1 binary planes, one for each level that a pixel may reach.  The evaluator counts,
for every pixel and plane, the ones under the structuring element; a pixel's smallest neighbour reaches a
level if all of them do, its largest if one does.  Counts are below `Packing.base`, so that several planes
are digits of one number, and one product counts in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument, InvalidCiphertext
from blindsight.packing.kernels import PlaneKernel
from blindsight.parameters import BOUND_SIGMAS
from blindsight.trusted.imaging.quantising import LARGEST_PIXEL, WORST_ERROR, Room

Bytes = npt.NDArray[np.uint8]
Numbers = npt.NDArray[np.int32]
MOST_LEVELS = LARGEST_PIXEL + 1
# Numbers with an offset, and the meaningless values in halos, must stay within 32 bits.
_MOST_SPREAD = 1 << 29


class Extreme(Enum):
    """The decisions that are made from counts."""

    LEAST = "least"  # all under the element: erosion
    GREATEST = "greatest"  # one under the element: dilation


class Shape(Enum):
    """The shapes of structuring elements, with OpenCV's names in the comments."""

    SQUARE = "square"  # MORPH_RECT
    CROSS = "cross"  # MORPH_CROSS
    DISC = "disc"  # MORPH_ELLIPSE, in its rounding


@dataclass(frozen=True)
class Element:
    """A structuring element; every one is its own mirror image.

    Attributes:
        shape: the shape.
        size: length of a side, odd.
    """

    shape: Shape
    size: int

    @property
    def reach(self) -> int:
        """The number of pixels from the middle to the edge."""
        return self.size // 2

    @cached_property
    def mask(self) -> Bytes:
        """The element as ones, zeros elsewhere: [size, size]."""
        across = np.arange(self.size) - self.reach
        if self.shape is Shape.SQUARE:
            return np.ones((self.size, self.size), np.uint8)
        if self.shape is Shape.CROSS:
            middle: npt.NDArray[np.bool_] = across == 0
            return (middle | middle[:, None]).astype(np.uint8)
        half_widths = np.rint(np.sqrt(self.reach**2 - across**2))
        covered: npt.NDArray[np.bool_] = np.abs(across) <= half_widths[:, None]
        return covered.astype(np.uint8)

    @cached_property
    def points(self) -> int:
        """The number of pixels that it covers."""
        return int(self.mask.sum())

    def inside(self, height: int, width: int) -> npt.NDArray[np.int32]:
        """Counts the element's pixels inside an image, for every position; the image must not be smaller."""
        ones = np.pad(np.ones_like(self.mask, np.int32), self.reach)
        windows = np.lib.stride_tricks.sliding_window_view(ones, self.mask.shape)
        corners: npt.NDArray[np.int32] = np.einsum("rcij,ij->rc", windows, self.mask, dtype=np.int32)
        for axis, length in enumerate((height, width)):
            times = [1] * self.reach + [length - 2 * self.reach] + [1] * self.reach
            corners = np.repeat(corners, times, axis)
        return corners


@dataclass(frozen=True, slots=True)
class Recipe:
    """The composition of an operation from erosions and dilations.

    Attributes:
        trips: the extremes that each round trip finds, in the last image that the trip before it found.
        minuend, subtrahend: indices into the source and all found images, in order, of which one is
            subtracted from the other; without a subtrahend nothing is.
    """

    trips: tuple[tuple[Extreme, ...], ...]
    minuend: int = -1
    subtrahend: int | None = None


_LEAST, _GREATEST = (Extreme.LEAST,), (Extreme.GREATEST,)
RECIPES = MappingProxyType(
    {
        "erode": Recipe((_LEAST,)),
        "dilate": Recipe((_GREATEST,)),
        "open": Recipe((_LEAST, _GREATEST)),
        "close": Recipe((_GREATEST, _LEAST)),
        "gradient": Recipe(((Extreme.LEAST, Extreme.GREATEST),), -1, 1),
        "top-hat": Recipe((_LEAST, _GREATEST), 0, -1),
        "black-hat": Recipe((_GREATEST, _LEAST), -1, 0),
    }
)


@dataclass(frozen=True, slots=True)
class Morphology:
    """One morphological operation of a list.

    Attributes:
        name: the name of its recipe.
        element: the structuring element.
        levels: number of grey levels, 2 to 256.
    """

    name: str
    element: Element
    levels: int = MOST_LEVELS

    @property
    def recipe(self) -> Recipe:
        """The erosions and dilations that it is made of."""
        return RECIPES[self.name]

    def require_room(self, height: int, width: int) -> None:
        """Checks that the element fits into an image of this size."""
        size = self.element.size
        if min(height, width) < size:
            raise InvalidArgument(
                f"picture of {width} x {height} pixels, too small for {self.name} with an element of size "
                f"{size}, want at least {size} x {size}"
            )

    def finished(self, found: list[Bytes]) -> Bytes:
        """Returns the resulting pixels, from the ranks of the source and of all found images, in order."""
        greys = shades(self.levels)
        result = greys[found[self.recipe.minuend]]
        if self.recipe.subtrahend is None:
            return result
        # A black border can make a closed image darker than its source: differences stop at 0, as in OpenCV.
        return result - np.minimum(result, greys[found[self.recipe.subtrahend]])


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold that makes an image binary: 255 above the level, else 0.

    Attributes:
        level: 0 to 254; None for Otsu's level of the image itself.
    """

    level: int | None


def otsu(pixels: Bytes) -> int:
    """Returns the level that separates an image into two classes best; 0 for a flat image."""
    counts = np.bincount(pixels.reshape(-1), minlength=MOST_LEVELS).astype(np.float64)
    below, sums = np.cumsum(counts), np.cumsum(counts * np.arange(MOST_LEVELS))
    above = below[-1] - below
    both = (below > 0) & (above > 0)
    spread = np.zeros(MOST_LEVELS)
    apart = sums[both] / below[both] - (sums[-1] - sums[both]) / above[both]
    spread[both] = below[both] * above[both] * apart**2
    return int(np.argmax(spread))


def binarised(pixels: Bytes, level: int) -> Bytes:
    """Returns 255 for pixels above the level, else 0."""
    return np.where(pixels > level, np.uint8(LARGEST_PIXEL), np.uint8(0))


def ranks(pixels: Bytes, levels: int) -> Bytes:
    """Returns the nearest level of every pixel: 0 to levels - 1."""
    nearest: Bytes = np.rint(np.arange(MOST_LEVELS) * ((levels - 1) / LARGEST_PIXEL)).astype(np.uint8)
    return nearest[pixels]


def shades(levels: int) -> Bytes:
    """Returns the pixel values of the levels, evenly from black to white."""
    greys: npt.NDArray[np.float64] = np.rint(np.arange(levels) * (LARGEST_PIXEL / (levels - 1)))
    return greys.astype(np.uint8)


@dataclass(frozen=True)
class Packing:
    """Binary planes as digits of numbers.

    Attributes:
        element: the element whose counts the digits must hold.
        levels: number of grey levels of the image.
        digits: number of binary planes in a number.
    """

    element: Element
    levels: int
    digits: int

    @classmethod
    def of(cls, element: Element, levels: int, room: Room) -> Packing:
        """Returns a packing with as many digits as the scheme's messages can hold.

        Raises:
            InvalidArgument: if they cannot hold a single one.
        """
        digits, base, ones = 0, element.points + 1, 0
        largest = min(room.largest, _MOST_SPREAD)
        while base ** (digits + 1) // 2 < largest and ones + base**digits <= room.most_value:
            ones += base**digits
            digits += 1
        norm = math.sqrt(element.points)
        noisy = BOUND_SIGMAS * room.noise * norm >= WORST_ERROR or norm > room.most_norm
        if not digits or noisy or element.reach > room.most_reach:
            raise InvalidArgument(
                f"element of {element.points} pixels, whose counts have no room under {room.name}"
            )
        return cls(element, levels, min(digits, levels - 1))

    @property
    def base(self) -> int:
        """The base of the digits, one more than the largest count."""
        return self.element.points + 1

    @property
    def groups(self) -> int:
        """The number of groups, that is of numbers that hold all planes of a pixel."""
        return -(-(self.levels - 1) // self.digits)

    @property
    def kernel(self) -> PlaneKernel:
        """The kernel that counts in all digits; its offset centres the results around 0."""
        size, reach = self.element.size, self.element.reach
        weights = tuple(self.element.mask.ravel().tolist())
        return PlaneKernel(size, size, reach, reach, weights, -self._middle)

    @property
    def _middle(self) -> int:
        return int(self.base**self.digits) // 2

    def pack(self, ranked: Bytes, group: int) -> Numbers:
        """Packs the group's planes of ranks, one digit each."""
        first = group * self.digits + 1
        table = np.zeros(self.levels, np.int32)
        for digit in range(min(self.digits, self.levels - first)):
            table[first + digit :] += self.base**digit
        return table[ranked]

    def counts(self, values: npt.NDArray[np.integer[Any]], group: int) -> Iterator[Numbers]:
        """Yields the counts of each plane of the group, from the evaluator's results for `pack`.

        Raises:
            InvalidCiphertext: if the values are not such counts.
        """
        rest = values.astype(np.int32) + np.int32(self._middle)
        for _ in range(min(self.digits, self.levels - 1 - group * self.digits)):
            rest, digit = np.divmod(rest, np.int32(self.base))
            yield digit
        if rest.any():
            raise InvalidCiphertext("the evaluator answered with counts that no picture has")
