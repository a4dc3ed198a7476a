"""Tasks of worker processes: plain data, and a table of the functions that run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pkgutil import resolve_name
from typing import Any, ClassVar, Generic, TypeVar

Result = TypeVar("Result")


class Task(Generic[Result]):
    """The base of tasks, generic in the type of the result.

    A task is a frozen dataclass of plain data that pickles cheaply; large data is passed in shared memory, by
    name.  Its type has a row in the table of the pool that runs it.  What a worker answers must be of exactly
    the type of the result; see `answers`.

    Attributes:
        most_bytes: no answer is longer.
    """

    __slots__ = ()

    most_bytes: ClassVar[int] = 1 << 31

    def check(self, result: Result) -> None:
        """Checks what its type does not say of an answer, if the worker may be hostile.

        Raises:
            ValueError: if this task cannot have this result; the message is one line.
        """

    def __repr__(self) -> str:
        return f"{type(self).__name__}(...)"  # without fields: tasks carry secrets, photos and vectors


# A task, and the name of its function.
Order = tuple[str, Task[Any]]
# The function of each type of task as "module:function": a name, so that only workers import it.
Compute = Mapping[type[Task[Any]], str]


def compute_table(package: str, functions: Mapping[type[Task[Any]], str]) -> Compute:
    """Returns a table whose functions are all in modules of one package."""
    return {task: f"{package}.{name}" for task, name in functions.items()}


@dataclass(frozen=True, slots=True)
class Ready(Task[None]):
    """A task that does nothing, to wait until a worker has started."""


def ready(_: Ready) -> None:
    """Does nothing."""


@cache
def function_of(name: str) -> Callable[[Task[Any]], Any]:
    """Returns the function of a table's row; imports its module at the first call."""
    function: Callable[[Task[Any]], Any] = resolve_name(name)
    return function
