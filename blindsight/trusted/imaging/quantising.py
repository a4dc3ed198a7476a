"""Kernels of real numbers become kernels of integers, with a bound on what that costs.

Weights are multiplied by a power of two and rounded with error diffusion: what one weight is rounded by goes
into the next, so that their sum is exact and an even picture keeps its brightness to the last digit.  The
power is the largest for which nothing overflows; results are divided by it after decryption.  Where every bit
costs time, the smallest number will do for which all weights are integers, or the smallest power that is
good enough.
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

# A pixel is a byte.
LARGEST_PIXEL = 255
# Weights of 24 bits are finer than any result can show.
MOST_SCALE_BITS = 24
# Of a grey level: what is worse would not be right after rounding.
WORST_ERROR = 0.5
# Of the smallest weight, looking for a number that makes integers of all.
_MOST_MULTIPLE = 64
# Diffusion takes at most 1/2 of a weight away.
_LEAST_LARGEST = 2


@dataclass(frozen=True, slots=True)
class Room:
    """What the messages of a scheme have room for.

    Attributes:
        name: of the parameter set, for people.
        largest: magnitudes of results stay below it.
        noise: standard deviation of what encryption adds to a value; 0 where results are exact.
        most_norm: largest root of the sum of squared weights that keeps exact results exact.
        most_reach: pixels that a kernel may look beyond the pixel itself.
        most_value: what goes in is at most so large; pixels always may.
        enough: error, in grey levels, that need not get smaller; 0: weights are as fine as there is room for.
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
    """Kernels that share a scale.

    Attributes:
        kernels: of integers.
        scale: results are this many times too large.
        error_bound: on the difference to the real map, in grey levels, before rounding.
    """

    kernels: tuple[PlaneKernel, ...]
    scale: int
    error_bound: float


def quantise(maps: Sequence[LinearMap], room: Room) -> Quantised:
    """Integers for maps of bytes, as fine as there is room for.

    Raises:
        InvalidArgument: when results could overflow, or would be off by half of a grey level, with the bound;
            or when maps reach too far.
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
    """The one that makes integers of all weights and offsets, if there is one; then powers of two."""
    every = np.concatenate([np.abs([*one.weights.ravel(), one.offset]) for one in maps])
    numbers = every[every > 0]
    for multiple in range(1, _MOST_MULTIPLE + 1):
        scale = round(multiple / float(numbers.min()))
        if not 1 <= scale <= 1 << MOST_SCALE_BITS:
            continue
        if np.allclose(numbers * scale, np.rint(numbers * scale), rtol=1e-12, atol=1e-9):
            yield scale
            break
    # With which at least one weight of each map stays.
    largest = min(float(np.abs(one.weights).max()) for one in maps)
    yield from (1 << bits for bits in range(MOST_SCALE_BITS + 1) if largest * (1 << bits) >= _LEAST_LARGEST)


def _scale_bits(maps: Sequence[LinearMap], room: Room) -> int:
    """The largest that leaves room for every result, rounding included."""
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
    """Rounded weights and offset, and the noise.

    Bytes are taken as 127.5 and a deviation of at most as much: what weights are off by in sum counts with
    the one, what they are off by each with the other.
    """
    off = one.weights.ravel() - np.array(kernel.weights, np.float64) / scale
    rounding = LARGEST_PIXEL / 2 * (abs(float(off.sum())) + float(np.abs(off).sum()))
    offset = abs(one.offset - kernel.offset / scale)
    return rounding + offset + BOUND_SIGMAS * room.noise * kernel.norm / scale
