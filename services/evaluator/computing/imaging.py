"""Linear maps of encrypted tiles, in a worker process.

A tile is one ciphertext, its pixel (r, c) the coefficient of X^(r W + c).  Multiplying by X^e moves every
pixel by e places, so a kernel is one polynomial, and a filter one product in Z_q[X] / (X^N + 1) for each half
of the ciphertext: pointwise in NTT form, and without any key.  Pixels that move over an edge of the tile
reappear at the opposite edge; with a halo as wide as the kernel's reach, they stay in the halo.
"""

from __future__ import annotations

from functools import lru_cache

import numba
import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.header import SEED_BYTES
from blindsight.ciphertext.residues import CiphertextBlock, Residues, add, full_block, read_block
from blindsight.ciphertext.residues import subtract as subtracted
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.tiling import Tiling
from blindsight.parameters import PARAMETER_SETS, ParameterSet, Scheme
from blindsight.ring import ntt
from blindsight.ring.jit import compiled, reduced
from blindsight.ring.prng import SEED_PREFIX, expand
from services.evaluator import tasks

# Kernels in NTT form that a worker process keeps, of 24 to 98 KB each: all tasks of one call use the same.
_KERNELS_KEPT = 64


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


def compile_all() -> None:
    """Compiles this module's functions, or loads them from numba's cache."""
    kernel = PlaneKernel(1, 1, 0, 0, (1,), 1)
    seeds = np.frombuffer(SEED_PREFIX.ljust(SEED_BYTES, b"\0"), np.uint8)[None]
    for parameters in PARAMETER_SETS.values():
        expand(seeds, parameters)
        polynomial = np.zeros((1, len(parameters.primes), parameters.ring_degree), np.uint32)
        _applied((polynomial, polynomial), kernel, parameters)


def transform(task: tasks.Transform) -> tuple[bytes, ...]:
    """Checks every residue of some tiles and applies every kernel; returns a block for each kernel.

    Raises:
        InvalidCiphertext: if the block is malformed, or of another parameter set or key.
    """
    halves = _in_ntt_form(read_block(task.block, task.parameters, task.key_id), task.parameters)
    results = [_applied(halves, kernel, task.parameters) for kernel in task.kernels]
    return tuple(full_block(task.parameters, task.key_id, one).to_bytes() for one in results)


def subtract(task: tasks.Subtract) -> tuple[bytes, ...]:
    """Checks every residue of two blocks of tiles and subtracts them; returns one block.

    Raises:
        InvalidCiphertext: if a block is malformed, or of another parameter set or key.
    """
    parameters = task.parameters
    first = read_block(task.minuend, parameters, task.key_id)
    second = read_block(task.subtrahend, parameters, task.key_id)
    if first.seeds is not None and second.seeds is not None:
        # Subtracted before the NTT, there are half as many polynomials to transform.
        pairs = zip(_halves(first, parameters), _halves(second, parameters), strict=True)
        halves = [subtracted(a, b, parameters) for a, b in pairs]
        for polynomials in halves:
            _to_ntt_form(polynomials, parameters)
    else:
        prepared = _in_ntt_form(first, parameters), _in_ntt_form(second, parameters)
        halves = [subtracted(a, b, parameters) for a, b in zip(*prepared, strict=True)]
    block = full_block(parameters, task.key_id, np.stack(halves, axis=1))
    return (block.to_bytes(),)


Halves = tuple[Residues, Residues]


def _halves(block: CiphertextBlock, parameters: ParameterSet) -> Halves:
    """Returns both polynomials of every ciphertext, [count, primes, N] each, in the form of the block."""
    first = np.array(block.residues[:, 0])
    second = np.array(block.residues[:, 1]) if block.seeds is None else expand(block.seeds, parameters)
    return first, second


def _to_ntt_form(polynomials: Residues, parameters: ParameterSet) -> None:
    """Brings polynomials of seeded ciphertexts into NTT form, in place; those of CKKS are made in it."""
    if parameters.scheme is Scheme.BFV:
        ntt.forward(polynomials, parameters)


def _in_ntt_form(block: CiphertextBlock, parameters: ParameterSet) -> Halves:
    halves = _halves(block, parameters)
    if block.seeds is not None:
        for polynomials in halves:
            _to_ntt_form(polynomials, parameters)
    return halves


def _applied(halves: Halves, kernel: PlaneKernel, parameters: ParameterSet) -> Residues:
    """Applies one kernel; returns the resulting ciphertexts [count, 2, primes, N]."""
    factor = _polynomial(kernel, parameters)
    primes = np.array(parameters.primes, np.uint64)
    products = [np.empty_like(half) for half in halves]
    for half, product in zip(halves, products, strict=True):
        _products(half, factor, primes, 1.0 / primes.astype(np.float64), product)
    if kernel.offset:  # decryption computes c0 + c1 s, so adding to c0 adds to the message
        products[0] = add(products[0], _constant(kernel.offset, parameters), parameters)
    return np.stack(products, axis=1)


@lru_cache(maxsize=_KERNELS_KEPT)
def _polynomial(kernel: PlaneKernel, parameters: ParameterSet) -> Residues:
    """Returns a kernel in NTT form: uint32 [primes, N]."""
    degree = parameters.ring_degree
    # Plain integers, neither scaled as messages of CKKS are nor multiples of q / t as those of BFV: a
    # ciphertext times an integer encrypts the message times that integer.
    coefficients = [0] * degree
    tile_width = Tiling(1, 1, 1, degree).tile_width
    for exponent, weight in zip(kernel.exponents(tile_width), kernel.weights, strict=True):
        # X^N is -1.
        coefficients[exponent % degree] += -weight if (exponent // degree) % 2 else weight
    return _transformed(coefficients, parameters)


@lru_cache(maxsize=_KERNELS_KEPT)
def _constant(offset: int, parameters: ParameterSet) -> Residues:
    """Returns the polynomial that adds an offset to every pixel, in NTT form: uint32 [primes, N]."""
    if parameters.scheme is Scheme.BFV:  # messages are scaled by q / t
        plain = parameters.plain_modulus
        value = (offset * parameters.modulus + plain // 2) // plain
    else:
        value = offset * round(parameters.gallery_scale)
    return _transformed([value] * parameters.ring_degree, parameters)


def _transformed(coefficients: list[int], parameters: ParameterSet) -> Residues:
    rows = [[value % prime for value in coefficients] for prime in parameters.primes]
    polynomial = np.array([rows], np.uint32)
    ntt.forward(polynomial, parameters)
    row: Residues = polynomial[0]
    return row
