"""The job that subtracts two pictures, under any scheme."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging.finishing import Kind, Picture
from blindsight.trusted.imaging.images import Colours
from services.keyholder import metrics
from services.keyholder.imaging import engines, memory_estimates
from services.keyholder.imaging.engine import Account, PlaneEngine, Progress, Shape, Transformed, Values
from services.keyholder.imaging.engines import DEFAULT_SCHEME, AnyScheme, Engines
from services.keyholder.imaging.ring_engine import RingEngine, RingScheme
from services.keyholder.imaging.sources import Encrypted, Known, Opened, Pictures, Plain, Source, items_of
from services.keyholder.operations.naming import naming, of_photo

LARGEST_THRESHOLD = 254
SCHEMES = (*engines.SCHEMES, "scramble")


class Mode(StrEnum):
    """Presentations of a signed difference."""

    SIGNED = "signed"
    ABSOLUTE = "absolute"
    THRESHOLD = "threshold"


@dataclass(frozen=True, slots=True)
class DifferenceSettings:
    """Settings of a difference of pictures.

    Attributes:
        scheme: the scheme's name; empty for that of a stored photo, or bfv without one.
        mode: the presentation of the difference.
        threshold: in mode threshold, larger magnitudes are white.
        colours: the pictures' colours.
        key_bits: key size of an additive scheme; None for its default.
        views: whether pictures of what the evaluator saw are wanted.

    Raises:
        InvalidArgument: if the scheme is unknown, or the threshold or the key size is invalid.
    """

    scheme: str = ""
    mode: Mode = Mode.SIGNED
    threshold: int = 0
    colours: Colours = Colours.AS_THEY_ARE
    key_bits: int | None = None
    views: bool = False

    def __post_init__(self) -> None:
        if self.scheme and self.scheme not in SCHEMES:
            raise InvalidArgument(f"scheme {self.scheme!r}, want one of {', '.join(SCHEMES)}")
        if not 0 <= self.threshold <= LARGEST_THRESHOLD:
            raise InvalidArgument(f"threshold of {self.threshold}, want 0 to {LARGEST_THRESHOLD}")
        engines.require_key_bits(self.scheme, self.key_bits)


@dataclass(frozen=True, slots=True)
class Differed:
    """The result of a difference.

    Attributes:
        picture: the difference as the mode presents it.
        minimum, maximum: extremes of the signed difference.
        differing: number of values that are not 0.
        over: number of values whose magnitude is over the threshold.
        account: the job's costs.
    """

    picture: Picture
    minimum: int
    maximum: int
    differing: int
    over: int
    account: Account


@dataclass(frozen=True, slots=True, eq=False)
class DifferencePlan:
    """The plan of a difference.

    Attributes:
        settings: the caller's settings.
        pictures: A and B before they are opened, of the same height and width.
        scheme: the scheme under which they are subtracted.
        base: the stored photo whose parameter set and tiles are used; None to encrypt both pictures anew.
        decrypted: for A and for B, why stored planes must be decrypted; empty if they need not be.
    """

    settings: DifferenceSettings
    pictures: tuple[Known, Known]
    scheme: AnyScheme
    base: Encrypted | None
    decrypted: tuple[str, str]

    @property
    def shape(self) -> Shape:
        """The shape of both pictures; in colour if one of them is."""
        return max(one.shape for one in self.pictures)

    @property
    def view_pixels(self) -> int:
        """Pixels of the pictures of what the evaluator saw; 0 if they are not wanted."""
        return self.shape[1] * self.shape[2] if self.settings.views else 0

    @property
    def memory_bytes(self) -> int:
        """Estimated memory for both pictures and their difference."""
        return memory_estimates.of_difference(self.shape, self.scheme.value_bytes)


Answers = AsyncGenerator[Progress | Transformed, None]


class Difference:
    """The kind of job that subtracts pictures.

    Args:
        pictures: reads the pictures.
        engines: makes the engine of each job.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def plan(self, settings: DifferenceSettings, sources: tuple[Source, Source]) -> DifferencePlan:
        """Plans how pictures are subtracted.

        Raises:
            InvalidArgument: if the pictures have different sizes; it names both.
            InvalidImage: if a source is not an image, by its header.
            NotFound: if a photo does not exist, or has no planes.
        """
        first, second = await self._pictures.look_all(sources, settings.colours)
        with naming(*items_of(*sources)):
            _check_sizes(first, second)
        base = _base(settings.scheme, first, second)
        scheme = RingScheme(base.parameters) if base is not None else _scheme(settings, first, second)
        decrypted = _why_decrypted(first, scheme, base), _why_decrypted(second, scheme, base)
        return DifferencePlan(settings, (first, second), scheme, base, decrypted)

    async def run(self, plan: DifferencePlan) -> AsyncGenerator[Progress | Differed, None]:
        """Yields progress, and the result last.

        Raises:
            InvalidImage: if a picture cannot be decoded.
            BlindsightError: see `PlaneEngine.difference`.
        """
        started = time.perf_counter()
        engine = self._engines.start(plan.scheme, plan.view_pixels)
        account, answers = engine.account, await self._answers(plan, engine)
        values: Values | None = None
        with metrics.IMAGING_SECONDS.labels("difference", account.scheme).time():
            async with aclosing(answers):
                async for answer in answers:
                    if isinstance(answer, Transformed):
                        values = answer.values[0]
                    else:
                        yield answer
        if values is None:
            raise RuntimeError("an engine's last word is its result")
        account.total_seconds = time.perf_counter() - started
        yield _differed(plan.settings, values, account)

    async def _answers(self, plan: DifferencePlan, engine: PlaneEngine) -> Answers:
        usable = []
        reasons = zip("AB", plan.pictures, plan.decrypted, strict=True)
        for number, (name, known, why) in enumerate(reasons):
            with of_photo(number):
                picture = await self._pictures.open(known)
            if why:
                picture = await self._pictures.decrypted(picture, engine.account, f"{name}: {why}")
            usable.append(picture)
        if plan.base is not None and isinstance(engine, RingEngine):
            minuend, subtrahend = usable
            _add_remarks(engine.account, minuend, subtrahend)
            return engine.difference_stored(minuend.planes, subtrahend.planes, plan.base.layout)
        plain = _same_colours(*(one for one in usable if isinstance(one, Plain)))
        _add_remarks(engine.account, *plain)
        return engine.difference(*(one.planes for one in plain))


def _why_decrypted(one: Known, scheme: AnyScheme, base: Encrypted | None) -> str:
    """Returns why a stored photo cannot be subtracted as it is; empty if it can, or for a file."""
    if not isinstance(one, Encrypted):
        return ""
    if why := one.unusable(scheme):
        return why
    if base is None:
        return "one picture is grey and one is not"
    if one.layout != base.layout:
        halos = one.layout.halo, base.layout.halo
        return f"stored planes have a halo of {halos[0]} pixels, and the other photo's of {halos[1]}"
    return ""


def _base(scheme: str, first: Known, second: Known) -> Encrypted | None:
    """Returns the stored photo whose parameter set and tiles are used for both; None to encrypt both anew."""
    if first.shape != second.shape:
        return None
    for one in (first, second):
        if isinstance(one, Encrypted) and scheme in ("", one.scheme) and not one.converted:
            return one
    return None


def _scheme(settings: DifferenceSettings, *pictures: Known) -> AnyScheme:
    """Returns the scheme of the settings, else that of a stored photo, else the default."""
    stored = [one.scheme for one in pictures if isinstance(one, Encrypted)]
    name = settings.scheme or (stored[0] if stored else DEFAULT_SCHEME)
    return engines.scheme(name, settings.key_bits) if name in engines.SCHEMES else engines.additive(name)


def _check_sizes(first: Known, second: Known) -> None:
    if first.shape[1:] != second.shape[1:]:
        sizes = [f"{one.shape[2]} x {one.shape[1]}" for one in (first, second)]
        raise InvalidArgument(f"A is {sizes[0]} pixels and B is {sizes[1]}, want the same size")


def _same_colours(first: Plain, second: Plain) -> tuple[Plain, Plain]:
    if first.shape == second.shape:
        return first, second
    return first.in_colour(), second.in_colour()


def _add_remarks(account: Account, first: Opened, second: Opened) -> None:
    for name, one in (("A", first), ("B", second)):
        if isinstance(one, Plain) and one.remark:
            account.remarks.append(f"{name}: {one.remark}")


def _differed(settings: DifferenceSettings, values: Values, account: Account) -> Differed:
    magnitudes = np.abs(values)
    over = magnitudes > settings.threshold
    if settings.mode is Mode.SIGNED:
        picture = Picture(Kind.SIGNED, values)
    elif settings.mode is Mode.ABSOLUTE:
        picture = Picture(Kind.PIXELS, magnitudes.astype(np.uint8))
    else:
        picture = Picture(Kind.PIXELS, np.where(over, 255, 0).astype(np.uint8))
    counts = int(np.count_nonzero(values)), int(np.count_nonzero(over))
    return Differed(picture, int(values.min()), int(values.max()), *counts, account)
