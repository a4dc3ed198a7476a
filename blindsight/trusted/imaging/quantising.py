"""Quantisation of real kernels to integer kernels, with a bound on the error.

Weights are multiplied by a power of two and rounded with error diffusion: the rounding error of one weight
is added to the next, so that their sum is exact and a flat image keeps its brightness to the last digit.  The
power is the largest for which nothing overflows; results are divided by it after decryption.  Where every bit
costs time, the scale is the smallest number for which all weights are integers, or the smallest power that is
accurate enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from blindsight.errors import InvalidArgument
from blindsight.packing.kernels import PlaneKernel, diffused
from blindsight.parameters import BOUND_SIGMAS
from blindsight.trusted.imaging.linear import LinearMap

# The largest value of a pixel, which is a byte.
LARGEST_PIXEL = 255
# Weights of 24 bits are finer than any result can resolve.
MOST_SCALE_BITS = 24
# In grey levels: with a larger error, results would be wrong after rounding.
WORST_ERROR = 0.5
# Largest integer that is tried for the smallest weight, in search of a scale that makes integers of all.
_MOST_MULTIPLE = 64
# Diffusion moves a weight by at most 1, so a weight of 2 does not vanish.
_LEAST_LARGEST = 2


@dataclass(frozen=True, slots=True)
class Room:
    """The capacity of a scheme's messages.

    Attributes:
        name: display name of the parameter set.
        largest: magnitudes of results must stay below it.
        noise: standard deviation of the noise that encryption adds to a value; 0 if results are exact.
        most_norm: largest root of the sum of squared weights that keeps exact results exact.
        most_reach: largest distance, in pixels, from a pixel to one that a kernel may weigh.
        most_value: largest input value; pixels always fit.
        enough: error, in grey levels, that need not get smaller; 0: weights are as fine as messages allow.
    """

    name: str
    largest: int
    noise: float = 0.0
    most_norm: float = math.inf
    most_reach: int = 31
    most_value: int = LARGEST_PIXEL
    enough: float = 0.0


@dataclass(frozen=True, slots=True)
class Quantised:
    """Integer kernels that share a scale.

    Attributes:
        kernels: the integer kernels.
        scale: factor by which results are too large.
        error_bound: bound on the difference from the real map, in grey levels, before rounding.
    """

    kernels: tuple[PlaneKernel, ...]
    scale: int
    error_bound: float


def quantise(maps: Sequence[LinearMap], room: Room) -> Quantised:
    """Returns integer kernels for maps of bytes, as fine as the messages allow or as is accurate enough.

    Raises:
        InvalidArgument: if results could overflow or be off by half a grey level (the message names the
            bound), or if maps reach too far.
    """
    reach = max(one.reach for one in maps)
    if reach > room.most_reach:
        raise InvalidArgument(
            f"operations that reach {reach} pixels together, want at most {room.most_reach} under {room.name}"
        )
    for scale in _small_scales(maps) if room.enough else ():
        if all(_fits(one, scale, room) for one in maps):
            small = _scaled(maps, scale, room)
            if small.error_bound <= room.enough:
                return small
    made = _scaled(maps, 1 << _scale_bits(maps, room), room)
    if made.error_bound >= WORST_ERROR:
        raise InvalidArgument(
            f"the kernel would be off by up to {made.error_bound:.2f} grey levels under {room.name}, want "
            f"less than {WORST_ERROR:g}: its weights are of too different magnitudes"
        )
    return made


def _scaled(maps: Sequence[LinearMap], scale: int, room: Room) -> Quantised:
    kernels = tuple(_rounded(one, scale) for one in maps)
    bound = max(_error(one, kernel, scale, room) for one, kernel in zip(maps, kernels, strict=True))
    return Quantised(kernels, scale, bound)


def _small_scales(maps: Sequence[LinearMap]) -> Iterator[int]:
    """Yields the scale that makes all weights and offsets integers, if there is one; then powers of two."""
    every = np.concatenate([np.abs([*one.weights.ravel(), one.offset]) for one in maps])
    numbers = every[every > 0]
    for multiple in range(1, _MOST_MULTIPLE + 1):
        scale = round(multiple / float(numbers.min()))
        if not 1 <= scale <= 1 << MOST_SCALE_BITS:
            continue
        if np.allclose(numbers * scale, np.rint(numbers * scale), rtol=1e-12, atol=1e-9):
            yield scale
            break
    # Powers with which at least one weight of each map does not vanish.
    largest = min(float(np.abs(one.weights).max()) for one in maps)
    yield from (1 << bits for bits in range(MOST_SCALE_BITS + 1) if largest * (1 << bits) >= _LEAST_LARGEST)


def _scale_bits(maps: Sequence[LinearMap], room: Room) -> int:
    """Returns the largest number of scale bits with which every result fits, rounding included."""
    for bits in range(MOST_SCALE_BITS, -1, -1):
        if all(_fits(one, 1 << bits, room) for one in maps):
            return bits
    gain = max(float(np.abs(one.weights).sum()) for one in maps)
    offset = max(abs(one.offset) for one in maps)
    raise InvalidArgument(
        f"the kernel would overflow: magnitudes of its weights sum to {gain:g} (offset {offset:g}), want at "
        f"most {room.largest // LARGEST_PIXEL} under {room.name}, where results stay below {room.largest}"
    )


def _fits(one: LinearMap, scale: int, room: Room) -> bool:
    # Diffusion moves a weight by at most 1.
    gain = float(np.abs(one.weights).sum()) * scale + one.weights.size
    norm = float(np.linalg.norm(one.weights)) * scale + math.sqrt(one.weights.size)
    return gain * LARGEST_PIXEL + abs(one.offset) * scale + 1 < room.largest and norm <= room.most_norm


def _rounded(one: LinearMap, scale: int) -> PlaneKernel:
    height, width = one.weights.shape
    weights = diffused(one.weights.ravel().tolist(), scale)
    return PlaneKernel(height, width, *one.anchor, weights, round(one.offset * scale))


def _error(one: LinearMap, kernel: PlaneKernel, scale: int, room: Room) -> float:
    """Bounds the error from rounded weights, from the rounded offset, and from noise.

    A byte is 127.5 plus a deviation of at most 127.5: the former is multiplied by the error of the weights'
    sum, the latter by the sum of the weights' absolute errors.
    """
    off = one.weights.ravel() - np.array(kernel.weights, np.float64) / scale
    rounding = LARGEST_PIXEL / 2 * (abs(float(off.sum())) + float(np.abs(off).sum()))
    offset = abs(one.offset - kernel.offset / scale)
    return rounding + offset + BOUND_SIGMAS * room.noise * kernel.norm / scale
