"""Named filters as steps of linear maps, with non-linear steps such as thresholds and morphology.

A list of operations becomes steps: consecutive linear operations are one map (`LinearMap.then`), computed
over the padded image without rounding in between; a gradient's magnitude or orientation ends a step, and
an operation that is not linear is a step by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging.linear import LinearMap, Weights
from blindsight.trusted.imaging.morphology import MOST_LEVELS, RECIPES, Element, Morphology, Shape, Threshold
from blindsight.trusted.imaging.quantising import LARGEST_PIXEL

LARGEST_SIZE = 31
MAX_OPERATIONS = 16
MAX_TEXT = 64
MOST_CONTRAST = 16.0
MOST_AMOUNT = 5.0
_MIDDLE_GREY = 127.5
_CUSTOM = "custom"


class Reading(Enum):
    """The values that are computed from the results of a step's maps."""

    MAP = "map"
    MAGNITUDE = "magnitude"
    ORIENTATION = "orientation"


@dataclass(frozen=True, slots=True)
class Operation:
    """One entry of a list of operations.

    Attributes:
        text: a name and its arguments, such as gaussian:5.
        kernel: the kernel of custom, else None.
    """

    text: str
    kernel: Weights | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """Linear maps that are computed in one round trip.

    Attributes:
        maps: one map; two for a gradient, across and down.
        reading: how the keyholder combines their results.
    """

    maps: tuple[LinearMap, ...]
    reading: Reading = Reading.MAP

    @property
    def reach(self) -> int:
        """The largest reach of the maps, in pixels."""
        return max(one.reach for one in self.maps)


AnyStep = Step | Threshold | Morphology


def steps(operations: Sequence[Operation]) -> list[AnyStep]:
    """Returns the steps of a list of operations.

    Raises:
        InvalidArgument: if an operation is unknown (the message lists the known ones), if its arguments are
            wrong, or if it needs pixels and those before it do not produce any.
    """
    if not 1 <= len(operations) <= MAX_OPERATIONS:
        raise InvalidArgument(f"{len(operations)} operations, want 1 to {MAX_OPERATIONS}")
    made: list[AnyStep] = []
    for operation in operations:
        step, last = _step(operation), made[-1] if made else None
        if isinstance(last, Step) and last.reading is Reading.MAP and isinstance(step, Step):
            maps = tuple(last.maps[0].then(one) for one in step.maps)
            made[-1] = Step(maps, step.reading)
            continue
        if last is not None:
            _require_pixels(last, operation)
        if isinstance(step, Morphology) and isinstance(last, Threshold | Morphology):
            step = replace(step, levels=min(step.levels, _levels(made)))
        made.append(step)
    return made


def _require_pixels(last: AnyStep, operation: Operation) -> None:
    """Checks that the last step produces pixels, which the next operation needs."""
    if not isinstance(last, Step):
        return
    if last.reading is Reading.ORIENTATION:
        raise InvalidArgument(
            "operations after an orientation, want it to be the last: degrees are not pixels"
        )
    if last.reading is Reading.MAP and not last.maps[0].keeps_brightness:
        raise InvalidArgument(
            f"operation {operation.text!r} after a map of differences, which has negative values, want one "
            "after pixels: a magnitude, or filters that keep the brightness"
        )


def _levels(before: Sequence[AnyStep]) -> int:
    """Returns the number of grey levels after these steps: morphology leaves a binary image binary."""
    for step in reversed(before):
        if isinstance(step, Threshold):
            return 2
        if isinstance(step, Step):
            break
    return MOST_LEVELS


def _step(operation: Operation) -> AnyStep:
    if len(operation.text) > MAX_TEXT:
        raise InvalidArgument(f"operation of {len(operation.text)} characters, want at most {MAX_TEXT}")
    name, *arguments = operation.text.split(":")
    if name == _CUSTOM:
        return Step((_custom(operation, arguments),))
    if operation.kernel is not None:
        raise InvalidArgument(f"operation {name!r} with a kernel, want one with {_CUSTOM} only")
    if name not in OPERATIONS:
        raise InvalidArgument(f"operation {name!r}, want one of {', '.join([*OPERATIONS, _CUSTOM])}")
    try:
        return OPERATIONS[name](*arguments)
    except (TypeError, ValueError):  # wrong number of arguments, or not a number
        raise InvalidArgument(f"operation {operation.text!r}, want {USAGE[name]}") from None


def _custom(operation: Operation, arguments: Sequence[str]) -> LinearMap:
    if operation.kernel is None or arguments:
        raise InvalidArgument("operation custom without its kernel, want the numbers of one")
    height, width = operation.kernel.shape
    if height % 2 == 0 or width % 2 == 0 or max(height, width) > LARGEST_SIZE:
        raise InvalidArgument(
            f"kernel of {height} x {width}, want odd numbers of rows and columns, at most {LARGEST_SIZE}"
        )
    if not np.isfinite(operation.kernel).all():
        raise InvalidArgument("kernel with a number that is not finite, want finite ones")
    if not operation.kernel.any():
        raise InvalidArgument("kernel of zeros, want at least one non-zero weight")
    return LinearMap.centred(operation.kernel)


def _size(text: str, what: str) -> int:
    size = int(text)
    if size % 2 == 0 or not 1 <= size <= LARGEST_SIZE:
        raise InvalidArgument(f"{what} of size {size}, want an odd size of 1 to {LARGEST_SIZE}")
    return size


def _number(text: str, what: str, least: float, most: float) -> float:
    value = float(text)
    if not least <= value <= most:  # also refuses NaN
        raise InvalidArgument(f"{what} of {text}, want {least:g} to {most:g}")
    return value


def _box(size: str = "3") -> Step:
    side = _size(size, "box")
    return Step((LinearMap.centred(np.full((side, side), 1 / side**2)),))


# OpenCV's kernels of these sizes, which differ slightly from its formula.
_SMALL_GAUSSIANS = {
    1: (1,),
    3: (1, 2, 1),
    5: (1, 4, 6, 4, 1),
    7: (8, 28, 56, 72, 56, 28, 8),
    9: (4, 13, 30, 51, 60, 51, 30, 13, 4),
}


def gaussian(size: int, sigma: float | None = None) -> Weights:
    """Returns a Gaussian kernel [size, size] of sum 1; without a sigma, OpenCV's for that size."""
    if sigma is None and size in _SMALL_GAUSSIANS:
        line = np.array(_SMALL_GAUSSIANS[size], np.float64)
    else:
        width = sigma if sigma is not None else 0.3 * ((size - 1) * 0.5 - 1) + 0.8
        line = np.exp(-((np.arange(size) - size // 2) ** 2) / (2 * width * width))
    line /= line.sum()
    return np.outer(line, line)


def _gaussian(size: str = "5", sigma: str | None = None) -> Step:
    given = None if sigma is None else _number(sigma, "gaussian sigma", 0.1, 100)
    return Step((LinearMap.centred(gaussian(_size(size, "gaussian"), given)),))


def _unsharp(size: str = "5", amount: str = "1") -> Step:
    """Adds to the image `amount` times its difference from a Gaussian blur."""
    strength = _number(amount, "unsharp amount", 0, MOST_AMOUNT)
    weights = -strength * gaussian(_size(size, "unsharp"))
    weights[weights.shape[0] // 2, weights.shape[1] // 2] += 1 + strength
    return Step((LinearMap.centred(weights),))


def _fixed(weights: Sequence[Sequence[float]]) -> Callable[[], Step]:
    return lambda: Step((LinearMap.centred(weights),))


def _gradient(across: npt.ArrayLike, down: npt.ArrayLike) -> Callable[..., Step]:
    maps = LinearMap.centred(across), LinearMap.centred(down)

    def step(what: str = Reading.MAGNITUDE.value) -> Step:
        if what in ("x", "y"):
            return Step((maps["xy".index(what)],))
        if what == Reading.MAP.value:
            raise ValueError(what)
        return Step(maps, Reading(what))

    return step


def _smoothed_difference(side: float, middle: float) -> Callable[..., Step]:
    across = np.outer((side, middle, side), (-1, 0, 1))
    return _gradient(across, across.T)


def _brightness(levels: str) -> Step:
    return Step((LinearMap.centred([[1.0]], _number(levels, "brightness", -255, 255)),))


def _threshold(level: str = "otsu") -> Threshold:
    return Threshold(
        None if level == "otsu" else int(_number(str(int(level)), "threshold", 0, LARGEST_PIXEL - 1))
    )


def _morphology(name: str, size: str = "3", shape: str = "square", levels: str = "256") -> Morphology:
    shapes = [one.value for one in Shape]
    if shape not in shapes:
        raise InvalidArgument(f"element {shape!r}, want one of {', '.join(shapes)}")
    count = int(_number(str(int(levels)), f"{name} levels", 2, MOST_LEVELS))
    return Morphology(name, Element(Shape(shape), _size(size, name)), count)


def _contrast(factor: str) -> Step:
    """Multiplies distances from the middle grey."""
    value = _number(factor, "contrast", 1 / MOST_CONTRAST, MOST_CONTRAST)
    return Step((LinearMap.centred([[value]], _MIDDLE_GREY * (1 - value)),))


OPERATIONS = MappingProxyType[str, Callable[..., AnyStep]](
    {
        "box": _box,
        "gaussian": _gaussian,
        "sharpen": _fixed([[0, -1, 0], [-1, 5, -1], [0, -1, 0]]),
        "unsharp": _unsharp,
        "emboss": _fixed([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]]),
        "roberts": _gradient([[1, 0], [0, -1]], [[0, 1], [-1, 0]]),
        "prewitt": _smoothed_difference(1, 1),
        "sobel": _smoothed_difference(1, 2),
        "scharr": _smoothed_difference(3, 10),
        "laplacian": _fixed([[0, 1, 0], [1, -4, 1], [0, 1, 0]]),
        "brightness": _brightness,
        "contrast": _contrast,
        "threshold": _threshold,
        **{name: partial(_morphology, name) for name in RECIPES},
    }
)
_DIRECTIONS = ":magnitude (or alone), :orientation, :x or :y"
USAGE = MappingProxyType(
    {
        "box": "box:SIZE",
        "gaussian": "gaussian:SIZE or gaussian:SIZE:SIGMA",
        "sharpen": "sharpen",
        "unsharp": "unsharp:SIZE:AMOUNT",
        "emboss": "emboss",
        "roberts": f"roberts{_DIRECTIONS}",
        "prewitt": f"prewitt{_DIRECTIONS}",
        "sobel": f"sobel{_DIRECTIONS}",
        "scharr": f"scharr{_DIRECTIONS}",
        "laplacian": "laplacian",
        "brightness": "brightness:LEVELS",
        "contrast": "contrast:FACTOR",
        "threshold": "threshold:otsu or threshold:LEVEL",
        **{name: f"{name}:SIZE, {name}:SIZE:ELEMENT or {name}:SIZE:ELEMENT:LEVELS" for name in RECIPES},
    }
)


def family(operations: Sequence[Operation]) -> str:
    """Returns a name for a list of operations, from a closed set."""
    if len(operations) > 1:
        return "list"
    name = operations[0].text.split(":")[0]
    return name if name in OPERATIONS else _CUSTOM
