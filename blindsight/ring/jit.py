"""Typed decorators for numba, with machine code that is cached between processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.extending import intrinsic

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compiles a function on its first call and caches the machine code for the next process.

    The GIL is released.  numba's own parallel loops are not used: their threading layer must not be
    entered by two threads at once, and several threads call these functions.
    """
    return cast("Function", numba.njit(nogil=True, cache=True)(function))


def emitted(generator: Callable[..., tuple[Any, Callable[..., Any]]]) -> Any:
    """Makes an intrinsic for compiled functions from a generator of LLVM instructions.

    It is for the few inner loops whose vectors must stay in registers: numba's own code keeps them in memory.
    """
    return intrinsic(generator)


@compiled
def reduced(value: Any, prime: Any, reciprocal: float) -> Any:
    """Returns `value % prime` of a 64-bit value, by a float reciprocal: this vectorises, a division does not.

    Rounding changes the quotient by at most one (values below 2^64, primes of 26 bits or more: the
    quotient has at most 38 bits, a double has 53), which the two corrections undo.
    """
    quotient = numba.uint64(numba.float64(value) * reciprocal)
    rest = numba.int64(value - quotient * prime)
    if rest < 0:
        rest += numba.int64(prime)
    if rest >= numba.int64(prime):
        rest -= numba.int64(prime)
    return numba.uint32(rest)
