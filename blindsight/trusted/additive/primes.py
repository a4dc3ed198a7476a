"""Random primes from the operating system's generator."""

from __future__ import annotations

import math
import secrets

import gmpy2

# GMP's test is Baillie-PSW and, past 24 rounds, Miller-Rabin with random bases; no composite is known
# to pass the former, and a random one passes the 16 further rounds with probability far below 2^-128.
ROUNDS = 40
# FIPS 186-5, appendix A.1.3: |p - q| > 2^(bits / 2 - 100); closer primes are open to Fermat factorisation.
LEAST_DISTANCE_BITS = 100


def is_prime(number: int) -> bool:
    """Returns whether the number is prime, by a probabilistic test with negligible error."""
    return bool(gmpy2.is_prime(number, ROUNDS))


def random_prime(bits: int, *, remainder: int = 1, modulus: int = 2) -> int:
    """Returns a prime of exactly `bits` bits that is `remainder` modulo an even `modulus`.

    Its two highest bits are set, so the product of two such primes has exactly the sum of their bits.
    """
    top = 3 << (bits - 2)
    while True:
        number = secrets.randbits(bits) | top
        number += (remainder - number) % modulus
        if number.bit_length() == bits and is_prime(number):
            return number


def blum_pair(bits: int) -> tuple[int, int]:
    """Returns two primes, 3 modulo 4, far apart, whose product n has exactly `bits` bits (an even number).

    gcd(p - 1, q - 1) = 2, as Damgard, Jurik and Nielsen (2010) require, and
    gcd(n, (p - 1)(q - 1)) = 1, as Paillier (1999) requires.
    """
    half = bits // 2
    while True:
        p, q = (random_prime(half, remainder=3, modulus=4) for _ in range(2))
        apart = abs(p - q) >> max(half - LEAST_DISTANCE_BITS, half // 2)
        if apart and math.gcd(p - 1, q - 1) == 2 and math.gcd(p * q, (p - 1) * (q - 1)) == 1:
            return p, q


def random_unit(modulus: int) -> int:
    """Returns a random number below `modulus` that is coprime to it."""
    while True:
        number = 1 + secrets.randbelow(modulus - 1)
        if math.gcd(number, modulus) == 1:
            return number
