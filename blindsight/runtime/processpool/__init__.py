"""Expendable worker processes: native code runs there, and may die there.

Every worker has a socket of its own to this process.  The standard library's executor lets all of them write
into one pipe, of which this process holds both ends: a worker that is killed in the middle of a result leaves
it waiting for the rest for ever.  Here the socket ends with the worker.  The task that was interrupted is run
once more by a new worker, so tasks must be safe to repeat (they are computations); the other workers notice
nothing.  A task that kills its worker twice is reported as unavailable.

A task is a dataclass, `await pool.run(task)` the result of the function that a table names for its type: a
new one is a dataclass, a function, and a row of the table.
"""

from blindsight.runtime.processpool.order import in_order
from blindsight.runtime.processpool.pool import WorkerPool
from blindsight.runtime.processpool.task import Compute, Ready, Task, compute_table

__all__ = ["Compute", "Ready", "Task", "WorkerPool", "compute_table", "in_order"]
