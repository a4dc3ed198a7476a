"""Filters of one picture, as whole jobs: kernels, borders, round trips, and what the keyholder finishes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import numpy as np

from blindsight import metrics
from blindsight.errors import InvalidArgument
from blindsight.trusted.keyholder.imaging import borders, filters, finishing
from blindsight.trusted.keyholder.imaging.borders import Border
from blindsight.trusted.keyholder.imaging.filters import Operation, Reading, Step
from blindsight.trusted.keyholder.imaging.finishing import Picture
from blindsight.trusted.keyholder.imaging.images import Colours
from blindsight.trusted.keyholder.imaging.quantising import Quantised, quantise
from blindsight.trusted.keyholder.processing import engines
from blindsight.trusted.keyholder.processing.engine import (
    Account,
    PlaneEngine,
    Progress,
    Stage,
    Transformed,
    Values,
)
from blindsight.trusted.keyholder.processing.engines import Engines
from blindsight.trusted.keyholder.processing.pictures import Encrypted, Opened, Pictures, Plain, Source
from blindsight.trusted.keyholder.processing.ring import RingEngine


@dataclass(frozen=True, slots=True)
class Settings:
    """How a picture is to be filtered.

    Attributes:
        operations: one after the other.
        scheme: empty for bfv; left empty for a stored photo, whose planes have one.
        border: what lies beyond the edge.
        colours: of a file's pixels.
        key_bits: of paillier; None for its default.

    Raises:
        InvalidArgument: for key bits of another scheme.
    """

    operations: tuple[Operation, ...]
    scheme: str = ""
    border: Border = Border.REFLECT
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
        account: what it took.
    """

    picture: Picture
    error_bound: float
    account: Account


class Filter:
    """Filters pictures.

    Args:
        pictures, engines: what it works with.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def run(self, settings: Settings, source: Source) -> AsyncIterator[Progress | Filtered]:
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
        _check_order(steps)
        picture = await self._pictures.open(source, settings.colours)
        engine = self._engine(settings, picture)
        kernels = [quantise(step.maps, engine.room) for step in steps]
        labels = filters.family(settings.operations), engine.account.scheme
        with metrics.IMAGING_SECONDS.labels(*labels).time():
            job = _Job(self._pictures, engine, settings.border, picture)
            for step, integers in zip(steps, kernels, strict=True):
                async for progress in job.step(step, integers):
                    yield progress
        engine.account.total_seconds = time.perf_counter() - started
        yield Filtered(job.result, max(one.error_bound for one in kernels), engine.account)

    def _engine(self, settings: Settings, picture: Opened) -> PlaneEngine:
        if isinstance(picture, Plain):
            return self._engines.of_scheme(settings.scheme, settings.key_bits)
        engine = self._engines.ring(picture.parameters)
        if settings.scheme not in ("", engine.account.scheme):
            raise InvalidArgument(
                f"scheme {settings.scheme!r} for a photo whose planes are of {engine.account.scheme}, "
                "want that or none"
            )
        return engine


def _check_order(steps: list[Step]) -> None:
    if any(step.reading is Reading.ORIENTATION for step in steps[:-1]):
        raise InvalidArgument(
            "operations after an orientation, want it to be the last: degrees are no pixels"
        )


class _Job:
    """One call, as far as it is.

    Attributes:
        result: of the last step.
    """

    result: Picture

    def __init__(self, pictures: Pictures, engine: PlaneEngine, border: Border, picture: Opened) -> None:
        self._pictures = pictures
        self._engine = engine
        self._border = border
        self._picture = picture
        if isinstance(picture, Plain) and picture.remark:
            engine.account.remarks.append(picture.remark)

    async def step(self, step: Step, integers: Quantised) -> AsyncIterator[Progress]:
        """One round trip, and what the keyholder does after it."""
        async with aclosing(await self._answers(step, integers)) as answers:
            async for answer in answers:
                if isinstance(answer, Transformed):
                    yield Progress(Stage.FINISH, 0, 1)
                    self.result = await asyncio.to_thread(_finished, step, answer.values, integers.scale)
                    yield Progress(Stage.FINISH, 1, 1)
                else:
                    yield answer
        if self.result.kind is finishing.Kind.PIXELS:
            self._picture = Plain(self.result.values.astype(np.uint8, copy=False))

    async def _answers(self, step: Step, integers: Quantised) -> AsyncGenerator[Progress | Transformed, None]:
        picture = self._picture
        if isinstance(picture, Encrypted):
            why = self._unusable(picture, step.reach)
            if not why and isinstance(self._engine, RingEngine):
                return self._engine.transform_stored(picture.planes, picture.layout, integers.kernels)
            self._engine.account.remarks.append(
                f"{why}: the keyholder decrypted them and encrypted them anew"
            )
            picture = await self._pictures.decrypted(picture)
        padded = await asyncio.to_thread(borders.pad, picture.planes, step.reach, self._border)
        return self._engine.transform(padded, step.reach, integers.kernels)

    def _unusable(self, picture: Encrypted, reach: int) -> str:
        """Why stored planes are not as they must be; empty when they are."""
        halo = picture.layout.halo
        if reach > halo:
            return f"stored planes have a halo of {halo} pixels, and the filter reaches {reach}"
        if reach and self._border is not Border.REFLECT:
            return "stored planes are mirrored beyond the border, and another border was asked for"
        return ""


def _finished(step: Step, values: Values, scale: int) -> Picture:
    """What no linear map can do, of results [maps, planes, height, width]."""
    reals = [finishing.scaled(one, scale) for one in values]
    if step.reading is Reading.MAGNITUDE:
        return finishing.magnitude(*reals)
    if step.reading is Reading.ORIENTATION:
        return finishing.direction(*reals)
    return finishing.pixels(reals[0]) if step.maps[0].keeps_brightness else finishing.signed(reals[0])
