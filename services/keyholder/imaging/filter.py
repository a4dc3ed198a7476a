"""Filters of one picture, as whole jobs: kernels, borders, round trips, and what the keyholder finishes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging import borders, filters, finishing, morphology
from blindsight.trusted.imaging.borders import Border
from blindsight.trusted.imaging.filters import AnyStep, Operation, Reading, Step
from blindsight.trusted.imaging.finishing import Kind, Picture
from blindsight.trusted.imaging.images import Colours
from blindsight.trusted.imaging.morphology import MOST_LEVELS, Morphology, Packing, Threshold
from blindsight.trusted.imaging.quantising import Quantised, Room, quantise
from services.keyholder import metrics
from services.keyholder.imaging import engines
from services.keyholder.imaging import memory_estimates as memory
from services.keyholder.imaging.engine import Account, PlaneEngine, Progress, Stage, Transformed, Values
from services.keyholder.imaging.engines import Engines
from services.keyholder.imaging.morphology import morph
from services.keyholder.imaging.ring_engine import RingEngine
from services.keyholder.imaging.sources import Encrypted, Opened, Pictures, Plain, Source

# What must be known before anything is encrypted: kernels of integers, how planes are packed; None of a
# threshold.
Prepared = Quantised | Packing | None


@dataclass(frozen=True, slots=True)
class Settings:
    """How a picture is to be filtered.

    Attributes:
        operations: one after the other.
        scheme: empty for that of a stored photo, else bfv.
        border: what lies beyond the edge; None: a mirror for linear filters, nothing for morphology.
        colours: of the picture's pixels.
        key_bits: of paillier; None for its default.

    Raises:
        InvalidArgument: for key bits of another scheme.
    """

    operations: tuple[Operation, ...]
    scheme: str = ""
    border: Border | None = None
    colours: Colours = Colours.AS_THEY_ARE
    key_bits: int | None = None

    def __post_init__(self) -> None:
        engines.require_key_bits(self.scheme, self.key_bits)


@dataclass(frozen=True, slots=True)
class Filtered:
    """The result.

    Attributes:
        picture: the filtered one.
        error_bound: of a pixel, in grey levels, before rounding; of the worst step.
        levels: of grey, of the operation of morphology that has most; 0 without one.
        account: what it took.
    """

    picture: Picture
    error_bound: float
    levels: int
    account: Account


class Filter:
    """Filters pictures.

    Args:
        pictures, engines: what it works with.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def memory_bytes(self, settings: Settings, source: Source) -> int:
        """See `Job.memory_bytes`."""
        steps = filters.steps(settings.operations)
        room = self._engines.of_scheme(settings.scheme, settings.key_bits).room
        shape = await self._pictures.shape(source, settings.colours)
        return memory.of_filter(steps, shape, room, stacked=settings.scheme == engines.PAILLIER)

    async def run(self, settings: Settings, source: Source) -> AsyncGenerator[Progress | Filtered, None]:
        """Tells how far it is, and at last the result.

        Raises:
            InvalidArgument: for an operation that there is not, or that has no room, before anything
                is encrypted.
            InvalidImage: for a picture that is none.
            NotFound: for a photo that there is not, or that has no planes.
            BlindsightError: see `PlaneEngine.transform`.
        """
        started = time.perf_counter()
        steps = filters.steps(settings.operations)
        picture = await self._pictures.open(source, settings.colours)
        engine = self._engine(settings, picture)
        prepared = [_prepared(step, engine.room, picture) for step in steps]
        labels = filters.family(settings.operations), engine.account.scheme
        with metrics.IMAGING_SECONDS.labels(*labels).time():
            job = _Job(self._pictures, engine, settings.border, picture)
            for step, ready in zip(steps, prepared, strict=True):
                async for progress in job.step(step, ready):
                    yield progress
        engine.account.total_seconds = time.perf_counter() - started
        bounds = [one.error_bound for one in prepared if isinstance(one, Quantised)]
        levels = [one.levels for one in prepared if isinstance(one, Packing)]
        yield Filtered(job.result, max(bounds, default=0.0), max(levels, default=0), engine.account)

    def _engine(self, settings: Settings, picture: Opened) -> PlaneEngine:
        if isinstance(picture, Encrypted) and settings.scheme in ("", picture.scheme):
            return self._engines.ring(picture.parameters)
        return self._engines.of_scheme(settings.scheme, settings.key_bits)


def _prepared(step: AnyStep, room: Room, picture: Opened) -> Prepared:
    """Refuses what cannot be done."""
    channels, height, width = picture.shape
    if isinstance(step, Step):
        return quantise(step.maps, room)
    if isinstance(step, Morphology):
        step.require_room(height, width)
        return Packing.of(step.element, step.levels, room)
    if step.level is None and channels > 1:
        raise InvalidArgument(
            "Otsu's threshold of a picture in colour, want a grey one: colours grey, or --grey"
        )
    return None


class _Job:
    """One call, as far as it is.

    Attributes:
        result: of the last step.
    """

    result: Picture

    def __init__(
        self, pictures: Pictures, engine: PlaneEngine, border: Border | None, picture: Opened
    ) -> None:
        self._pictures = pictures
        self._engine = engine
        self._border = border
        self._picture = picture
        if isinstance(picture, Plain) and picture.remark:
            engine.account.remarks.append(picture.remark)

    async def step(self, step: AnyStep, ready: Prepared) -> AsyncIterator[Progress]:
        """The round trips of one step, and what the keyholder does."""
        if isinstance(step, Step) and isinstance(ready, Quantised):
            async for progress in self._linear(step, ready):
                yield progress
        elif isinstance(step, Morphology) and isinstance(ready, Packing):
            async for progress in self._morphology(step, ready):
                yield progress
        elif isinstance(step, Threshold):
            await self._threshold(step)
        if self.result.kind is Kind.PIXELS:
            self._picture = Plain(self.result.values.astype(np.uint8, copy=False))

    async def _linear(self, step: Step, integers: Quantised) -> AsyncIterator[Progress]:
        async with aclosing(await self._answers(step, integers)) as answers:
            async for answer in answers:
                if isinstance(answer, Transformed):
                    yield Progress(Stage.FINISH, 0, 1)
                    self.result = await asyncio.to_thread(_finished, step, answer.values, integers.scale)
                    yield Progress(Stage.FINISH, 1, 1)
                else:
                    yield answer

    async def _morphology(self, step: Morphology, packing: Packing) -> AsyncIterator[Progress]:
        plain = await self._plain(
            f"{step.name} counts in planes of levels, stored are planes of pixels",
            "the keyholder decrypted them and encrypted planes of levels",
        )
        self._engine.account.remarks.append(_levels_of(step, packing))
        async with aclosing(morph(step, packing, self._engine, plain.planes, self._border)) as answers:
            async for answer in answers:
                if isinstance(answer, Progress):
                    yield answer
                else:
                    self.result = Picture(Kind.PIXELS, answer)

    async def _threshold(self, step: Threshold) -> None:
        plain = await self._plain(
            "a threshold is for pixels in the clear", "the keyholder decrypted the stored planes"
        )
        level = morphology.otsu(plain.planes) if step.level is None else step.level
        whose = " (Otsu's)" if step.level is None else ""
        self._engine.account.remarks.append(
            f"threshold: 255 over {level}{whose}, else 0, by the keyholder alone: nothing was sent for it"
        )
        self.result = Picture(Kind.PIXELS, morphology.binarised(plain.planes, level))

    async def _plain(self, why: str, *then: str) -> Plain:
        """The picture in the clear, with remarks where it was not."""
        plain = await self._pictures.decrypted(self._picture, self._engine.account, why, *then)
        if isinstance(self._picture, Encrypted) and plain.remark:
            self._engine.account.remarks.append(plain.remark)
        return plain

    async def _answers(self, step: Step, integers: Quantised) -> AsyncGenerator[Progress | Transformed, None]:
        picture = self._picture
        if isinstance(picture, Encrypted):
            why = picture.unusable(self._engine.account, step.reach) or self._other_border(step.reach)
            if not why and isinstance(self._engine, RingEngine):
                return self._engine.transform_stored(picture.planes, picture.layout, integers.kernels)
            picture = await self._plain(why)
        border = self._border or Border.REFLECT
        padded = await asyncio.to_thread(borders.pad, picture.planes, step.reach, border)
        return self._engine.transform(padded, step.reach, integers.kernels)

    def _other_border(self, reach: int) -> str:
        """Why the border of stored planes is of no use; empty when it is of use."""
        if reach and self._border not in (None, Border.REFLECT):
            return "stored planes are mirrored beyond the border, and another border was asked for"
        return ""


def _levels_of(step: Morphology, packing: Packing) -> str:
    """For people."""
    reduced = f" (pixels brought to the nearest of {step.levels})" if 2 < step.levels < MOST_LEVELS else ""
    numbers = "1 number" if packing.groups == 1 else f"{packing.groups} numbers"
    element = f"{step.element.shape.value} of {step.element.size}"
    return f"{step.name}, {element}: {step.levels} levels of grey{reduced}, {numbers} a pixel"


def _finished(step: Step, values: Values, scale: int) -> Picture:
    """What no linear map can do, of results [maps, planes, height, width]."""
    reals = [finishing.scaled(one, scale) for one in values]
    if step.reading is Reading.MAGNITUDE:
        return finishing.magnitude(*reals)
    if step.reading is Reading.ORIENTATION:
        return finishing.direction(*reals)
    return finishing.pixels(reals[0]) if step.maps[0].keeps_brightness else finishing.signed(reals[0])
