"""The Gaussian scale space as linear maps that an evaluator can apply, in one round trip per octave.

An octave's levels are blurred by `FIRST_BLUR` times 2^(i / scales).  The evaluator gets the octave's base,
encrypted: the image itself for the first octave, afterwards every second pixel of the level with twice the
blur, which the keyholder encrypts again.

The first octave has twice the image's pixels each way, as in Lowe's paper; without it two of three keypoints
are lost.  The doubled image is never encrypted: see `blindsight.packing.scale_space`.  Doubled pixels lie at
quarters of a pixel, as in OpenCV, so that all of them are interpolated alike.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.packing.scale_space import ScaleImage

Floats = npt.NDArray[np.float64]
Images = npt.NDArray[np.float32]

SCALES = 3
# With one scale the widest Gaussian reaches beyond a tile, with six there are too many images for one call.
MIN_SCALES, MAX_SCALES = 2, 5
FIRST_BLUR = 1.6
CAMERA_BLUR = 0.5
# Shortest side of an octave's images; smaller ones are little more than border.
SMALLEST_SIDE = 16
# The first pixel of the doubled image lies a quarter of a pixel before that of the image.
DOUBLED_OFFSET = -0.25


@dataclass(frozen=True, slots=True)
class OctavePlan:
    """The computation of one octave.

    Attributes:
        index: the octave's pixels are 2^index of the image's wide; -1 is the doubled image.
        height, width: size of the octave's images.
        scales: number of levels in which extrema are searched.
        base_blur: blur of the base, in the octave's pixels.
        phases: 2 if the octave's images have twice the base's pixels each way, else 1.
        offset: position of the first pixel, in the image's pixels.
    """

    index: int
    height: int
    width: int
    scales: int
    base_blur: float
    phases: int
    offset: float

    @property
    def levels(self) -> int:
        """The number of Gaussians of the octave; there is one difference fewer."""
        return self.scales + 3

    @property
    def sigmas(self) -> tuple[float, ...]:
        """The blur that is applied to the base for each level, in the octave's pixels; 0 for none."""
        blurs = (FIRST_BLUR * 2 ** (level / self.scales) for level in range(self.levels))
        return tuple(math.sqrt(max(0.0, blur**2 - self.base_blur**2)) for blur in blurs)

    @property
    def first_is_base(self) -> bool:
        """Whether level 0 is the base, which the keyholder already has."""
        return self.sigmas[0] == 0.0

    @property
    def reach(self) -> int:
        """The number of pixels of the base that the largest kernel needs on every side."""
        return int(self.gaussian_kernels(self.levels - 1).shape[-1] // 2)

    def asked(self) -> list[ScaleImage]:
        """Returns the images to ask for: the first Gaussian other than the base, and later differences."""
        first = int(self.first_is_base)
        sigmas = self.sigmas[first:]
        return [ScaleImage(sigmas[0]), *(ScaleImage(wider, less) for less, wider in pairwise(sigmas))]

    def pyramid(self, base: Images, answers: Sequence[Images]) -> Pyramid:
        """Builds all images of the octave.

        Args:
            base: the base as it was encrypted.
            answers: the woven images that were `asked` for.
        """
        if self.first_is_base:
            return Pyramid.from_differences(base, [answers[0] - base, *answers[1:]])
        return Pyramid.from_differences(answers[0], answers[1:])

    def gaussian_kernels(self, level: int) -> Floats:
        """Returns kernels over the base, [phases * phases, side, side]; each sums to 1."""
        return ScaleImage(self.sigmas[level]).kernels(self.phases)

    def difference_kernels(self, level: int) -> Floats:
        """Returns the kernels of level + 1 minus those of the level; each sums to 0."""
        return ScaleImage(self.sigmas[level + 1], self.sigmas[level]).kernels(self.phases)

    def woven(self, parts: Iterable[npt.NDArray[np.floating[Any]]]) -> Images:
        """Interleaves images of all phases, each of the base's size, to the octave's [height, width]."""
        image = np.empty((self.height, self.width), np.float32)
        for index, part in enumerate(parts):
            down, across = divmod(index, self.phases)
            image[down :: self.phases, across :: self.phases] = part
        return image

    def next_base(self, pyramid: Pyramid) -> Images:
        """Returns the base of the next octave."""
        return pyramid.gaussians[self.scales, ::2, ::2]

    def _next(self) -> OctavePlan:
        height, width = -(-self.height // 2), -(-self.width // 2)
        return replace(self, index=self.index + 1, height=height, width=width, base_blur=FIRST_BLUR, phases=1)


def octave_plans(
    height: int, width: int, *, octaves: int | None = None, scales: int = SCALES, doubled: bool = True
) -> tuple[OctavePlan, ...]:
    """Plans the octaves of an image, largest first; none for an image that is too small for one.

    Args:
        octaves: largest number of octaves; None: until a side is shorter than 16 pixels.
        scales: levels per octave in which extrema are searched; 2 to 5; Lowe finds 3 best.
        doubled: whether to begin with an octave of twice the image's pixels each way.

    Raises:
        InvalidArgument: if the number of octaves or scales is out of range.
    """
    if octaves is not None and octaves < 1:
        raise InvalidArgument(f"{octaves} octaves, want at least 1")
    if not MIN_SCALES <= scales <= MAX_SCALES:
        raise InvalidArgument(f"{scales} scales per octave, want {MIN_SCALES} to {MAX_SCALES}")
    phases, offset = (2, DOUBLED_OFFSET) if doubled else (1, 0.0)
    plan = OctavePlan(
        1 - phases, height * phases, width * phases, scales, CAMERA_BLUR * phases, phases, offset
    )
    plans: list[OctavePlan] = []
    while min(plan.height, plan.width) >= SMALLEST_SIDE and len(plans) != octaves:
        plans.append(plan)
        plan = plan._next()
    return tuple(plans)


@dataclass(frozen=True, slots=True, eq=False)
class Pyramid:
    """An octave's images in grey levels, 0 to 255.

    Attributes:
        gaussians: [scales + 3, height, width].
        differences: [scales + 2, height, width]; level i is Gaussian i + 1 minus Gaussian i.
    """

    gaussians: Images
    differences: Images

    @classmethod
    def from_differences(cls, first: npt.NDArray[np.floating[Any]], differences: Sequence[Images]) -> Pyramid:
        """Builds a pyramid from the first Gaussian and all differences; the other Gaussians are their sums.

        So an octave takes no more images than it has Gaussians.
        """
        stack = np.stack([first, *differences], dtype=np.float32)
        return cls(np.cumsum(stack, axis=0, dtype=np.float32), stack[1:])
