"""Gaussians and their differences as kernels, the form that images of a scale space have in both zones.

An image may have twice the base's size each way.  The doubled image is never encrypted: interpolation and
blur are one linear map, in which every pixel of a 2 x 2 block of the doubled image has a kernel of its own
over the base (a phase).  The kernels have half the reach that they would have over the doubled image.

Both zones must come to the same integers on any machine, for results are checked to the last digit.  So the
exponential here is that of `decimal`, which is rounded correctly, and there is no product of matrices, and no
sum whose order a processor could choose: numpy's own differ between processors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Context, Decimal
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.packing.kernels import PlaneKernel, diffused

Floats = npt.NDArray[np.float64]

# Standard deviations after which a Gaussian is truncated.  With 4, three more keypoints in a hundred are
# where untruncated Gaussians have them, but halos are wider and twice as many tiles are encrypted.
TRUNCATE = 3.0
# Wider Gaussians reach beyond every tile.
MAX_SIGMA = 20.0
# On a pixel grid, a narrower Gaussian is a single pixel.
MIN_SIGMA = 0.1
MAX_PHASES = 2
MAX_SCALE_BITS = 24
# Weights of pixel x in the doubled pixels 2 x - 1 to 2 x + 2, which lie at quarters of a pixel.
_INTERPOLATION = (0.25, 0.75, 0.75, 0.25)
_EXACT = Context(prec=30)
# Rows that a process keeps: an octave has some ten.
_KEPT = 64


@dataclass(frozen=True, slots=True)
class ScaleImage:
    """One image of a scale space.

    Attributes:
        sigma: standard deviation of the base's Gaussian blur, in pixels of the image; 0: no blur.
        less: sigma of a narrower Gaussian, whose image is subtracted; None: nothing is subtracted.
        bits: weights are multiplied by 2^bits and rounded.

    Raises:
        InvalidArgument: if a field is out of range.
    """

    sigma: float
    less: float | None = None
    bits: int = 0

    def __post_init__(self) -> None:
        for sigma in (self.sigma, self.less or 0.0):
            if sigma and not MIN_SIGMA <= sigma <= MAX_SIGMA:
                raise InvalidArgument(f"sigma {sigma:g}, want {MIN_SIGMA:g} to {MAX_SIGMA:g}, or 0")
        if self.less is not None and self.less >= self.sigma:
            raise InvalidArgument(f"difference of sigma {self.sigma:g} less {self.less:g}, want it narrower")
        if not 0 <= self.bits <= MAX_SCALE_BITS:
            raise InvalidArgument(f"scale of 2^{self.bits}, want 2^0 to 2^{MAX_SCALE_BITS}")

    def kernels(self, phases: int) -> Floats:
        """Returns kernels over the base: [phases * phases, side, side], one row of phases after the other.

        They are for correlation, as in OpenCV's filter2D and scipy's correlate.
        """
        wider = _gaussians(self.sigma, phases)
        if self.less is None:
            return wider
        narrower = _gaussians(self.less, phases)
        rim = (wider.shape[-1] - narrower.shape[-1]) // 2
        return wider - np.pad(narrower, ((0, 0), (rim, rim), (rim, rim)))

    def plane_kernels(self, phases: int) -> tuple[PlaneKernel, ...]:
        """Returns the kernels as integers, multiplied by 2^bits."""
        kernels = self.kernels(phases)
        side = kernels.shape[-1]
        return tuple(
            PlaneKernel(side, side, side // 2, side // 2, diffused(kernel.ravel().tolist(), 1 << self.bits))
            for kernel in kernels
        )


def check_phases(phases: int) -> None:
    """Checks that images have the base's size (1 phase) or twice it each way (2 phases).

    Raises:
        InvalidArgument: if the number of phases is any other.
    """
    if not 1 <= phases <= MAX_PHASES:
        raise InvalidArgument(f"{phases} phases, want 1 or {MAX_PHASES}")


def _gaussians(sigma: float, phases: int) -> Floats:
    rows = _rows(sigma, phases)
    side = rows.shape[1]
    kernels: Floats = (rows[:, None, :, None] * rows[None, :, None, :]).reshape(-1, side, side)
    return kernels


@lru_cache(maxsize=_KEPT)
def _rows(sigma: float, phases: int) -> Floats:
    """Returns kernels of one axis: [phases, side].

    With two phases, pixel 2 y + a of the doubled image is the sum over m of row[a][m] * base[y + m].  On
    the doubled grid, every base pixel is spread over four samples and then blurred: base[y + m] contributes
    to the pixel by sample a - 2 m of the convolution of both.
    """
    radius = math.ceil(TRUNCATE * sigma)
    places = [at / sigma for at in range(-radius, radius + 1)] if sigma else [0.0]
    gaussian = _of_sum_1([_exponential(-0.5 * place * place) for place in places])
    rows = [gaussian]
    if phases > 1:
        reach = (radius + 3) // 2

        def sample(number: int) -> float:
            """Sample of the convolution, of which number 0 is in the middle of base[y]."""
            taps = ((number + radius + 1 - place, weight) for place, weight in enumerate(_INTERPOLATION))
            return math.fsum(weight * gaussian[at] for at, weight in taps if 0 <= at < len(gaussian))

        rows = [
            _of_sum_1([sample(phase - 2 * offset) for offset in range(-reach, reach + 1)])
            for phase in range(phases)
        ]
    made: Floats = np.array(rows)
    made.flags.writeable = False
    return made


def _exponential(value: float) -> float:
    return float(_EXACT.exp(Decimal(value)))


def _of_sum_1(weights: list[float]) -> list[float]:
    total = math.fsum(weights)
    return [weight / total for weight in weights]
