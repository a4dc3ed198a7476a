"""Secret-key operations of Paillier: keys, encryption and decryption by the Chinese remainder theorem.

Paillier, "Public-Key Cryptosystems Based on Composite Degree Residuosity Classes", Eurocrypt 1999, with
g = n + 1: c = (1 + m n) r^n modulo n^2, decrypted as in its section 7 modulo p^2 and q^2.

Randomness is drawn as in Damgard, Jurik and Nielsen, "A generalization of Paillier's public-key system
with applications to electronic voting", Int. J. Inf. Secur. 9 (2010): with p = q = 3 modulo
4, gcd(p - 1, q - 1) = 2 and h = -x^2, r^n is replaced by (h^n)^a for a random a of half as many bits as
n.  This is secure if decisional composite residuosity is hard and powers of h with such short exponents are
indistinguishable from those with full ones; Goldreich and Rosen, "On the Security of Modular Exponentiation",
J. Cryptology 16 (2003), derive the latter from the hardness of factoring n.
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
from blindsight.additive.schemes import AdditiveScheme
from blindsight.errors import InvalidArgument
from blindsight.trusted.additive import primes

# Bits of a window: two tables of 192 rows x 256 entries x 384 bytes at 3072 bits, 38 MB.
WINDOW = 8


def generate(scheme: AdditiveScheme, bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draws a key: public numbers n and h^n modulo n^2, secret numbers p and q."""
    if bits % 2:
        raise InvalidArgument(f"Paillier key of {bits} bits, want an even number")
    p, q = primes.blum_pair(bits)
    n = p * q
    # Both primes are 3 modulo 4, so -1 is a non-square modulo each, and so is -x^2.  Its Jacobi symbol is 1
    # nevertheless, and its powers are not only squares.
    h = -(primes.random_unit(n) ** 2) % n
    return (n, pow(h, n, n * n)), (p, q)


class PaillierKeyholder:
    """Encryption and decryption with p and q, at about half the cost of n alone."""

    def __init__(self, public_key: AdditivePublicKey, numbers: tuple[int, ...]) -> None:
        n, h = public_key.numbers
        if len(numbers) != 2 or numbers[0] * numbers[1] != n:
            raise InvalidArgument("the numbers of a Paillier key do not belong together")
        self._n, self._h = mpz(n), mpz(h)
        self._p, self._q = _Factor(numbers[0], n), _Factor(numbers[1], n)
        self._exponent_bits = -(-n.bit_length() // 2)
        self._q_squared_inverse = gmpy2.invert(self._q.squared, self._p.squared)
        self._q_inverse = gmpy2.invert(self._q.prime, self._p.prime)

    def encrypt(self, messages: Sequence[int], header: AdditiveHeader) -> list[int]:
        return [self._encrypt(message) for message in messages]

    def _encrypt(self, message: int) -> int:
        # The same power modulo p^2 and q^2, whose numbers are half as long, combined by the CRT.
        # (1 + n)^m is 1 + m n modulo n^2, so the message needs no exponentiation.
        exponent = secrets.randbits(self._exponent_bits)
        modulo_p, modulo_q = (
            (1 + message * self._n) * table.power(exponent) % factor.squared
            for factor, table in zip((self._p, self._q), self._tables, strict=True)
        )
        difference = (modulo_p - modulo_q) * self._q_squared_inverse % self._p.squared
        return int(modulo_q + self._q.squared * difference)

    @cached_property
    def _tables(self) -> tuple[FixedBase, FixedBase]:
        """Powers of h^n modulo p^2 and q^2; computed at the first encryption, in a third of a second."""
        first, second = (
            FixedBase(self._h, factor.squared, self._exponent_bits, WINDOW) for factor in (self._p, self._q)
        )
        return first, second

    def decrypt(self, numbers: Sequence[int], header: AdditiveHeader) -> list[int]:
        return [self._decrypt(mpz(number)) for number in numbers]

    def _decrypt(self, ciphertext: mpz) -> int:
        modulo_p, modulo_q = self._p.decrypt(ciphertext), self._q.decrypt(ciphertext)
        difference = (modulo_p - modulo_q) * self._q_inverse % self._p.prime
        message = modulo_q + self._q.prime * difference
        return int(message if 2 * message < self._n else message - self._n)


class _Factor:
    """One prime factor, and decryption modulo it."""

    def __init__(self, prime: int, n: int) -> None:
        self.prime = mpz(prime)
        self.squared = self.prime**2
        self._scale = gmpy2.invert(self._logarithm(mpz(1 + n)), self.prime)

    def _logarithm(self, number: mpz) -> mpz:
        # Constant-time exponentiation: the base comes from outside, and the exponent is the secret key.
        power = gmpy2.powmod_sec(number % self.squared, self.prime - 1, self.squared)
        return (power - 1) // self.prime

    def decrypt(self, ciphertext: mpz) -> mpz:
        """Returns the message modulo the prime."""
        return self._logarithm(ciphertext) * self._scale % self.prime
