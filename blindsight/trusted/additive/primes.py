"""Random primes from the operating system's generator."""

from __future__ import annotations

import math
import secrets

import gmpy2

# GMP's test is Baillie-PSW and, past 24 rounds, Miller-Rabin with random bases; no composite is known
# to pass the first, and a random one passes 16 more with a chance far below 2^-128.
ROUNDS = 40
# FIPS 186-5, appendix A.1.3: primes nearer than this make Fermat's factoring worth trying.
LEAST_DISTANCE_BITS = 100


def is_prime(number: int) -> bool:
    """Whether the number is prime, as far as anybody can tell."""
    return bool(gmpy2.is_prime(number, ROUNDS))


def random_prime(bits: int, *, remainder: int = 1, modulus: int = 2) -> int:
    """A prime of exactly `bits` bits, its two highest bits set, that is `remainder` modulo an even `modulus`.

    With both high bits set, the product of two such primes has exactly the sum of their bits.
    """
    top = 3 << (bits - 2)
    while True:
        number = secrets.randbits(bits) | top
        number += (remainder - number) % modulus
        if number.bit_length() == bits and is_prime(number):
            return number


def blum_pair(bits: int) -> tuple[int, int]:
    """Two primes, 3 modulo 4, far apart, whose product n has exactly `bits` bits (an even number).

    gcd(p - 1, q - 1) = 2, as Damgard, Jurik and Nielsen (2010), want it, and
    gcd(n, (p - 1)(q - 1)) = 1, as Paillier (1999) needs it.
    """
    half = bits // 2
    while True:
        p, q = (random_prime(half, remainder=3, modulus=4) for _ in range(2))
        apart = abs(p - q) >> max(half - LEAST_DISTANCE_BITS, half // 2)
        if apart and math.gcd(p - 1, q - 1) == 2 and math.gcd(p * q, (p - 1) * (q - 1)) == 1:
            return p, q


def random_unit(modulus: int) -> int:
    """A random number below `modulus` that has no factor in common with it."""
    while True:
        number = 1 + secrets.randbelow(modulus - 1)
        if math.gcd(number, modulus) == 1:
            return number
