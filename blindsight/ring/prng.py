"""Expansion of the second polynomial of a seeded ciphertext from its seed: SEAL's generator without SEAL.

A symmetric ciphertext is (c0, c1) with c1 uniform, so SEAL serialises c0 and the seed of c1.  The
seed feeds BLAKE2Xb, 4096 bytes per value of a counter, and `sample_poly_uniform` turns the bytes into
residues (SEAL 4.1: `randomgen.cpp`, `rlwe.cpp`; Aumasson et al., "BLAKE2X", 2016; RFC 7693).

BLAKE2Xb hashes key and input to a root of 64 bytes, and hashes the root once per 64 bytes of output
with the output's number as a parameter.  Those hashes are independent, so eight run in the lanes of
one vector: 0.04 ms per polynomial, where SEAL takes 1 ms to load the ciphertext.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import types

from blindsight.ciphertext.header import SEED_BYTES
from blindsight.ciphertext.residues import Residues
from blindsight.errors import InvalidCiphertext
from blindsight.parameters import ParameterSet
from blindsight.ring.jit import compiled, emitted, reduced

# SEAL's header (magic, its own size, version 4.x, no compression, reserved, size of all), then the
# generator's type, 1 for BLAKE2Xb.  The rest of the 81 bytes is the seed.
SEED_PREFIX = struct.pack("<HBBBBHQB", 0xA15E, 16, 4, 0, 0, 0, SEED_BYTES, 1)
_MINOR_VERSION = 4
BUFFER_BYTES = 4096
HASH_BYTES = 64
# Words of a 512-bit vector; LLVM splits it if the processor's vectors are narrower.
LANES = 8
_NODES = BUFFER_BYTES // HASH_BYTES
_WORDS = BUFFER_BYTES // 8
_MAX_WORD = (1 << 64) - 1

# RFC 7693, section 2.6: fractional parts of the square roots of the first eight primes, as in SHA-512.
_IV = np.array(
    [
        0x6A09E667F3BCC908, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B, 0xA54FF53A5F1D36F1,
        0x510E527FADE682D1, 0x9B05688C2B3E6C1F, 0x1F83D9ABFB41BD6B, 0x5BE0CD19137E2179,
    ],
    np.uint64,
)  # fmt: skip
# Section 2.7: the order of message words in each round; rounds 10 and 11 begin again.
_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
# Section 3.2: columns, then diagonals, of the 4x4 state.
_MIXES = (
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip

# Parameter blocks, word by word: digest length, key length, fanout, depth, leaf length; node offset
# and output length; node depth and inner length.  The root is an ordinary keyed hash, of fanout and depth 1;
# the hashes of the output have fanout and depth 0, and differ by their offset.
_ROOT_PARAMETERS = (HASH_BYTES | HASH_BYTES << 8 | 1 << 16 | 1 << 24, BUFFER_BYTES << 32, 0)
_NODE_PARAMETERS = (HASH_BYTES | HASH_BYTES << 32, BUFFER_BYTES << 32, HASH_BYTES << 8)


@emitted(types.void(types.uintp, types.uintp, types.uint64, types.uint64))
def _compress_lanes(builder: Any, state: Any, message: Any, length: Any, last: Any) -> None:
    """Compresses LANES independent BLAKE2b states with vector instructions.

    Written as LLVM instructions because numba's loops would keep all 16 state vectors in memory; here they
    stay in registers.

    Args:
        state: address of uint64 [8][LANES], updated in place.
        message: address of uint64 [16][LANES].
        length: bytes hashed so far, this block included.
        last: all ones for the last block, else zero.
    """
    word = ir.IntType(64)
    vector = ir.VectorType(word, LANES)

    def constant(value: int) -> Any:
        return ir.Constant(vector, [value] * LANES)

    def pointer(base: Any, row: int) -> Any:
        address = builder.add(base, ir.Constant(word, row * LANES * 8))
        return builder.inttoptr(address, vector.as_pointer())

    def splat(value: Any) -> Any:
        index, undefined = ir.IntType(32), ir.Constant(vector, ir.Undefined)
        single = builder.insert_element(undefined, value, ir.Constant(index, 0))
        return builder.shuffle_vector(
            single, undefined, ir.Constant(ir.VectorType(index, LANES), [0] * LANES)
        )

    def rotated(value: Any, bits: int) -> Any:
        return builder.or_(builder.lshr(value, constant(bits)), builder.shl(value, constant(64 - bits)))

    before = [builder.load(pointer(state, row), align=8) for row in range(8)]
    v = before + [constant(int(value)) for value in _IV]
    v[12] = builder.xor(v[12], splat(length))
    v[14] = builder.xor(v[14], splat(last))
    for number in range(12):  # rounds; the rotations are section 2.1's for 64-bit words
        order = _SIGMA[number % 10]
        for mix, (a, b, c, d) in enumerate(_MIXES):
            for half, (first, second) in enumerate(((32, 24), (16, 63))):
                m = builder.load(pointer(message, order[2 * mix + half]), align=8)
                v[a] = builder.add(builder.add(v[a], v[b]), m)
                v[d] = rotated(builder.xor(v[d], v[a]), first)
                v[c] = builder.add(v[c], v[d])
                v[b] = rotated(builder.xor(v[b], v[c]), second)
    for row in range(8):
        mixed = builder.xor(before[row], builder.xor(v[row], v[row + 8]))
        builder.store(mixed, pointer(state, row), align=8)


@compiled
def _compress(
    state: npt.NDArray[np.uint64], message: npt.NDArray[np.uint64], length: int, last: bool
) -> None:
    flag = numba.uint64(_MAX_WORD) if last else numba.uint64(0)
    _compress_lanes(state.ctypes.data, message.ctypes.data, numba.uint64(length), flag)


@compiled
def _start(state: npt.NDArray[np.uint64], iv: npt.NDArray[np.uint64], block: tuple[int, int, int]) -> None:
    for row in range(8):
        for lane in range(LANES):
            state[row, lane] = iv[row]
    for lane in range(LANES):
        for row in range(3):
            state[row, lane] ^= numba.uint64(block[row])


@compiled
def _roots(
    seed: npt.NDArray[np.uint64],
    iv: npt.NDArray[np.uint64],
    state: npt.NDArray[np.uint64],
    message: npt.NDArray[np.uint64],
    first_counter: int,
) -> None:
    """Computes the root hashes of LANES consecutive counters, one per lane, into `state`."""
    _start(state, iv, _ROOT_PARAMETERS)
    # The key is a block of its own, padded with zeros (section 3.3); the counter's 8 bytes follow.
    message[:] = 0
    for row in range(8):
        message[row] = seed[row]
    _compress(state, message, 128, False)
    message[:] = 0
    for lane in range(LANES):
        message[0, lane] = numba.uint64(first_counter + lane)
    _compress(state, message, 136, True)


@compiled
def _fill(seed: npt.NDArray[np.uint64], iv: npt.NDArray[np.uint64], out: npt.NDArray[np.uint64]) -> None:
    """Fills `out` with the generator's first bytes as words: uint64 [buffers, 512]."""
    roots = np.empty((8, LANES), np.uint64)
    state = np.empty((8, LANES), np.uint64)
    message = np.zeros((16, LANES), np.uint64)
    for counter in range(out.shape[0]):
        if counter % LANES == 0:
            _roots(seed, iv, roots, message, counter)
            message[:] = 0
        for row in range(8):
            message[row] = roots[row, counter % LANES]
        for node in range(0, _NODES, LANES):
            _start(state, iv, _NODE_PARAMETERS)
            for lane in range(LANES):
                state[1, lane] ^= numba.uint64(node + lane)
            _compress(state, message, HASH_BYTES, True)
            for lane in range(LANES):
                for row in range(8):
                    out[counter, (node + lane) * 8 + row] = state[row, lane]


@compiled
def _expand(
    seeds: npt.NDArray[np.uint64],
    iv: npt.NDArray[np.uint64],
    primes: npt.NDArray[np.uint64],
    reciprocals: npt.NDArray[np.float64],
    limits: npt.NDArray[np.uint64],
    out: Residues,
) -> int:
    """Fills `out` with residues of many seeds; returns how many words were over the limit.

    If any were, `out` is not right.  They are counted, not redrawn: SEAL takes their replacements from the
    words after those of all primes, and without redrawing the loop has no branch.
    """
    degree = out.shape[2]
    words = np.empty((primes.size * degree // _WORDS, _WORDS), np.uint64)
    flat = words.reshape(primes.size, degree)
    rejected = 0
    for index in range(seeds.shape[0]):
        _fill(seeds[index], iv, words)
        for prime in range(primes.size):
            for i in range(degree):
                rejected += flat[prime, i] >= limits[prime]
                out[index, prime, i] = reduced(flat[prime, i], primes[prime], reciprocals[prime])
    return rejected


@dataclass(frozen=True, slots=True, eq=False)
class _Moduli:
    """Constants for the reduction of words, for each prime."""

    primes: npt.NDArray[np.uint64]
    reciprocals: npt.NDArray[np.float64]
    limits: npt.NDArray[np.uint64]


def word_limit(prime: int) -> int:
    """Returns the first word that would favour small residues; SEAL redraws (about once in 2^37 words)."""
    # The -1 rejects one word more than necessary, as SEAL does: keeping a word that SEAL rejects would give
    # another polynomial.
    return _MAX_WORD - _MAX_WORD % prime - 1


@cache
def _moduli(parameters: ParameterSet) -> _Moduli:
    primes = np.array(parameters.primes, np.uint64)
    limits = np.array([word_limit(prime) for prime in parameters.primes], np.uint64)
    return _Moduli(primes, 1.0 / primes.astype(np.float64), limits)


def seed_words(seeds: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Returns the seed proper of SEAL's 81 bytes, as words: uint8 [count, 81] -> uint64 [count, 8].

    Raises:
        InvalidCiphertext: if the other 17 bytes are not those of SEAL 4 with BLAKE2Xb.
    """
    prefix = np.frombuffer(SEED_PREFIX, np.uint8)
    same = seeds[:, : prefix.size] == prefix
    same[:, _MINOR_VERSION] = True
    if not same.all():
        raise InvalidCiphertext("seed of an unknown generator, want SEAL 4 with BLAKE2Xb")
    return np.array(seeds[:, prefix.size :]).view("<u8")


def expand(seeds: npt.NDArray[np.uint8], parameters: ParameterSet) -> Residues:
    """Expands the second polynomials of seeded ciphertexts, in the same form as the first.

    That is NTT form under CKKS and coefficients under BFV: a uniform polynomial is uniform in both, so SEAL
    samples it in the form that it serialises (`encrypt_zero_symmetric` in `rlwe.cpp`).

    Args:
        seeds: uint8 [count, 81], as SEAL serialises them.

    Returns:
        uint32 [count, primes, N].

    Raises:
        InvalidCiphertext: see `seed_words`.
    """
    words = seed_words(seeds)
    moduli = _moduli(parameters)
    out = np.empty((seeds.shape[0], len(parameters.primes), parameters.ring_degree), np.uint32)
    if _expand(words, _IV, moduli.primes, moduli.reciprocals, moduli.limits, out):
        for index, seed in enumerate(words):
            out[index] = sample(generate(seed), parameters)
    return out


def generate(seed: npt.NDArray[np.uint64]) -> Iterator[int]:
    """Yields the generator's words without end, for the rare seed that needs replacements."""
    buffers = 16
    given = 0
    while True:
        words = np.empty((buffers, _WORDS), np.uint64)
        _fill(seed, _IV, words)
        yield from words.reshape(-1)[given:].tolist()
        given, buffers = words.size, 2 * buffers


def sample(words: Iterator[int], parameters: ParameterSet) -> Residues:
    """Reproduces SEAL's `sample_poly_uniform` exactly: uint32 [primes, N]."""
    degree = parameters.ring_degree
    # SEAL calls the generator once for all primes; replacements are taken from the words after that.
    bulk = [[next(words) for _ in range(degree)] for _ in parameters.primes]
    out = np.empty((len(parameters.primes), degree), np.uint32)
    for index, prime in enumerate(parameters.primes):
        limit = word_limit(prime)
        for position, drawn in enumerate(bulk[index]):
            word = drawn
            while word >= limit:
                word = next(words)
            out[index, position] = word % prime
    return out
