"""The difference of two pictures, as a whole job under any scheme."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from enum import Enum

import numpy as np

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging.finishing import Kind, Picture
from blindsight.trusted.imaging.images import Colours
from services.keyholder import metrics
from services.keyholder.imaging import engines
from services.keyholder.imaging import memory_estimates as memory
from services.keyholder.imaging.engine import Account, PlaneEngine, Progress, Transformed, Values
from services.keyholder.imaging.engines import DEFAULT_SCHEME, Engines
from services.keyholder.imaging.ring_engine import RingEngine
from services.keyholder.imaging.sources import Encrypted, Opened, Pictures, Plain, Source

LARGEST_THRESHOLD = 254
SCHEMES = (*engines.SCHEMES, "scramble")


class Mode(Enum):
    """What becomes of a signed difference."""

    SIGNED = 1
    ABSOLUTE = 2
    THRESHOLD = 3


@dataclass(frozen=True, slots=True)
class Settings:
    """How pictures are to be compared.

    Attributes:
        scheme: empty for that of a stored photo, else bfv.
        mode: what is shown.
        threshold: with that mode: magnitudes over it are white.
        colours: of the pictures' pixels.
        key_bits: of an additive scheme; None for its default.
        views: whether pictures of what the evaluator saw are wanted.

    Raises:
        InvalidArgument: for what there is not.
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
    """The result.

    Attributes:
        picture: by the mode.
        minimum, maximum: of the signed difference.
        differing: values that are not 0.
        over: values whose magnitude is over the threshold.
        account: what it took.
    """

    picture: Picture
    minimum: int
    maximum: int
    differing: int
    over: int
    account: Account


Answers = AsyncGenerator[Progress | Transformed, None]


class Difference:
    """Subtracts pictures.

    Args:
        pictures, engines: what it works with.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def memory_bytes(self, settings: Settings, sources: tuple[Source, Source]) -> int:
        """See `Job.memory_bytes`."""
        shapes = [await self._pictures.shape(one, settings.colours) for one in sources]
        return memory.of_difference(shapes, stacked=settings.scheme not in ("", *engines.RING_SETS))

    async def run(
        self, settings: Settings, sources: tuple[Source, Source]
    ) -> AsyncGenerator[Progress | Differed, None]:
        """Tells how far it is, and at last the result.

        Raises:
            InvalidArgument: for pictures of different sizes, with both.
            InvalidImage: for a picture that is none.
            NotFound: for a photo that there is not, or that has no planes.
            BlindsightError: see `PlaneEngine.difference`.
        """
        started = time.perf_counter()
        first, second = [await self._pictures.open(one, settings.colours) for one in sources]
        _check_sizes(first, second)
        account, answers = await self._answers(settings, first, second)
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
        yield _differed(settings, values, account)

    async def _answers(self, settings: Settings, first: Opened, second: Opened) -> tuple[Account, Answers]:
        base = _base(settings.scheme, first, second)
        engine = self._engine(settings, base, first, second)
        account = engine.account
        usable = [
            one if isinstance(one, Plain) else await self._usable(name, one, base, account)
            for name, one in (("A", first), ("B", second))
        ]
        if base is not None and isinstance(engine, RingEngine):
            minuend, subtrahend = usable
            _add_remarks(account, minuend, subtrahend)
            return account, engine.difference_stored(minuend.planes, subtrahend.planes, base.layout)
        plain = _same_colours(*(one for one in usable if isinstance(one, Plain)))
        _add_remarks(account, *plain)
        return account, engine.difference(*(one.planes for one in plain))

    def _engine(
        self, settings: Settings, base: Encrypted | None, first: Opened, second: Opened
    ) -> PlaneEngine:
        pixels = first.shape[1] * first.shape[2] if settings.views else 0
        if base is not None:
            return self._engines.ring(base.parameters, pixels)
        scheme = settings.scheme or _scheme_of(first, second)
        if scheme in engines.SCHEMES:
            return self._engines.of_scheme(scheme, settings.key_bits, pixels)
        return self._engines.additive(scheme, view_pixels=pixels)

    async def _usable(self, name: str, one: Encrypted, base: Encrypted | None, account: Account) -> Opened:
        """A stored photo as it is, or decrypted where it cannot be subtracted so."""
        why = one.unusable(account)
        if not why and base is None:
            why = "one picture is grey and one is not"
        elif not why and base is not None and one.layout != base.layout:
            halos = one.layout.halo, base.layout.halo
            why = f"stored planes have a halo of {halos[0]} pixels, and the other photo's of {halos[1]}"
        return await self._pictures.decrypted(one, account, f"{name}: {why}") if why else one


def _base(scheme: str, first: Opened, second: Opened) -> Encrypted | None:
    """The stored photo whose parameter set and tiles both pictures are given; None: all is encrypted anew."""
    if first.shape != second.shape:
        return None
    for one in (first, second):
        if isinstance(one, Encrypted) and scheme in ("", one.scheme) and not one.converted:
            return one
    return None


def _scheme_of(*pictures: Opened) -> str:
    for one in pictures:
        if isinstance(one, Encrypted):
            return one.scheme
    return DEFAULT_SCHEME


def _check_sizes(first: Opened, second: Opened) -> None:
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


def _differed(settings: Settings, values: Values, account: Account) -> Differed:
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
