"""Morphology of one picture: counts from the evaluator, decisions here."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing

import numpy as np
import numpy.typing as npt

from blindsight.trusted.imaging import borders, morphology
from blindsight.trusted.imaging.borders import Border
from blindsight.trusted.imaging.morphology import Bytes, Extreme, Morphology, Packing
from services.keyholder.imaging.engine import PlaneEngine, Progress, Transformed, Values

# Of one call to the evaluator, in squares of `_SIDE` pixels: what the keyholder holds meanwhile is 40 MiB of
# planes, and as many results.
_SQUARES_AT_ONCE = 8192
_SIDE = 32

# A channel, and a group of its binary planes.
Part = tuple[int, int]
Masks = dict[Extreme, Bytes]


async def morph(
    step: Morphology, packing: Packing, engine: PlaneEngine, planes: Bytes, border: Border | None
) -> AsyncGenerator[Progress | Bytes, None]:
    """Tells how far it is, and at last the pixels.

    Args:
        planes: uint8 [channels, height, width], no smaller than the element.
        border: None: what is outside does not count.

    Raises:
        BlindsightError: see `PlaneEngine.transform`.
    """
    found = [await asyncio.to_thread(morphology.ranks, planes, packing.levels)]
    for wanted in step.recipe.trips:
        trip = _Trip(packing, engine, found[-1], border)
        async with aclosing(trip.run(wanted)) as progresses:
            async for progress in progresses:
                yield progress
        found += [trip.ranks[one] for one in wanted]
    yield await asyncio.to_thread(step.finished, found)


class _Trip:
    """All that is counted of one picture; several calls where one would hold too much.

    Attributes:
        ranks: of the smallest and of the largest neighbours, as far as they are known.
    """

    def __init__(self, packing: Packing, engine: PlaneEngine, ranked: Bytes, border: Border | None) -> None:
        self.ranks: Masks = {}
        self._packing = packing
        self._engine = engine
        self._reach = packing.element.reach
        self._padded = borders.pad(ranked, self._reach, border or Border.CONSTANT)
        self._full: int | npt.NDArray[np.int32] = packing.element.points
        if border is None:
            self._full = packing.element.inside(*ranked.shape[1:])
        self._shape = ranked.shape

    async def run(self, wanted: tuple[Extreme, ...]) -> AsyncGenerator[Progress, None]:
        """Counts, and decides."""
        self.ranks = {one: np.zeros(self._shape, np.uint8) for one in wanted}
        parts = list(itertools.product(range(self._shape[0]), range(self._packing.groups)))
        done = 0
        for batch in self._batches(parts):
            numbers = await asyncio.to_thread(self._packed, batch)
            answers = self._engine.transform(numbers, self._reach, [self._packing.kernel])
            async with aclosing(answers):
                async for answer in answers:
                    if isinstance(answer, Transformed):
                        await asyncio.to_thread(self._decide, batch, answer.values[0])
                    else:
                        whole = answer.total * len(parts) // len(batch)
                        yield Progress(answer.stage, done * whole // len(parts) + answer.done, whole)
            done += len(batch)

    def _batches(self, parts: list[Part]) -> Iterator[list[Part]]:
        squares = -(-self._shape[1] // _SIDE) * -(-self._shape[2] // _SIDE)
        at_once = max(1, _SQUARES_AT_ONCE // squares)
        for start in range(0, len(parts), at_once):
            yield parts[start : start + at_once]

    def _packed(self, batch: list[Part]) -> npt.NDArray[np.int32]:
        return np.stack([self._packing.pack(self._padded[channel], group) for channel, group in batch])

    def _decide(self, batch: list[Part], values: Values) -> None:
        """A pixel's rank is the number of levels that its smallest or largest neighbour reaches."""
        for (channel, group), counted in zip(batch, values, strict=True):
            for counts in self._packing.counts(counted, group):
                for extreme, ranks in self.ranks.items():
                    ranks[channel] += counts == self._full if extreme is Extreme.LEAST else counts > 0
