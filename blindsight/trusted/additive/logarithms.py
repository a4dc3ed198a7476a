"""Small discrete logarithms by Shanks' baby-step giant-step algorithm, in any group."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from blindsight.errors import InvalidCiphertext

Element = TypeVar("Element", bound=Hashable)


class SmallLogarithms(Generic[Element]):
    """Discrete logarithms e with base^e = y for |e| <= 2^bits, each in at most 2^(bits/2 + 1) products.

    Args:
        power: returns base^e for an int e, which may be negative.
        multiply: the group's operation.
    """

    def __init__(
        self, power: Callable[[int], Element], multiply: Callable[[Element, Element], Element], bits: int
    ) -> None:
        self._multiply = multiply
        self._steps = 1 << (bits // 2 + 1)
        self._most = 1 << bits
        self._start, self._giant = power(self._most), power(-self._steps)
        self._baby: dict[Element, int] = {}
        element, base = power(0), power(1)
        for exponent in range(self._steps):
            self._baby.setdefault(element, exponent)
            element = multiply(element, base)

    def find(self, element: Element) -> int:
        """Returns the exponent of an element.

        Raises:
            InvalidCiphertext: if it is out of range.
        """
        element = self._multiply(element, self._start)
        for giant in range(2 * self._most // self._steps + 1):
            if element in self._baby:
                return giant * self._steps + self._baby[element] - self._most
            element = self._multiply(element, self._giant)
        raise InvalidCiphertext("a decrypted message is out of reach: damaged, or another key's")
