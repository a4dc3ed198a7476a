"""What the key sets of one keyholder process share: connections, worker processes, turns and memory."""

from __future__ import annotations

import asyncio

from blindsight.parameters import PARAMETER_SETS
from blindsight.runtime.memory_budget import MemoryBudget
from blindsight.runtime.threads import Threads
from blindsight.trusted.clients import EvaluatorClient, StorageClient
from blindsight.trusted.columns.compiling import compile_all
from blindsight.trusted.crypto.pool import Processes
from services.keyholder import metrics
from services.keyholder.operations.turns import Turns

# Jobs of image processing that may wait for memory; each holds the files of its pictures, of at most 64 MiB.
MOST_WAITING = 16


class Machine:
    """The part of a keyholder process that has no key; each `Keyholder` has one key set, and uses this.

    Args:
        storage, evaluator: clients of the untrusted services, closed with this object.
        workers: number of processes that decode and embed, and of each key set's that encrypt and decrypt.
        combine_seconds: the longest time of a weighted sum, by an estimate.
        imaging_bytes: memory of all image processing at once.

    Attributes:
        processes: the processes that open photos, and what forks those that have keys.
        threads: run the arithmetic of searches.
        turns: of all that is scored.
        imaging: the memory of image processing.
    """

    def __init__(
        self,
        storage: StorageClient,
        evaluator: EvaluatorClient,
        workers: int,
        combine_seconds: float,
        imaging_bytes: int,
    ) -> None:
        self.storage = storage
        self.evaluator = evaluator
        self.workers = workers
        self.combine_seconds = combine_seconds
        self.processes = Processes(workers, metrics.CRYPTO)
        self.threads = Threads(workers, "columns")
        # Two at a time are done sooner than one after the other, but each of them later.
        self.turns = Turns(max(2, workers // 2), shared_places=max(1, workers // 2))
        self.imaging = budget = MemoryBudget(imaging_bytes, "image processing", MOST_WAITING)
        metrics.IMAGING_LIMIT_BYTES.read_by(lambda: budget.total_bytes)
        metrics.IMAGING_HELD_BYTES.read_by(lambda: budget.held_bytes)
        metrics.IMAGING_WAITING_JOBS.read_by(lambda: budget.waiting)

    async def start(self) -> None:
        """Starts the processes without keys, and loads compiled code."""
        sets = PARAMETER_SETS.values()
        await asyncio.gather(self.processes.warm(), *(self.threads.run(compile_all, one) for one in sets))

    async def close(self) -> None:
        """Closes all of it; close the keyholders that use it first."""
        await asyncio.to_thread(self.processes.close)
        await asyncio.to_thread(self.threads.close)
        await self.storage.close()
        await self.evaluator.close()
