"""Linear maps of ciphertexts: what every coefficient is multiplied by, and what is added to it, in NTT form.

Multiplying by X^e moves every coefficient by e places, so a kernel is one polynomial, and applying it one
product in Z_q[X] / (X^N + 1) for each half of a ciphertext: pointwise in NTT form, and without any key.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.residues import Residues
from blindsight.parameters import ParameterSet, Scheme
from blindsight.ring import ntt
from blindsight.ring.jit import compiled, reduced

# Polynomials that a process keeps, of 24 to 98 KB each: all tasks of one call use the same.
_KEPT = 64


@compiled
def _products(
    polynomials: Residues,
    factor: Residues,
    primes: npt.NDArray[np.uint64],
    reciprocals: npt.NDArray[np.float64],
    out: Residues,
) -> None:
    """Multiplies polynomials [count, primes, N] by one [primes, N], pointwise.

    A product of two residues has 54 bits; each is reduced at once, since nothing is summed here.
    """
    for index in range(polynomials.shape[0]):
        for row in range(polynomials.shape[1]):
            prime, reciprocal = primes[row], reciprocals[row]
            for k in range(polynomials.shape[2]):
                product = numba.uint64(polynomials[index, row, k]) * numba.uint64(factor[row, k])
                out[index, row, k] = reduced(product, prime, reciprocal)


def times(polynomials: Residues, factor: Residues, parameters: ParameterSet) -> Residues:
    """Multiplies polynomials [count, primes, N] by one [primes, N], all in NTT form."""
    primes = np.array(parameters.primes, np.uint64)
    out = np.empty(polynomials.shape, np.uint32)
    _products(polynomials, factor, primes, 1.0 / primes.astype(np.float64), out)
    return out


@lru_cache(maxsize=_KEPT)
def moves(exponents: tuple[int, ...], weights: tuple[int, ...], parameters: ParameterSet) -> Residues:
    """Returns the sum of weights times powers of X, in NTT form: uint32 [primes, N].

    Args:
        exponents: one for each weight, above -N; may be negative.
    """
    degree = parameters.ring_degree
    # Plain integers, neither scaled as messages of CKKS are nor multiples of q / t as those of BFV: a
    # ciphertext times an integer encrypts the message times that integer.
    coefficients = [0] * degree
    for exponent, weight in zip(exponents, weights, strict=True):
        # X^N is -1.
        coefficients[exponent % degree] += -weight if (exponent // degree) % 2 else weight
    return _transformed(coefficients, parameters)


@lru_cache(maxsize=_KEPT)
def constant(offset: int, parameters: ParameterSet) -> Residues:
    """Returns the polynomial that adds an offset to every integer of a message: uint32 [primes, N], NTT form.

    Decryption computes c0 + c1 s, so adding it to c0 adds to the message.
    """
    if parameters.scheme is Scheme.BFV:  # messages are scaled by q / t
        plain = parameters.plain_modulus
        value = (offset * parameters.modulus + plain // 2) // plain
    else:
        value = offset * round(parameters.gallery_scale)
    return _transformed([value] * parameters.ring_degree, parameters)


def _transformed(coefficients: Sequence[int], parameters: ParameterSet) -> Residues:
    rows = [[value % prime for value in coefficients] for prime in parameters.primes]
    polynomial = np.array([rows], np.uint32)
    ntt.forward(polynomial, parameters)
    row: Residues = polynomial[0]
    row.flags.writeable = False
    return row
