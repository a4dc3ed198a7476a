"""Threads for compiled functions that release the GIL, so that a service answers while they run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class Threads:
    """A number of threads.

    Args:
        count: number of threads.
        name: the beginning of their names.
    """

    def __init__(self, count: int, name: str) -> None:
        self.count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix=name)

    async def run(
        self, function: Callable[Arguments, Result], *args: Arguments.args, **kwargs: Arguments.kwargs
    ) -> Result:
        """Calls a function in one of the threads."""
        call = self._pool.submit(function, *args, **kwargs)
        return await asyncio.wrap_future(call)

    def close(self) -> None:
        """Ends the threads, once what they run has ended."""
        self._pool.shutdown(cancel_futures=True)
