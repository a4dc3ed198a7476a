"""Admission of jobs: each is planned, waits in order of arrival until its plan's memory is free, and runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Generic, Protocol, TypeVar

from blindsight.runtime.memory_budget import MemoryBudget
from services.keyholder.alarms.alarms import Alarms
from services.keyholder.imaging.engine import Progress, Stage
from services.keyholder.imaging.sources import Source, collections_of, items_of
from services.keyholder.operations.naming import naming

Settings_contra = TypeVar("Settings_contra", contravariant=True)
Given_contra = TypeVar("Given_contra", contravariant=True)
Made_co = TypeVar("Made_co", covariant=True)


class Plan(Protocol):
    """An immutable plan of a job: everything that is known before its pictures are decoded."""

    @property
    def memory_bytes(self) -> int:
        """Estimate of the most memory that the job takes; see `memory_estimates`."""


P = TypeVar("P", bound=Plan)


class Job(Protocol[Settings_contra, Given_contra, P, Made_co]):
    """A kind of job, which is planned and then run."""

    async def plan(self, settings: Settings_contra, given: Given_contra, /) -> P:
        """Plans the job.

        Raises:
            BlindsightError: if the job cannot be done, as far as the headers of its pictures show.
        """

    def run(self, plan: P, /) -> AsyncGenerator[Progress | Made_co, None]:
        """Runs the job: yields progress, and the result last."""


class Admitted(Generic[Settings_contra, Given_contra, P, Made_co]):
    """A kind of job whose jobs begin when there is memory for them.

    Args:
        job: the kind.
        budget: memory that all kinds share.
        alarms: are told of answers that are refused.
        sources: of what is given: their collections are named to alarms, and their items in errors.
    """

    def __init__(
        self,
        job: Job[Settings_contra, Given_contra, P, Made_co],
        budget: MemoryBudget,
        alarms: Alarms,
        sources: Callable[[Given_contra], Sequence[Source]],
    ) -> None:
        self._job = job
        self._budget = budget
        self._alarms = alarms
        self._sources = sources

    async def run(
        self, settings: Settings_contra, given: Given_contra
    ) -> AsyncGenerator[Progress | Made_co, None]:
        """Plans a job and runs it; the job keeps its memory until its result was taken.

        Raises:
            ResourceExhausted: if the job needs more than the whole budget, or too many jobs wait.
            BlindsightError: if the job raises it.
        """
        sources = self._sources(given)
        with self._alarms.watching(collections_of(*sources)):
            plan = await self._job.plan(settings, given)
            self._budget.require(plan.memory_bytes)
            if not self._budget.has_room(plan.memory_bytes):
                yield Progress(Stage.WAIT, 0, 1)
            async with self._budget.reserve(plan.memory_bytes), aclosing(self._job.run(plan)) as answers:
                with naming(*items_of(*sources)):
                    async for answer in answers:
                        yield answer
