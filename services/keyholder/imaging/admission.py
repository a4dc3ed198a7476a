"""Jobs wait until there is memory for them, in the order in which they came."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from blindsight.runtime.memory_budget import MemoryBudget
from services.keyholder.imaging.engine import Progress, Stage

Settings_contra = TypeVar("Settings_contra", contravariant=True)
Given_contra = TypeVar("Given_contra", contravariant=True)
Made_co = TypeVar("Made_co", covariant=True)


class Job(Protocol[Settings_contra, Given_contra, Made_co]):
    """A kind of whole job."""

    async def memory_bytes(self, settings: Settings_contra, given: Given_contra, /) -> int:
        """What it takes at most, by an estimate; see `processing.memory`.

        Raises:
            BlindsightError: for what need not wait to be refused.
        """

    def run(
        self, settings: Settings_contra, given: Given_contra, /
    ) -> AsyncGenerator[Progress | Made_co, None]:
        """Tells how far it is, and at last the result."""


class Admitted(Generic[Settings_contra, Given_contra, Made_co]):
    """A kind of job whose jobs begin when there is room for them.

    Args:
        job: the kind.
        budget: of all kinds.
    """

    def __init__(self, job: Job[Settings_contra, Given_contra, Made_co], budget: MemoryBudget) -> None:
        self._job = job
        self._budget = budget

    async def run(
        self, settings: Settings_contra, given: Given_contra
    ) -> AsyncGenerator[Progress | Made_co, None]:
        """As the job's own; the memory is the job's until its result was taken.

        Raises:
            ResourceExhausted: when there is never so much memory, or too many wait for it.
            BlindsightError: as the job's own.
        """
        size_bytes = await self._job.memory_bytes(settings, given)
        self._budget.require(size_bytes)
        if not self._budget.has_room(size_bytes):
            yield Progress(Stage.WAIT, 0, 1)
        async with self._budget.reserve(size_bytes), aclosing(self._job.run(settings, given)) as answers:
            async for answer in answers:
                yield answer
