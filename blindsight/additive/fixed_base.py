"""Powers of a fixed base, from a precomputed table.

Brickell, Gordon, McCurley and Wilson, "Fast Exponentiation with Precomputation", Eurocrypt 1992, section
2, with the whole table stored.
"""

from __future__ import annotations

from typing import Any


class FixedBase:
    """Powers base^e modulo m of exponents of up to `exponent_bits` bits: a product per window, no squaring.

    Numbers have the type of `base` and `modulus` (gmpy2's, for speed).  The entries that are read depend on
    the exponent: an attacker who shares the processor's caches might learn them.
    """

    def __init__(self, base: Any, modulus: Any, exponent_bits: int, window: int) -> None:
        self._modulus, self._window = modulus, window
        self._table: list[list[Any]] = []
        step = base % modulus
        for _ in range(-(-exponent_bits // window)):
            row = [step**0]
            for _ in range((1 << window) - 1):
                row.append(row[-1] * step % modulus)
            self._table.append(row)
            step = row[-1] * step % modulus

    def power(self, exponent: int) -> Any:
        """Returns base^exponent; the exponent must fit the table."""
        mask, result = (1 << self._window) - 1, None
        # Row i has the powers of base^(2^(i window)), so that digits are combined without squarings.
        for row in self._table:
            digit = exponent & mask
            exponent >>= self._window
            if digit:
                result = row[digit] if result is None else result * row[digit] % self._modulus
        if exponent:
            raise ValueError("the exponent is wider than the table")
        return self._table[0][0] if result is None else result
