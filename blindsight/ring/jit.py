"""Typed decorators for numba, with machine code that is cached between processes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.extending import intrinsic

from blindsight.errors import Unavailable

Function = TypeVar("Function", bound=Callable[..., object])


def compiled(function: Function) -> Function:
    """Compiles a function on its first call and caches the machine code for the next process.

    The GIL is released.  numba's own parallel loops are not used: their threading layer must not be
    entered by two threads at once, and several threads call these functions.

    Raises:
        Unavailable: if there is no folder for the machine code.
    """
    try:
        return cast("Function", numba.njit(nogil=True, cache=True)(function))
    except RuntimeError as error:
        raise Unavailable(f"no folder takes compiled code, want one in NUMBA_CACHE_DIR: {error}") from error


def emitted(signature: Any) -> Callable[[Callable[..., None]], Any]:
    """Makes a function for compiled code of one that writes its LLVM instructions.

    It is for the few inner loops whose vectors must stay in registers: numba's own code keeps them in memory.
    What is decorated is given llvmlite's builder, and the arguments.

    Args:
        signature: numba's, without a result.
    """

    def decorated(write: Callable[..., None]) -> Any:
        def generate(context: Any, builder: Any, _: Any, arguments: Any) -> Any:
            write(builder, *arguments)
            return context.get_dummy_value()

        def definition(_typing: Any, *_arguments: Any) -> Any:
            return signature, generate

        # numba asks for the names of arguments; the first, here the builder, is its typing context.
        definition.__name__ = write.__name__
        definition.__signature__ = inspect.signature(write)  # type: ignore[attr-defined]
        return intrinsic(definition)

    return decorated


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
