"""Secret-key operations of LightPHE's additive algorithms, behind our interface.

LightPHE does the arithmetic of encryption, and of decryption where it is fast.  It is not used to draw keys
and nonces (it uses Python's `random`, and its primes may be too short), to read or write keys (it runs
`eval` on key files), to serialise ciphertexts (it uses pickle), or to compute discrete logarithms (it
recomputes a power for every guess).  Keys are drawn here; their size is that of the modulus.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import gmpy2

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.keys import (
    PUBLIC_NUMBERS,
    SECP256K1_ORDER,
    AdditivePublicKey,
)
from blindsight.additive.lightphe import Point, cryptosystem, flatten, group_ciphertexts, keys_of
from blindsight.additive.schemes import AdditiveScheme
from blindsight.errors import InvalidArgument, InvalidCiphertext
from blindsight.trusted.additive import primes
from blindsight.trusted.additive.logarithms import SmallLogarithms

Numbers = dict[str, int]

# Names of the secret numbers, as in LightPHE.
SECRET_NUMBERS: dict[AdditiveScheme, tuple[str, ...]] = {
    AdditiveScheme.LIGHTPHE_PAILLIER: ("phi",),
    AdditiveScheme.LIGHTPHE_DAMGARD_JURIK: ("phi",),
    AdditiveScheme.LIGHTPHE_OKAMOTO_UCHIYAMA: ("p", "q"),
    AdditiveScheme.LIGHTPHE_BENALOH: ("p", "q", "phi", "x"),
    AdditiveScheme.LIGHTPHE_NACCACHE_STERN: ("a", "b", "p", "q", "phi"),
    AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL: ("x",),
    AdditiveScheme.LIGHTPHE_EC_ELGAMAL: ("ka",),
}
# The smallest prime above 2^21: Benaloh's messages are signed, below 2^20 in magnitude, and taken modulo it.
BENALOH_BLOCK = 2097169
# Naccache and Stern's small primes, half of them below p and half below q; their product has 27 bits.
NACCACHE_STERN_PRIMES = ((3, 7, 13, 19), (5, 11, 17, 23))

# RFC 3526, sections 3 and 4: safe primes 2^b - 2^(b-64) - 1 + 2^64 (floor(2^(b-130) pi) + k).
_MODP_TERMS = {2048: 124476, 3072: 1690314}
_GENERATOR = 4  # a square, so that it spans the subgroup of prime order (p - 1) / 2


def modp_prime(bits: int) -> int:
    """Returns RFC 3526's safe prime of 2048 or 3072 bits."""
    with gmpy2.context(precision=bits + 64):
        pi = int(gmpy2.floor(gmpy2.const_pi() * (gmpy2.mpz(1) << (bits - 130))))
    return int(2**bits - 2 ** (bits - 64) - 1 + 2**64 * (pi + _MODP_TERMS[bits]))


def generate(scheme: AdditiveScheme, bits: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Draws a key; returns its public and secret numbers by `PUBLIC_NUMBERS` and `SECRET_NUMBERS`."""
    numbers = _GENERATORS[scheme](bits)
    return (
        tuple(numbers[name] for name in PUBLIC_NUMBERS[scheme]),
        tuple(numbers[f"secret {name}"] for name in SECRET_NUMBERS[scheme]),
    )


def _paillier(bits: int) -> Numbers:
    p, q = primes.blum_pair(bits + bits % 2)
    return {"n": p * q, "g": p * q + 1, "s": 2, "secret phi": (p - 1) * (q - 1)}


def _okamoto_uchiyama(bits: int) -> Numbers:
    third = bits // 3 + 1
    p, q = primes.random_prime(third), primes.random_prime(third)
    n = p * p * q
    g = primes.random_unit(n)
    while pow(g, p - 1, p * p) == 1:
        g = primes.random_unit(n)
    return {"n": n, "g": g, "h": pow(g, n, n), "secret p": p, "secret q": q}


def _benaloh(bits: int) -> Numbers:
    r, half = BENALOH_BLOCK, (bits + 1) // 2
    p, q = primes.random_prime(half, modulus=2 * r), primes.random_prime(half)
    while (p - 1) // r % r == 0:
        p = primes.random_prime(half, modulus=2 * r)
    while (q - 1) % r == 0:
        q = primes.random_prime(half)
    n, phi = p * q, (p - 1) * (q - 1)
    y = primes.random_unit(n)
    while pow(y, phi // r, n) == 1:
        y = primes.random_unit(n)
    secret = {"secret p": p, "secret q": q, "secret phi": phi, "secret x": pow(y, phi // r, n)}
    return {"n": n, "y": y, "r": r, **secret}


def _naccache_stern(bits: int) -> Numbers:
    first, second = (math.prod(part) for part in NACCACHE_STERN_PRIMES)
    (a, p), (b, q) = (_prime_above(product, (bits + 1) // 2) for product in (first, second))
    n, phi, sigma = p * q, (p - 1) * (q - 1), first * second
    g = primes.random_unit(n)
    while any(pow(g, phi // small, n) == 1 for part in NACCACHE_STERN_PRIMES for small in part):
        g = primes.random_unit(n)
    secret = {"secret a": a, "secret b": b, "secret p": p, "secret q": q, "secret phi": phi}
    return {"n": n, "g": g, "sigma": sigma, **secret}


def _prime_above(product: int, bits: int) -> tuple[int, int]:
    """Returns primes a and 2 * a * product + 1, the second of at least `bits` bits."""
    while True:
        a = primes.random_prime(bits - product.bit_length() + 1)
        if primes.is_prime(2 * a * product + 1):
            return a, 2 * a * product + 1


def _exponential_elgamal(bits: int) -> Numbers:
    p = modp_prime(bits) if bits in _MODP_TERMS else _safe_prime(bits)
    x = 1 + secrets.randbelow((p - 1) // 2 - 1)
    return {"p": p, "g": _GENERATOR, "y": pow(_GENERATOR, x, p), "secret x": x}


def _safe_prime(bits: int) -> int:
    if bits > 1024:
        known = ", ".join(str(size) for size in _MODP_TERMS)
        raise InvalidArgument(f"exponential ElGamal of {bits} bits, want one of {known}")
    while True:
        half = primes.random_prime(bits - 1)
        if primes.is_prime(2 * half + 1):
            return 2 * half + 1


def _ec_elgamal(bits: int) -> Numbers:
    del bits  # fixed by the curve
    ka = 1 + secrets.randbelow(SECP256K1_ORDER - 1)
    any_key = cryptosystem(AdditiveScheme.LIGHTPHE_EC_ELGAMAL, {"Qa": (0, 0)})
    x, y = (any_key.ecc.G * ka).get_point()
    return {"x": x, "y": y, "secret ka": ka}


_GENERATORS: dict[AdditiveScheme, Callable[[int], Numbers]] = {
    AdditiveScheme.LIGHTPHE_PAILLIER: _paillier,
    AdditiveScheme.LIGHTPHE_DAMGARD_JURIK: _paillier,
    AdditiveScheme.LIGHTPHE_OKAMOTO_UCHIYAMA: _okamoto_uchiyama,
    AdditiveScheme.LIGHTPHE_BENALOH: _benaloh,
    AdditiveScheme.LIGHTPHE_NACCACHE_STERN: _naccache_stern,
    AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL: _exponential_elgamal,
    AdditiveScheme.LIGHTPHE_EC_ELGAMAL: _ec_elgamal,
}


class LightPheKeyholder:
    """Encryption and decryption with one of LightPHE's algorithms."""

    def __init__(self, public_key: AdditivePublicKey, numbers: tuple[int, ...]) -> None:
        scheme = public_key.scheme
        if len(numbers) != len(SECRET_NUMBERS[scheme]):
            raise InvalidArgument("the numbers of a LightPHE key do not belong together")
        self._public_key = public_key
        self._named = public_key.named
        self._secret = dict(zip(SECRET_NUMBERS[scheme], numbers, strict=True))
        self._system = cryptosystem(scheme, keys_of(public_key), self._secret)

    def encrypt(self, messages: Sequence[int], header: AdditiveHeader) -> list[int]:
        bound, units_of = self._public_key.group.nonce_bound, self._public_key.group.units_of
        numbers: list[int] = []
        for message in messages:
            nonce = 1 + secrets.randbelow(bound - 1)
            while math.gcd(nonce, units_of or 1) != 1:
                nonce = 1 + secrets.randbelow(bound - 1)
            numbers += flatten(self._system.encrypt(message, random_key=nonce))
        return numbers

    def decrypt(self, numbers: Sequence[int], header: AdditiveHeader) -> list[int]:
        scheme = self._public_key.scheme
        return [self._decrypt(one) for one in group_ciphertexts(scheme, numbers)]

    def _decrypt(self, ciphertext: Any) -> int:
        named, secret = self._named, self._secret
        match self._public_key.scheme:
            case AdditiveScheme.LIGHTPHE_OKAMOTO_UCHIYAMA:
                return _centred(self._system.decrypt(ciphertext), secret["p"])
            case AdditiveScheme.LIGHTPHE_BENALOH:
                power = pow(ciphertext, secret["phi"] // named["r"], named["n"])
                return self._logarithms.find(power)
            case AdditiveScheme.LIGHTPHE_NACCACHE_STERN:
                return _centred(self._residues(ciphertext), named["sigma"])
            case AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL:
                first, second = ciphertext
                return self._logarithms.find(second * pow(first, -secret["x"], named["p"]) % named["p"])
            case AdditiveScheme.LIGHTPHE_EC_ELGAMAL:
                curve = self._system.ecc.curve
                first, second = ciphertext
                # Terms that cancel leave the point at infinity, of which LightECC computes no multiples.
                if first != curve.O:
                    shared = curve.double_and_add(first, SECP256K1_ORDER - secret["ka"])
                    second = curve.add_points(shared, second)
                return self._logarithms.find(second)
            case _:
                return _centred(self._system.decrypt(ciphertext), named["n"])

    @cached_property
    def _logarithms(self) -> SmallLogarithms[Any]:
        """Logarithms to the base whose exponents are the messages."""
        bits = self._public_key.group.message_bits
        if self._public_key.scheme is AdditiveScheme.LIGHTPHE_EC_ELGAMAL:
            curve = self._system.ecc.curve
            return SmallLogarithms[Point](
                lambda exponent: curve.double_and_add(curve.G, exponent), curve.add_points, bits
            )
        named, secret = self._named, self._secret
        modulus = named.get("p") or named["n"]
        base = secret["x"] if self._public_key.scheme is AdditiveScheme.LIGHTPHE_BENALOH else named["g"]
        return SmallLogarithms[int](
            lambda exponent: pow(base, exponent, modulus), lambda one, two: one * two % modulus, bits
        )

    def _residues(self, ciphertext: int) -> int:
        """Finds a Naccache-Stern message modulo each small prime, and combines these by the CRT."""
        n, phi, sigma = self._named["n"], self._secret["phi"], self._named["sigma"]
        message = 0
        for small, powers in self._small_powers.items():
            found = powers.get(pow(ciphertext, phi // small, n))
            if found is None:
                raise InvalidCiphertext("a decrypted message is out of reach: damaged, or another key's")
            rest = sigma // small
            message += found * rest * pow(rest, -1, small)
        return message % sigma

    @cached_property
    def _small_powers(self) -> dict[int, dict[int, int]]:
        n, g, phi = self._named["n"], self._named["g"], self._secret["phi"]
        smalls = [small for part in NACCACHE_STERN_PRIMES for small in part]
        bases = {small: pow(g, phi // small, n) for small in smalls}
        return {s: {pow(base, e, n): e for e in range(s)} for s, base in bases.items()}


def _centred(message: int, modulus: int) -> int:
    return message if 2 * message < modulus else message - modulus
