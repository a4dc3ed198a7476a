"""The job that filters a picture: kernels, borders, round trips, and the steps after decryption."""

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
from blindsight.trusted.imaging.quantising import Quantised, quantise
from services.keyholder import metrics
from services.keyholder.imaging import engines, memory_estimates
from services.keyholder.imaging.engine import (
    Account,
    PlaneEngine,
    Progress,
    Shape,
    Stage,
    Transformed,
    Values,
)
from services.keyholder.imaging.engines import AnyScheme, Engines
from services.keyholder.imaging.morphology import MorphologyPlan, morph
from services.keyholder.imaging.paillier_engine import BlockTrip
from services.keyholder.imaging.ring_engine import RingEngine, RingScheme, TileTrip
from services.keyholder.imaging.sources import Encrypted, Known, Opened, Pictures, Plain, Source


@dataclass(frozen=True, slots=True)
class FilterSettings:
    """Settings of a filter job.

    Attributes:
        operations: operations in the order in which they are applied.
        scheme: the scheme's name; empty for that of a stored photo, or bfv without one.
        border: how the picture is padded; None mirrors it for linear filters and leaves outside pixels out
            for morphology.
        colours: the picture's colours.
        key_bits: key size of paillier; None for its default.

    Raises:
        InvalidArgument: if key bits are given for another scheme.
    """

    operations: tuple[Operation, ...]
    scheme: str = ""
    border: Border | None = None
    colours: Colours = Colours.AS_THEY_ARE
    key_bits: int | None = None

    def __post_init__(self) -> None:
        engines.require_key_bits(self.scheme, self.key_bits)


@dataclass(frozen=True, slots=True, eq=False)
class LinearPlan:
    """The plan of a step of linear maps, which takes one round trip.

    Attributes:
        step: the step.
        integers: its kernels of integers.
        trip: the round trip that applies them.
        shape: shape of the picture.
        decrypted: why stored planes must be decrypted for it; empty if the evaluator computes with them, or
            if there are none.
    """

    step: Step
    integers: Quantised
    trip: TileTrip | BlockTrip
    shape: Shape
    decrypted: str = ""

    @property
    def memory_bytes(self) -> int:
        """Estimated memory that the step takes in addition to the picture."""
        return memory_estimates.of_maps(self.step.maps, self.shape)


@dataclass(frozen=True, slots=True)
class ThresholdPlan:
    """The plan of a threshold, which the keyholder applies without the evaluator."""

    step: Threshold
    memory_bytes: int = 0


StepPlan = LinearPlan | MorphologyPlan | ThresholdPlan


@dataclass(frozen=True, slots=True, eq=False)
class FilterPlan:
    """The plan of a filter job.

    Attributes:
        picture: the picture before it is opened.
        scheme: the scheme of all steps.
        border: see `FilterSettings`.
        steps: steps in the order in which they run.
        family: a name for the operations from a closed set, for metrics.
    """

    picture: Known
    scheme: AnyScheme
    border: Border | None
    steps: tuple[StepPlan, ...]
    family: str

    @property
    def memory_bytes(self) -> int:
        """Estimated memory for the picture and for the step that takes most."""
        pictures = memory_estimates.of_pictures([self.picture.shape], self.scheme.value_bytes)
        return pictures + max(one.memory_bytes for one in self.steps)

    @property
    def error_bound(self) -> float:
        """Bound on the error of a pixel in grey levels, before rounding, in the worst step."""
        bounds = [one.integers.error_bound for one in self.steps if isinstance(one, LinearPlan)]
        return max(bounds, default=0.0)

    @property
    def levels(self) -> int:
        """The most grey levels of any morphology step; 0 if there is none."""
        return max((one.packing.levels for one in self.steps if isinstance(one, MorphologyPlan)), default=0)


@dataclass(frozen=True, slots=True)
class Filtered:
    """The result of a filter job.

    Attributes:
        picture: the filtered picture.
        error_bound, levels: see `FilterPlan`.
        account: the job's costs.
    """

    picture: Picture
    error_bound: float
    levels: int
    account: Account


class Filter:
    """The kind of job that filters a picture.

    Args:
        pictures: reads the pictures.
        engines: makes the engine of each job.
    """

    def __init__(self, pictures: Pictures, engines: Engines) -> None:
        self._pictures = pictures
        self._engines = engines

    async def plan(self, settings: FilterSettings, source: Source) -> FilterPlan:
        """Plans how a picture is filtered.

        Raises:
            InvalidArgument: if an operation or the scheme is unknown, or results could overflow.
            InvalidImage: if the source is not an image, by its header.
            NotFound: if a photo does not exist, or has no planes.
        """
        steps = filters.steps(settings.operations)
        scheme = engines.scheme(settings.scheme, settings.key_bits)
        picture = await self._pictures.look(source, settings.colours)
        if isinstance(picture, Encrypted) and settings.scheme in ("", picture.scheme):
            scheme = RingScheme(picture.parameters)
        stored = picture if isinstance(picture, Encrypted) else None
        plans: list[StepPlan] = []
        for step in steps:
            plans.append(_step_plan(step, scheme, picture.shape, settings.border, stored))
            stored = None  # the result of a step is in the clear
        family = filters.family(settings.operations)
        return FilterPlan(picture, scheme, settings.border, tuple(plans), family)

    async def run(self, plan: FilterPlan) -> AsyncGenerator[Progress | Filtered, None]:
        """Yields progress, and the result last.

        Raises:
            InvalidImage: if the picture cannot be decoded.
            BlindsightError: see `PlaneEngine.transform`.
        """
        started = time.perf_counter()
        engine = self._engines.start(plan.scheme)
        job = _Job(self._pictures, engine, plan, await self._pictures.open(plan.picture))
        with metrics.IMAGING_SECONDS.labels(plan.family, plan.scheme.name).time():
            for step in plan.steps:
                async for progress in job.step(step):
                    yield progress
        engine.account.total_seconds = time.perf_counter() - started
        yield Filtered(job.result, plan.error_bound, plan.levels, engine.account)


def _step_plan(
    step: AnyStep, scheme: AnyScheme, shape: Shape, border: Border | None, stored: Encrypted | None
) -> StepPlan:
    """Plans one step.

    Args:
        stored: the stored photo that the step begins with; None if its input is in the clear.

    Raises:
        InvalidArgument: if the step cannot be done.
    """
    if isinstance(step, Morphology):
        return MorphologyPlan.of(step, scheme, shape, border)
    if isinstance(step, Threshold):
        if step.level is None and shape[0] > 1:
            raise InvalidArgument(
                "Otsu's threshold of a picture in colour, want a grey one: colours grey, or --grey"
            )
        return ThresholdPlan(step)
    integers = quantise(step.maps, scheme.room)
    if stored is not None:
        why = stored.unusable(scheme, step.reach) or _other_border(border, step.reach)
        if not why:
            return LinearPlan(step, integers, TileTrip(1, stored.layout, integers.kernels), shape)
        return LinearPlan(step, integers, scheme.trip(shape, step.reach, integers.kernels), shape, why)
    return LinearPlan(step, integers, scheme.trip(shape, step.reach, integers.kernels), shape)


def _other_border(border: Border | None, reach: int) -> str:
    """Returns why the border of stored planes cannot be used; empty if it can."""
    if reach and border not in (None, Border.REFLECT):
        return "stored planes are mirrored beyond the border, and another border was asked for"
    return ""


class _Job:
    """The state of a running filter job.

    Attributes:
        result: the result of the last step.
    """

    result: Picture

    def __init__(self, pictures: Pictures, engine: PlaneEngine, plan: FilterPlan, picture: Opened) -> None:
        self._pictures = pictures
        self._engine = engine
        self._plan = plan
        self._picture = picture
        if isinstance(picture, Plain) and picture.remark:
            engine.account.remarks.append(picture.remark)

    async def step(self, plan: StepPlan) -> AsyncIterator[Progress]:
        """Runs one step: its round trips, and the keyholder's part after decryption."""
        if isinstance(plan, LinearPlan):
            async for progress in self._linear(plan):
                yield progress
        elif isinstance(plan, MorphologyPlan):
            async for progress in self._morphology(plan):
                yield progress
        else:
            await self._threshold(plan.step)
        if self.result.kind is Kind.PIXELS:
            self._picture = Plain(self.result.values.astype(np.uint8, copy=False))

    async def _linear(self, plan: LinearPlan) -> AsyncIterator[Progress]:
        async with aclosing(await self._answers(plan)) as answers:
            async for answer in answers:
                if isinstance(answer, Transformed):
                    yield Progress(Stage.FINISH, 0, 1)
                    self.result = await asyncio.to_thread(
                        _finished, plan.step, answer.values, plan.integers.scale
                    )
                    yield Progress(Stage.FINISH, 1, 1)
                else:
                    yield answer

    async def _answers(self, plan: LinearPlan) -> AsyncGenerator[Progress | Transformed, None]:
        picture, engine, trip = self._picture, self._engine, plan.trip
        if (
            isinstance(picture, Encrypted)
            and not plan.decrypted
            and isinstance(engine, RingEngine)
            and isinstance(trip, TileTrip)
        ):
            return engine.transform_stored(trip, picture.planes)
        plain = await self._plain(plan.decrypted)
        border = self._plan.border or Border.REFLECT
        padded = await asyncio.to_thread(borders.pad, plain.planes, plan.step.reach, border)
        return engine.transform(trip, padded)

    async def _morphology(self, plan: MorphologyPlan) -> AsyncIterator[Progress]:
        plain = await self._plain(
            f"{plan.step.name} counts in planes of levels, stored are planes of pixels",
            "the keyholder decrypted them and encrypted planes of levels",
        )
        self._engine.account.remarks.append(_levels_of(plan.step, plan.packing))
        async with aclosing(morph(plan, self._plan.scheme, self._engine, plain.planes)) as answers:
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
        """Returns the picture in the clear; adds remarks if it had to be decrypted."""
        plain = await self._pictures.decrypted(self._picture, self._engine.account, why, *then)
        if isinstance(self._picture, Encrypted) and plain.remark:
            self._engine.account.remarks.append(plain.remark)
        return plain


def _levels_of(step: Morphology, packing: Packing) -> str:
    """Returns a remark on the element, the levels and how they were packed."""
    reduced = f" (pixels brought to the nearest of {step.levels})" if 2 < step.levels < MOST_LEVELS else ""
    numbers = "1 number" if packing.groups == 1 else f"{packing.groups} numbers"
    element = f"{step.element.shape.value} of {step.element.size}"
    return f"{step.name}, {element}: {step.levels} levels of grey{reduced}, {numbers} a pixel"


def _finished(step: Step, values: Values, scale: int) -> Picture:
    """Scales results [maps, planes, height, width], and applies what is not linear."""
    reals = [finishing.scaled(one, scale) for one in values]
    if step.reading is Reading.MAGNITUDE:
        return finishing.magnitude(*reals)
    if step.reading is Reading.ORIENTATION:
        return finishing.direction(*reals)
    return finishing.pixels(reals[0]) if step.maps[0].keeps_brightness else finishing.signed(reals[0])
