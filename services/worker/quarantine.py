"""Photos that come again are prepared alone and on record, so that none pays for what its neighbours did.

A queue counts deliveries, and whoever kills a worker has all that it held delivered once more.  So that count
says nothing of a photo, and no photo is given up for it.  A trial says something: one photo is prepared with
nothing beside it, and the keyholder knows while it is.  A trial without an end is a worker, or a process of
its, that died just then.
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
from blindsight.wire.imports import Trial, TrialState
from services.worker.gate import Gate
from services.worker.keyholder_client import KeyholderClient

# So those over which fewer died go first, and are out of danger when their turn has passed.
STEP_BACK_SECONDS = 0.5


class Quarantine:
    """Prepares photos one at a time.

    Args:
        keyholder: keeps the record.
        gate: keeps other photos out meanwhile.
        warm: starts the processes that prepare them, so that a trial lasts no longer than its photo takes.
        most: a photo over which so many died is given up.
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
        """Prepares a photo; None when a process died over it: it is to be tried again.

        Args:
            prepare: raises Unavailable when its process died.

        Raises:
            Unavailable: when too many died, and the photo is given up.
            BlindsightError: what is wrong with the photo.
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
