"""Symmetric encryption of ring ciphertexts: c0 = m + e - a s, with a seed in place of the uniform a.

Both schemes are Ring-LWE (Lyubashevsky, Peikert, Regev, Eurocrypt 2010); they differ in how a message becomes
the polynomial m: by a scale (CKKS) or by q/t (BFV).  The form is that of SEAL 4.1's `encrypt_zero_symmetric`
with a seed, so SEAL decrypts it: NTT form under CKKS, coefficients under BFV.

Every ciphertext has a seed of its own from the operating system, and an error of its own.  Two messages under
one seed would give away their difference.
"""

from __future__ import annotations

import os

import numba
import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import CiphertextBlock, Residues, prime_column, seeded_block
from blindsight.packing.planes import Integers
from blindsight.parameters import ParameterSet, Scheme
from blindsight.ring import ntt, prng
from blindsight.ring.jit import compiled, reduced
from blindsight.trusted.schemes.sampling import add_noise

_SEED_WORD_BYTES = 64
# A prime times this is above every message, so that a negative one becomes a positive one of its class.
_LIFT_BITS = 27


def encrypt(parameters: ParameterSet, secret: Residues, messages: Integers, key_id: bytes) -> CiphertextBlock:
    """Encrypts integers into a seeded block.

    Args:
        parameters: ring, primes and scheme.
        secret: the secret key in NTT form, uint32 [primes, N].
        messages: int64 [count, N]; for CKKS scaled and below 2^53, for BFV below t / 2.
        key_id: of the key set.
    """
    seeds = _fresh_seeds(len(messages))
    expanded = prng.expand(seeds, parameters)
    masks = expanded.copy()
    values = np.array(messages, np.int64)
    if parameters.scheme is Scheme.CKKS:
        add_noise(values)
        residues = of_integers(values, parameters)
        ntt.forward(residues, parameters)
        _multiply(masks, secret, parameters)
    else:
        residues = _scaled(values, parameters)
        ntt.forward(masks, parameters)
        _multiply(masks, secret, parameters)
        ntt.inverse(masks, parameters)
    primes = prime_column(parameters)
    covered = residues + (primes - masks)
    first = np.where(covered >= primes, covered - primes, covered)
    return seeded_block(parameters, key_id, first[:, None], seeds, expanded)


def compile_all(parameters: ParameterSet) -> None:
    """Compiles this module's functions, or loads them from numba's cache."""
    secret = np.zeros((len(parameters.primes), parameters.ring_degree), np.uint32)
    encrypt(parameters, secret, np.zeros((1, parameters.ring_degree), np.int64), bytes(16))


def _fresh_seeds(count: int) -> npt.NDArray[np.uint8]:
    """Returns seeds as SEAL writes them, uint8 [count, 81], each with 64 bytes of the operating system."""
    seeds = np.empty((count, len(prng.SEED_PREFIX) + _SEED_WORD_BYTES), np.uint8)
    seeds[:, : len(prng.SEED_PREFIX)] = np.frombuffer(prng.SEED_PREFIX, np.uint8)
    random = np.frombuffer(os.urandom(count * _SEED_WORD_BYTES), np.uint8)
    seeds[:, len(prng.SEED_PREFIX) :] = random.reshape(count, _SEED_WORD_BYTES)
    return seeds


@compiled
def _reduce(values: Integers, primes: npt.NDArray[np.uint64], out: Residues) -> None:
    for index in range(values.shape[0]):
        for row in range(primes.size):
            prime = primes[row]
            lift = numba.int64(prime << numba.uint64(_LIFT_BITS))
            reciprocal = 1.0 / numba.float64(prime)
            for k in range(values.shape[1]):
                out[index, row, k] = reduced(numba.uint64(values[index, k] + lift), prime, reciprocal)


def of_integers(values: Integers, parameters: ParameterSet) -> Residues:
    """Returns the residues of integers [count, N] below 2^53: uint32 [count, primes, N]."""
    out = np.empty((len(values), len(parameters.primes), parameters.ring_degree), np.uint32)
    _reduce(values, np.array(parameters.primes, np.uint64), out)
    return out


def _scaled(messages: Integers, parameters: ParameterSet) -> Residues:
    """Returns round(m q / t) + e modulo each prime, for messages [count, N] modulo t: BFV's encoding.

    floor((q m + h) / t) with h = (t + 1) / 2 is (q m + h - r) / t with r = (q m + h) modulo t.  Modulo a
    prime of q that is (h - r) / t, so nothing is longer than a word; t is a power of two, so r is masked out.
    """
    plain = parameters.plain_modulus
    half = (plain + 1) // 2
    rest = (messages * (parameters.modulus % plain) + half) & (plain - 1)
    out = of_integers(half - rest, parameters)
    inverses = np.array([pow(plain, -1, prime) for prime in parameters.primes], np.uint64)
    _times(out, inverses, np.array(parameters.primes, np.uint64))
    noise = np.zeros_like(messages)
    add_noise(noise)
    primes = prime_column(parameters)
    total = out + of_integers(noise, parameters)
    return np.where(total >= primes, total - primes, total)


@compiled
def _times(residues: Residues, factors: npt.NDArray[np.uint64], primes: npt.NDArray[np.uint64]) -> None:
    for index in range(residues.shape[0]):
        for row in range(primes.size):
            reciprocal = 1.0 / numba.float64(primes[row])
            for k in range(residues.shape[2]):
                product = numba.uint64(residues[index, row, k]) * factors[row]
                residues[index, row, k] = reduced(product, primes[row], reciprocal)


@compiled
def _multiply_by(residues: Residues, secret: Residues, primes: npt.NDArray[np.uint64]) -> None:
    for index in range(residues.shape[0]):
        for row in range(primes.size):
            reciprocal = 1.0 / numba.float64(primes[row])
            for k in range(residues.shape[2]):
                product = numba.uint64(residues[index, row, k]) * numba.uint64(secret[row, k])
                residues[index, row, k] = reduced(product, primes[row], reciprocal)


def _multiply(residues: Residues, secret: Residues, parameters: ParameterSet) -> None:
    """Multiplies polynomials [count, primes, N] by the secret, both in NTT form, in place."""
    _multiply_by(residues, secret, np.array(parameters.primes, np.uint64))
