"""Jobs are planned, wait until there is memory for their plan, in the order in which they came, and run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from blindsight.runtime.memory_budget import MemoryBudget
from services.keyholder.imaging.engine import Progress, Stage

Settings_contra = TypeVar("Settings_contra", contravariant=True)
Given_contra = TypeVar("Given_contra", contravariant=True)
Made_co = TypeVar("Made_co", covariant=True)


class Plan(Protocol):
    """Everything about a job that is known before its pictures are decoded; it never changes."""

    @property
    def memory_bytes(self) -> int:
        """What the job takes at most, by an estimate; see `memory_estimates`."""


P = TypeVar("P", bound=Plan)


class Job(Protocol[Settings_contra, Given_contra, P, Made_co]):
    """A kind of whole job."""

    async def plan(self, settings: Settings_contra, given: Given_contra, /) -> P:
        """Decides what is to be done.

        Raises:
            BlindsightError: for what cannot be done, as far as headers of pictures tell.
        """

    def run(self, plan: P, /) -> AsyncGenerator[Progress | Made_co, None]:
        """Does it: tells how far it is, and at last the result."""


class Admitted(Generic[Settings_contra, Given_contra, P, Made_co]):
    """A kind of job whose jobs begin when there is room for them.

    Args:
        job: the kind.
        budget: of all kinds.
    """

    def __init__(self, job: Job[Settings_contra, Given_contra, P, Made_co], budget: MemoryBudget) -> None:
        self._job = job
        self._budget = budget

    async def run(
        self, settings: Settings_contra, given: Given_contra
    ) -> AsyncGenerator[Progress | Made_co, None]:
        """Plans a job and runs it; the memory is the job's until its result was taken.

        Raises:
            ResourceExhausted: when there is never so much memory, or too many wait for it.
            BlindsightError: as the job's own.
        """
        plan = await self._job.plan(settings, given)
        self._budget.require(plan.memory_bytes)
        if not self._budget.has_room(plan.memory_bytes):
            yield Progress(Stage.WAIT, 0, 1)
        async with self._budget.reserve(plan.memory_bytes), aclosing(self._job.run(plan)) as answers:
            async for answer in answers:
                yield answer
