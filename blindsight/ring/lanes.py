"""Arithmetic modulo primes of 27 bits on 16 residues at a time, as LLVM instructions.

Written out because numba's loops do it with four residues and multiplications of 64 bits, which takes three
times as long.  LLVM splits the vectors where a processor's are narrower.

A product by a constant is Shoup's: with the companion w' = floor(w 2^32 / p), x w - floor(x w' / 2^32) p is
below 2 p, for any x below 2^32 (Harvey, "Faster arithmetic for number-theoretic transforms", 2014).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Annotated, Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types

from blindsight.ciphertext.residues import Residues
from blindsight.ring.jit import compiled, emitted

LANES = 16
LANE_BYTES = 4 * LANES

_WORD, _WIDE_WORD = ir.IntType(32), ir.IntType(64)
_VECTOR, _PAIRS = ir.VectorType(_WORD, LANES), ir.VectorType(_WIDE_WORD, LANES // 2)
_LOW, _HIGH = 0xFFFF_FFFF, 0xFFFF_FFFF_0000_0000

# In the annotations of vector code: an address of 16 residues, and one residue.
Address = Annotated[Any, types.uintp]
Word = Annotated[Any, types.uint32]


class Lanes:
    """Writes instructions on vectors of 16 residues.

    Args:
        builder: llvmlite's builder, where the instructions go.
    """

    def __init__(self, builder: Any) -> None:
        self._builder = builder
        self.add, self.sub = builder.add, builder.sub

    def load(self, address: Any) -> Any:
        """Reads a vector; arrays of residues are only guaranteed to be aligned to one."""
        return self._builder.load(self._pointer(address), align=4)

    def store(self, vector: Any, address: Any) -> None:
        """Writes a vector."""
        self._builder.store(vector, self._pointer(address), align=4)

    def _pointer(self, address: Any) -> Any:
        return self._builder.inttoptr(address, _VECTOR.as_pointer())

    def filled(self, word: Any) -> Any:
        """Returns a vector whose lanes are all the same word."""
        return self._repeated(word, _VECTOR)

    def shuffled(self, vector: Any, order: Sequence[int]) -> Any:
        """Returns a vector of lanes of another: lane k is its lane order[k]."""
        chosen = ir.Constant(ir.VectorType(_WORD, LANES), list(order))
        return self._builder.shuffle_vector(vector, ir.Constant(_VECTOR, ir.Undefined), chosen)

    def chosen(self, where: Sequence[bool], first: Any, second: Any) -> Any:
        """Returns the first vector's lanes where a condition holds, the second's elsewhere."""
        mask = ir.Constant(ir.VectorType(ir.IntType(1), LANES), [int(one) for one in where])
        return self._builder.select(mask, first, second)

    def below(self, vector: Any, bound: Any) -> Any:
        """Returns values modulo a bound, of values below twice the bound: a smaller one wraps, and stays."""
        wrapped = self.sub(vector, bound)
        return self._builder.select(self._builder.icmp_unsigned("<", vector, wrapped), vector, wrapped)

    def times(self, vector: Any, factor: Any, companion: Any, prime: Any) -> Any:
        """Returns products modulo a prime, below 2 p; see the module."""
        builder = self._builder
        turns = builder.mul(self._upper_product(vector, companion), prime)
        return self.sub(builder.mul(vector, factor), turns)

    def halves(self, vector: Any) -> tuple[Any, Any]:
        """Returns the even lanes and the odd ones, 64 bits each: what processors multiply at once."""
        pairs = self._builder.bitcast(vector, _PAIRS)
        return self._builder.and_(pairs, _every(_LOW)), self._builder.lshr(pairs, _every(32))

    def joined(self, even: Any, odd: Any) -> Any:
        """Inverts `halves`, of values below 2^32."""
        return self._builder.bitcast(self._builder.or_(even, self._builder.shl(odd, _every(32))), _VECTOR)

    def reduced(self, wide: Any, prime: Any, reciprocal: Any) -> Any:
        """Returns 64-bit values modulo a prime; see `jit.reduced`.

        Args:
            wide: a vector of half the lanes.
            prime, reciprocal: uint64 and float64.
        """
        builder, zero = self._builder, _every(0)
        reals = ir.VectorType(ir.DoubleType(), LANES // 2)
        primes, reciprocals = self._repeated(prime, _PAIRS), self._repeated(reciprocal, reals)
        quotient = builder.fptoui(builder.fmul(builder.uitofp(wide, reals), reciprocals), _PAIRS)
        rest = builder.sub(wide, builder.mul(quotient, primes))
        rest = builder.select(builder.icmp_signed("<", rest, zero), builder.add(rest, primes), rest)
        return builder.select(builder.icmp_signed(">=", rest, primes), builder.sub(rest, primes), rest)

    def _repeated(self, value: Any, kind: Any) -> Any:
        nothing = ir.Constant(kind, ir.Undefined)
        first = self._builder.insert_element(nothing, value, ir.Constant(_WORD, 0))
        return self._builder.shuffle_vector(
            first, nothing, ir.Constant(ir.VectorType(_WORD, kind.count), [0] * kind.count)
        )

    def _upper_product(self, first: Any, second: Any) -> Any:
        """Returns the upper halves of 64-bit products."""
        builder = self._builder
        even, odd = (builder.mul(*pair) for pair in zip(self.halves(first), self.halves(second), strict=True))
        both = builder.or_(builder.lshr(even, _every(32)), builder.and_(odd, _every(_HIGH)))
        return builder.bitcast(both, _VECTOR)


def _every(value: int) -> Any:
    return ir.Constant(_PAIRS, [value] * (LANES // 2))


def vector_code(write: Callable[..., None]) -> Any:
    """Makes a function for compiled code of one that writes instructions on vectors.

    Args:
        write: is given `Lanes` and the arguments, each annotated as an `Address` or a `Word`.
    """
    declared = inspect.signature(write, eval_str=True)
    annotations = [parameter.annotation for parameter in declared.parameters.values()]

    @wraps(write)
    def instructions(builder: Any, *arguments: Any) -> None:
        write(Lanes(builder), *arguments)

    return emitted(types.void(*[annotation.__metadata__[0] for annotation in annotations[1:]]))(instructions)


@compiled
def _companions(factors: Residues, primes: npt.NDArray[np.uint32], out: Residues) -> None:
    for index in range(factors.shape[0]):
        for row in range(primes.size):
            prime = numba.uint64(primes[row])
            reciprocal = 1.0 / numba.float64(prime)
            for k in range(factors.shape[2]):
                value = numba.uint64(factors[index, row, k]) << numba.uint64(32)
                # As in `reduced`: rounding changes the quotient by at most one.  Factors may be secret, and
                # the time of a division depends on its operands.
                quotient = numba.uint64(numba.float64(value) * reciprocal)
                rest = numba.int64(value - quotient * prime)
                quotient -= numba.uint64(rest < 0)
                quotient += numba.uint64(rest >= numba.int64(prime))
                out[index, row, k] = numba.uint32(quotient)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Factors:
    """Residues by which others are multiplied, and their companions.

    Attributes:
        residues, companions: uint32 [..., primes, size], contiguous.
    """

    residues: Residues
    companions: Residues

    @classmethod
    def of(cls, residues: Residues, primes: Sequence[int]) -> Factors:
        """Returns residues uint32 [..., primes, size], below their primes, with their companions."""
        values = np.ascontiguousarray(residues)
        companions = np.empty_like(values)
        shape = -1, *values.shape[-2:]
        _companions(values.reshape(shape), np.array(primes, np.uint32), companions.reshape(shape))
        return cls(values, companions)

    @classmethod
    def stack(cls, parts: Sequence[Factors]) -> Factors:
        """Returns factors of the same shape side by side: [count, ..., primes, size]."""
        return cls(np.stack([one.residues for one in parts]), np.stack([one.companions for one in parts]))

    def __getitem__(self, chosen: slice) -> Factors:
        """Returns some of the factors."""
        return Factors(self.residues[chosen], self.companions[chosen])
