"""Prepares redelivered photos one at a time and on record, so that no photo fails because of others.

A queue counts deliveries, but a photo that kills a worker causes all messages of that worker to be delivered
again.  So the count says nothing about a single photo, and no photo is given up because of it.  A trial does:
one photo is prepared with no other beside it, and the keyholder knows while that lasts.  A trial without an
end means that the worker, or one of its processes, died during it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress

from blindsight.errors import BlindsightError, Unavailable
from blindsight.runtime import logs
from blindsight.runtime.retry import retry
from blindsight.trusted.ingest.envelope import QueuedPhoto
from blindsight.trusted.ingest.pipeline import PreparedPhoto
from blindsight.wire.workers import Trial, TrialState
from services.worker.gate import Gate
from services.worker.keyholder_client import KeyholderClient

# Delay for each earlier death, so that photos with fewer deaths go first and are done before a dangerous one.
STEP_BACK_SECONDS = 0.5


class Quarantine:
    """The quarantine, which prepares photos one at a time.

    Args:
        keyholder: records the trials.
        gate: keeps other photos out meanwhile.
        warm: starts the worker processes, so that a trial lasts no longer than its photo takes.
        most: a photo is given up after this many deaths.
    """

    def __init__(
        self, keyholder: KeyholderClient, gate: Gate, warm: Callable[[], Awaitable[None]], most: int
    ) -> None:
        self._keyholder = keyholder
        self._gate = gate
        self._warm = warm
        self._most = most

    async def run(
        self, photo: QueuedPhoto, prepare: Callable[[], Awaitable[PreparedPhoto]]
    ) -> PreparedPhoto | None:
        """Prepares a photo; returns None if a process died over it, and it is to be tried again.

        Args:
            prepare: prepares the photo; raises Unavailable if its process died.

        Raises:
            Unavailable: if too many processes died over the photo, which is given up.
            BlindsightError: if something is wrong with the photo.
        """
        trial = Trial(photo.job_id, photo.number, os.urandom(16), TrialState.PLANNED)
        await self._step_back(await self._note(trial))
        async with self._gate.exclusive():
            with suppress(Unavailable):
                await self._warm()
            await self._note(trial.at(TrialState.BEGUN))
            try:
                prepared = await prepare()
            except Unavailable:
                logs.get().warning("process_died_over_a_photo", job=photo.job_id.hex(), item=photo.number)
                return None
            except BlindsightError:
                await self._note(trial.at(TrialState.OVER))
                raise
            await self._note(trial.at(TrialState.OVER))
            return prepared

    async def _step_back(self, deaths: int) -> None:
        if deaths >= self._most:
            raise Unavailable(f"opened alone {deaths} times, it killed the process that did so each time")
        await asyncio.sleep(deaths * STEP_BACK_SECONDS)

    async def _note(self, trial: Trial) -> int:
        return await retry("keyholder", lambda: self._keyholder.note_trial(trial))
