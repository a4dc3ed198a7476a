"""A pool of expendable worker processes: native code runs there, and may crash there.

Workers are forked by a process that has imported what they need (`forkserver`).  Every worker has a socket of
its own to this process.  In the standard library's executor all workers write into one pipe, of which this
process holds both ends: a worker that is killed in the middle of a result leaves it waiting for the rest for
ever.  Here the socket is closed with the worker.  The interrupted task is run once more by a new worker, so
tasks must be safe to repeat (they are computations); the other workers are not affected.  A task that kills
its worker twice is reported as unavailable.

A task is a dataclass, and a table names the function of its type.  `await pool.run(task)` returns the
function's result.  To add one: a dataclass, a function, and a row of the table.  Workers are sent pickles and
send none: what they answer is parsed as the type that the task returns, and anything else ends the worker.
"""

from blindsight.runtime.processpool.answers import WorkerError
from blindsight.runtime.processpool.order import in_order
from blindsight.runtime.processpool.pool import WorkerPool
from blindsight.runtime.processpool.task import Compute, Ready, Task, compute_table

__all__ = ["Compute", "Ready", "Task", "WorkerError", "WorkerPool", "compute_table", "in_order"]
