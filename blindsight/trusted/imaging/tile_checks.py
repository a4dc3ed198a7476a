"""The check of what the evaluator made of encrypted tiles: a random combination of them, known only here.

Every result is the same linear map of its tile, modulo each prime.  Of c_i = (c0, c1), the ciphertext of tile
i that was sent or stored, a kernel K with an offset o makes r_i = K c_i + (o, 0), and a difference is
r_i = a_i - b_i.  For a secret random number gamma_i of each tile the keyholder keeps the sum of gamma_i c_i,
and compares, for each kernel and both halves, at every point of the NTT form,

    sum over i of gamma_i r_i  ==  K (sum over i of gamma_i c_i) + (sum over i of gamma_i) (o, 0).

Results that differ anywhere pass with probability 1/p for each prime modulo which they differ: 2^-27, and
2^-54 for a change modulo two (Freivalds, 1977).  It does not matter where the change came from: arithmetic,
storage, another photo, a tile in another's place.  Gamma never leaves the trusted zone, nor do the sums,
which would give it away: those of planes in storage are in the planes' seal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blindsight.ciphertext.residues import CiphertextBlock, Residues, add, full_block, prime_column, subtract
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.tiling import DIGEST_BYTES, Tiling
from blindsight.parameters import ParameterSet, Scheme
from blindsight.ring import linear, ntt, prng
from blindsight.trusted.columns.checking import add_to
from blindsight.trusted.schemes.sampling import KEY_BYTES, Words, scalars
from blindsight.trusted.secrets import Secret

# What a difference is the result of, for its check: the difference of the sums, times one.
IDENTITY = PlaneKernel(1, 1, 0, 0, (1,))


def no_sum(parameters: ParameterSet) -> Residues:
    """Returns the combination of no tiles, uint32 [2, primes, N]."""
    return np.zeros((2, len(parameters.primes), parameters.ring_degree), np.uint32)


def combined(block: CiphertextBlock, factors: Words) -> Residues:
    """Returns the sum of factors times ciphertexts, in NTT form: uint32 [2, primes, N].

    Args:
        block: seeded or full ciphertexts, checked residue by residue.
        factors: uint64 [count, primes].
    """
    parameters = block.header.parameters
    total = no_sum(parameters)
    if block.seeds is None:
        add_to(total, block.residues, factors, parameters)
        return total
    add_to(total[:1], block.residues, factors, parameters)
    expanded = prng.expand(block.seeds, parameters) if block.expanded is None else block.expanded
    add_to(total[1:], expanded[:, None], factors, parameters)
    if parameters.scheme is Scheme.BFV:  # of which only results are in NTT form
        ntt.forward(total, parameters)
    return total


def compile_all(parameters: ParameterSet) -> None:
    """Compiles what a check needs, or loads it from numba's cache."""
    check = TileCheck(parameters, Secret(bytes(KEY_BYTES)), [PlaneKernel(1, 1, 0, 0, (1,), 1)], 1)
    residues = no_sum(parameters)[None]
    residues.flags.writeable = False
    check.add(0, combined(full_block(parameters, bytes(16), residues), check.factors(0, 1)))
    check.passes(no_sum(parameters))


@dataclass(frozen=True, slots=True, eq=False)
class PlaneRecord:
    """What the owner keeps of planes in storage, sealed beside them.

    Attributes:
        digests: SHA-256 of each piece.
        combination: of all tiles under the owner's gamma, uint32 [2, primes, N].
    """

    digests: tuple[bytes, ...]
    combination: Residues

    def to_bytes(self) -> bytes:
        """Serialises the record."""
        return b"".join(self.digests) + self.combination.astype("<u4").tobytes()

    @classmethod
    def from_bytes(cls, data: bytes, pieces: int, parameters: ParameterSet) -> PlaneRecord:
        """Parses the record of planes of so many pieces, which was sealed for them."""
        digests = tuple(
            data[start : start + DIGEST_BYTES] for start in range(0, pieces * DIGEST_BYTES, DIGEST_BYTES)
        )
        combination = np.frombuffer(data, "<u4", offset=pieces * DIGEST_BYTES)
        return cls(digests, combination.reshape(no_sum(parameters).shape))


class TileCheck:
    """The check of one call: of every result of some kernels of some tiles.

    Args:
        parameters: of the ciphertexts.
        key: from which gamma is drawn; that of the owner for tiles in storage, else a fresh one.
        kernels: in the order of the results.
        tiles: their number.
    """

    def __init__(
        self, parameters: ParameterSet, key: Secret, kernels: Sequence[PlaneKernel], tiles: int
    ) -> None:
        self._parameters = parameters
        self._factors = scalars(key.reveal_secret(), tiles, parameters)
        self._kernels = tuple(kernels)
        self.restart()

    def factors(self, first: int, count: int) -> Words:
        """Returns gamma of consecutive tiles, uint64 [count, primes]."""
        return self._factors[first : first + count]

    def restart(self) -> None:
        """Forgets all results: they come again."""
        # As words: residues of 27 bits add up without a wrap, and are reduced once at the end.
        self._results = np.zeros((len(self._kernels), *no_sum(self._parameters).shape), np.uint64)

    def add(self, kernel: int, part: Residues) -> None:
        """Adds the combination of some results of a kernel."""
        self._results[kernel] += part

    def passes(self, tiles: Residues, less: Residues | None = None) -> bool:
        """Returns whether all results are those of tiles with this combination, uint32 [2, primes, N].

        Args:
            less: the combination of the tiles that are subtracted; None if none are.
        """
        parameters = self._parameters
        if less is not None:
            tiles = subtract(tiles, less, parameters)
        primes = prime_column(parameters)
        return all(
            bool((found % primes == self._wanted(kernel, tiles)).all())
            for kernel, found in zip(self._kernels, self._results, strict=True)
        )

    def _wanted(self, kernel: PlaneKernel, tiles: Residues) -> Residues:
        parameters = self._parameters
        exponents = tuple(kernel.exponents(Tiling(1, 1, 1, parameters.ring_degree).tile_width))
        wanted = linear.times(tiles, linear.moves(exponents, kernel.weights, parameters), parameters)
        if kernel.offset:
            offset = no_sum(parameters)[:1]
            all_of_them = self._factors.sum(axis=0, keepdims=True) % np.array(parameters.primes, np.uint64)
            add_to(offset, linear.constant(kernel.offset, parameters)[None, None], all_of_them, parameters)
            wanted[:1] = add(wanted[:1], offset, parameters)
        return wanted
