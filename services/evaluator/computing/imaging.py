"""Linear maps of encrypted tiles, in a worker process.

A tile is one ciphertext, its pixel (r, c) the coefficient of X^(r W + c), and a kernel one polynomial
(`blindsight.ring.linear`).  Pixels that move over an edge of the tile reappear at the opposite edge; with a
halo as wide as the kernel's reach, they stay in the halo.
"""

from __future__ import annotations

import numpy as np

from blindsight.ciphertext.header import SEED_BYTES
from blindsight.ciphertext.residues import CiphertextBlock, Residues, add, full_block, read_block
from blindsight.ciphertext.residues import subtract as subtracted
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.tiling import Tiling
from blindsight.parameters import PARAMETER_SETS, ParameterSet, Scheme
from blindsight.ring import linear, ntt
from blindsight.ring.prng import SEED_PREFIX, expand
from services.evaluator import tasks


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
    exponents = tuple(kernel.exponents(Tiling(1, 1, 1, parameters.ring_degree).tile_width))
    factor = linear.moves(exponents, kernel.weights, parameters)
    products = [linear.times(half, factor, parameters) for half in halves]
    if kernel.offset:
        products[0] = add(products[0], linear.constant(kernel.offset, parameters), parameters)
    return np.stack(products, axis=1)
