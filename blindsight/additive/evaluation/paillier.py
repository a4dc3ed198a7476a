"""The public half of Paillier: products and powers modulo n^2.

A weighted sum of messages is a product of powers of ciphertexts.  All powers are computed together, with one
squaring per bit of the widest weight (Straus, "Addition chains of vectors", 1964); ciphertexts whose weights
have the same digit are multiplied first if there are many (Pippenger, "On the evaluation of powers and
monomials", 1980).  Negative weights go into one denominator, so that there is one inversion.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import cached_property

import gmpy2
from gmpy2 import mpz

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.fixed_base import FixedBase
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.powers import digit_bits

# Window in bits of the fixed-base table, for 3072 bits 256 rows x 64 entries x 768 bytes, 13 MB.
WINDOW = 6


class PaillierPublic:
    """The public half of Paillier, which needs the public key alone."""

    def __init__(self, public_key: AdditivePublicKey) -> None:
        n, h = public_key.numbers
        self._n, self._h, self._modulus = mpz(n), mpz(h), mpz(n) ** 2
        self._exponent_bits = -(-n.bit_length() // 2)

    def weighted(
        self, terms: Sequence[Sequence[int]], weights: Sequence[int], header: AdditiveHeader
    ) -> list[int]:
        return [
            self._combine([mpz(number) for number in numbers], weights)
            for numbers in zip(*terms, strict=True)
        ]

    def _combine(self, numbers: Sequence[mpz], weights: Sequence[int]) -> int:
        positive = [(number, weight) for number, weight in zip(numbers, weights, strict=True) if weight > 0]
        negative = [(number, -weight) for number, weight in zip(numbers, weights, strict=True) if weight < 0]
        result = self._powers(positive)
        if negative:
            result = result * gmpy2.invert(self._powers(negative), self._modulus) % self._modulus
        return int(result)

    def _powers(self, terms: Sequence[tuple[mpz, int]]) -> mpz:
        """Returns the product of number^weight over all terms."""
        result, modulus = mpz(1), self._modulus
        width = max((weight.bit_length() for _, weight in terms), default=0)
        bits = digit_bits(len(terms), width)
        for shift in reversed(range(0, width, bits)):
            for _ in range(bits):
                result = result * result % modulus
            result = result * self._digit_powers(terms, shift, bits) % modulus
        return result

    def _digit_powers(self, terms: Sequence[tuple[mpz, int]], shift: int, bits: int) -> mpz:
        """Returns the product of number^digit, for one digit of each weight."""
        mask, modulus = (1 << bits) - 1, self._modulus
        by_digit = [mpz(1)] * (mask + 1)
        for number, weight in terms:
            digit = weight >> shift & mask
            if digit:
                by_digit[digit] = by_digit[digit] * number % modulus
        # The product of by_digit[k]^k is that of the partial products from each k to the top.
        partial, result = mpz(1), mpz(1)
        for product in reversed(by_digit[1:]):
            partial = partial * product % modulus
            result = result * partial % modulus
        return result

    def plus(self, numbers: Sequence[int], message: int) -> list[int]:
        """Adds a message in the clear to each ciphertext; returns the new ciphertexts."""
        factor = (1 + message * self._n) % self._modulus
        return [int(number * factor % self._modulus) for number in numbers]

    def rerandomise(self, numbers: Sequence[int]) -> list[int]:
        return [
            int(mpz(number) * self._table.power(secrets.randbits(self._exponent_bits)) % self._modulus)
            for number in numbers
        ]

    @cached_property
    def _table(self) -> FixedBase:
        return FixedBase(self._h, self._modulus, self._exponent_bits, WINDOW)
