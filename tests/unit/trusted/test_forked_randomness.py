"""Workers are copies of one process: nothing that one of them draws may come again in another."""

from __future__ import annotations

import asyncio

from support.draws import draw
from support.worker_tasks import COMPUTE, Call

from blindsight.runtime.processpool import WorkerPool

WORKERS = 3


async def test_workers_of_one_fork_server_draw_nothing_that_another_draws():
    # What the fork server has drawn itself before is in every copy.
    pool = WorkerPool(WORKERS, COMPUTE, prepare=Call.of(draw))
    drawn = await asyncio.gather(*(pool.run(Call.of(draw)) for _ in range(WORKERS)))
    await asyncio.to_thread(pool.close)
    assert len({process for process, _ in drawn}) == WORKERS
    for kind in zip(*(values for _, values in drawn), strict=True):
        assert len(set(kind)) == WORKERS
