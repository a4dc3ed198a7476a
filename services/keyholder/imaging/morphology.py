"""Morphology of one picture: the evaluator counts under encryption, the keyholder decides by the counts."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from blindsight.trusted.imaging import borders, morphology
from blindsight.trusted.imaging.borders import Border
from blindsight.trusted.imaging.morphology import Bytes, Extreme, Morphology, Packing
from services.keyholder.imaging import memory_estimates
from services.keyholder.imaging.engine import (
    PlaneEngine,
    PlaneScheme,
    Progress,
    RoundTrip,
    Shape,
    Transformed,
    Values,
)

# Limit of one call to the evaluator, in squares with sides of `_SIDE` pixels: the keyholder then holds 40 MiB
# of planes, and as much of results.
_SQUARES_AT_ONCE = 8192
_SIDE = 32

# A channel, and a group of its binary planes.
Part = tuple[int, int]
Masks = dict[Extreme, Bytes]


@dataclass(frozen=True)
class MorphologyPlan:
    """The plan of one morphological operation.

    Attributes:
        step: the operation.
        packing: how its levels are packed into numbers.
        shape: shape of the picture, which is no smaller than the element.
        border: how the picture is padded; None if pixels outside do not count.
    """

    step: Morphology
    packing: Packing
    shape: Shape
    border: Border | None

    @classmethod
    def of(cls, step: Morphology, scheme: PlaneScheme, shape: Shape, border: Border | None) -> MorphologyPlan:
        """Returns a plan that packs as many levels into a number as fit.

        Raises:
            InvalidArgument: if the picture is smaller than the element, or counts would overflow.
        """
        step.require_room(*shape[1:])
        made = cls(step, Packing.of(step.element, step.levels, scheme.room), shape, border)
        made.trip(made.batches[0], scheme)
        return made

    @cached_property
    def batches(self) -> tuple[tuple[Part, ...], ...]:
        """The parts that each call counts; several calls if one would take too much memory."""
        channels, height, width = self.shape
        parts = tuple(itertools.product(range(channels), range(self.packing.groups)))
        at_once = max(1, _SQUARES_AT_ONCE // (-(-height // _SIDE) * -(-width // _SIDE)))
        return tuple(parts[start : start + at_once] for start in range(0, len(parts), at_once))

    def trip(self, batch: tuple[Part, ...], scheme: PlaneScheme) -> RoundTrip:
        """Returns the round trip that counts a batch."""
        _, height, width = self.shape
        return scheme.trip((len(batch), height, width), self.packing.element.reach, [self.packing.kernel])

    @property
    def memory_bytes(self) -> int:
        """Estimated memory that the operation takes in addition to the picture."""
        return memory_estimates.of_counts(self.shape, len(self.batches[0]))


async def morph(
    plan: MorphologyPlan, scheme: PlaneScheme, engine: PlaneEngine, planes: Bytes
) -> AsyncGenerator[Progress | Bytes, None]:
    """Yields progress, and the resulting pixels, uint8 [channels, height, width], last.

    Args:
        scheme: the scheme of the plan and of the engine.
        planes: uint8 [channels, height, width].

    Raises:
        BlindsightError: see `PlaneEngine.transform`.
    """
    found = [await asyncio.to_thread(morphology.ranks, planes, plan.packing.levels)]
    for wanted in plan.step.recipe.trips:
        pass_ = _Pass(plan, scheme, engine, found[-1])
        async with aclosing(pass_.run(wanted)) as progresses:
            async for progress in progresses:
                yield progress
        found += [pass_.ranks[one] for one in wanted]
    yield await asyncio.to_thread(plan.step.finished, found)


class _Pass:
    """One erosion, dilation or both of a picture.

    Attributes:
        ranks: ranks of the smallest and of the largest neighbours, as far as they are counted.
    """

    def __init__(self, plan: MorphologyPlan, scheme: PlaneScheme, engine: PlaneEngine, ranked: Bytes) -> None:
        self.ranks: Masks = {}
        self._plan, self._scheme, self._engine = plan, scheme, engine
        element = plan.packing.element
        self._padded = borders.pad(ranked, element.reach, plan.border or Border.CONSTANT)
        self._full: int | npt.NDArray[np.int32] = element.points
        if plan.border is None:
            self._full = element.inside(*plan.shape[1:])

    async def run(self, wanted: tuple[Extreme, ...]) -> AsyncGenerator[Progress, None]:
        """Has the evaluator count, decides the ranks by the counts, and yields progress."""
        self.ranks = {one: np.zeros(self._plan.shape, np.uint8) for one in wanted}
        parts, done = sum(map(len, self._plan.batches)), 0
        for batch in self._plan.batches:
            numbers = await asyncio.to_thread(self._packed, batch)
            answers = self._engine.transform(self._plan.trip(batch, self._scheme), numbers)
            async with aclosing(answers):
                async for answer in answers:
                    if isinstance(answer, Transformed):
                        await asyncio.to_thread(self._decide, batch, answer.values[0])
                    else:
                        whole = answer.total * parts // len(batch)
                        yield Progress(answer.stage, done * whole // parts + answer.done, whole)
            done += len(batch)

    def _packed(self, batch: tuple[Part, ...]) -> npt.NDArray[np.int32]:
        packing = self._plan.packing
        return np.stack([packing.pack(self._padded[channel], group) for channel, group in batch])

    def _decide(self, batch: tuple[Part, ...], values: Values) -> None:
        """Adds to each pixel's rank, the number of levels that its smallest or largest neighbour reaches."""
        for (channel, group), counted in zip(batch, values, strict=True):
            for counts in self._plan.packing.counts(counted, group):
                for extreme, ranks in self.ranks.items():
                    ranks[channel] += counts == self._full if extreme is Extreme.LEAST else counts > 0
