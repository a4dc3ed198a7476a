"""Tasks of worker processes: plain data, and a table that says which function does what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pkgutil import resolve_name
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Task(Generic[Result]):
    """What a worker process is asked to do, and the type of what comes back.

    A task is a frozen dataclass of plain data that pickles cheaply, large data as a name of shared memory.
    Its type has a row in the table of the pool that runs it.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # secrets, photos and vectors go through tasks


# The function of each type of task, as "module:function": a name, so that only workers import it.
Compute = Mapping[type[Task[Any]], str]


def compute_table(package: str, functions: Mapping[type[Task[Any]], str]) -> Compute:
    """Makes a table whose functions are all in the modules of one package."""
    return {task: f"{package}.{name}" for task, name in functions.items()}


@dataclass(frozen=True, slots=True)
class Ready(Task[None]):
    """Does nothing, in a worker that has started."""


def ready(_: Ready) -> None:
    """Does nothing."""


@cache
def function_of(name: str) -> Callable[[Task[Any]], Any]:
    """The function of a row of a table; its module is imported when it is asked for first."""
    function: Callable[[Task[Any]], Any] = resolve_name(name)
    return function
