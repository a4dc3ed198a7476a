"""Residues of ciphertexts as arrays: parsing of the wire form, checks of every value, and serialisation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from blindsight.ciphertext.header import (
    HEADER,
    SEED_BYTES,
    BlockHeader,
    Form,
    check_expected,
    check_size,
    parse_header,
)
from blindsight.errors import InvalidCiphertext
from blindsight.parameters import ParameterSet

Residues = npt.NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class CiphertextBlock:
    """Ciphertexts of one form under one key.

    Attributes:
        header: the header of the wire form.
        residues: uint32 [count, stored polynomials, primes, N], each below its prime; in NTT form, except
            for seeded BFV.
        seeds: uint8 [count, 81] for the seeded form, else None.
        expanded: uint32 [count, primes, N], what the seeds stand for, of a block just encrypted; else None.
    """

    header: BlockHeader
    residues: Residues
    seeds: npt.NDArray[np.uint8] | None
    expanded: Residues | None = None

    def to_bytes(self) -> bytes:
        """Serialises the block to its wire form."""
        parts = [self.header.pack(), np.ascontiguousarray(self.residues, dtype="<u4").tobytes()]
        if self.seeds is not None:
            parts.append(self.seeds.tobytes())
        return b"".join(parts)


def full_block(parameters: ParameterSet, key_id: bytes, residues: Residues) -> CiphertextBlock:
    """Wraps residues [count, 2, primes, N] of full ciphertexts."""
    header = BlockHeader(parameters, key_id, Form.FULL, residues.shape[0])
    return CiphertextBlock(header, residues, None)


def seeded_block(
    parameters: ParameterSet,
    key_id: bytes,
    residues: Residues,
    seeds: npt.NDArray[np.uint8],
    expanded: Residues | None = None,
) -> CiphertextBlock:
    """Wraps residues [count, 1, primes, N] and seeds [count, 81] of fresh symmetric ciphertexts."""
    header = BlockHeader(parameters, key_id, Form.SEEDED, residues.shape[0])
    return CiphertextBlock(header, residues, seeds, expanded)


def read_block(data: bytes | memoryview, parameters: ParameterSet, key_id: bytes) -> CiphertextBlock:
    """Parses and checks a block: header, size, key, and that every residue is below its prime.

    Args:
        data: the wire form, exactly one block.
        parameters: the parameter set that the caller works with.
        key_id: the key that the caller works with.

    Raises:
        InvalidCiphertext: if a check fails; the message names the actual and the expected value.
    """
    block = view_block(data, parameters, key_id)
    require_below_primes(block.residues, parameters)
    return block


def view_block(data: bytes | memoryview, parameters: ParameterSet, key_id: bytes) -> CiphertextBlock:
    """Parses a block as `read_block` does, but leaves the check of residues to the caller.

    A caller can so check a large block piece by piece.

    Raises:
        InvalidCiphertext: if the header, size, key or parameter set is wrong.
    """
    header = parse_header(data)
    check_expected(header, parameters, key_id)
    check_size(header, len(data))
    if header.form not in (Form.SEEDED, Form.FULL):
        raise InvalidCiphertext(f"block of {header.form.name} ciphertexts, want seeded or full ones")
    end = HEADER.size + header.residue_bytes
    residues = np.frombuffer(data, "<u4", offset=HEADER.size, count=header.residue_bytes // 4)
    residues = residues.reshape(header.shape)
    seeds = None
    if header.form is Form.SEEDED:
        seeds = np.frombuffer(data, np.uint8, offset=end).reshape(header.count, SEED_BYTES)
    return CiphertextBlock(header, residues, seeds)


def require_below_primes(residues: Residues, parameters: ParameterSet) -> None:
    """Checks that residues are below their primes; with others, SEAL and the kernel would overflow silently.

    Args:
        residues: uint32 [count, polynomials, primes, N].

    Raises:
        InvalidCiphertext: if one is not; the message names the largest under the first such prime.
    """
    for index, prime in enumerate(parameters.primes):
        largest = int(residues[:, :, index].max())
        if largest >= prime:
            raise InvalidCiphertext(f"residue {largest}, want less than the prime {prime}")


@cache
def prime_column(parameters: ParameterSet) -> npt.NDArray[np.uint32]:
    """Returns the primes as uint32 [primes, 1], to broadcast over residues [..., primes, N]."""
    column = np.array(parameters.primes, np.uint32)[:, None]
    column.flags.writeable = False
    return column


def add(first: Residues, second: Residues, parameters: ParameterSet) -> Residues:
    """Adds ciphertexts residue by residue, as when a batch is appended to a segment."""
    primes = prime_column(parameters)
    total = first + second  # below 2^28: no wrap
    return np.where(total >= primes, total - primes, total)


def subtract(first: Residues, second: Residues, parameters: ParameterSet) -> Residues:
    """Subtracts ciphertexts residue by residue."""
    primes = prime_column(parameters)
    rest = first + (primes - second)  # below 2^28: no wrap
    return np.where(rest >= primes, rest - primes, rest)


def select(block: CiphertextBlock, chosen: npt.NDArray[np.intp]) -> CiphertextBlock:
    """Returns the ciphertexts of a block at these indices, as a block."""
    seeds = None if block.seeds is None else block.seeds[chosen]
    return CiphertextBlock(replace(block.header, count=len(chosen)), block.residues[chosen], seeds)


def cut(block: CiphertextBlock, start: int, stop: int) -> CiphertextBlock:
    """Returns a range of a block's ciphertexts, as a block; nothing is copied."""
    count = len(range(*slice(start, stop).indices(block.header.count)))
    seeds = None if block.seeds is None else block.seeds[start:stop]
    return CiphertextBlock(replace(block.header, count=count), block.residues[start:stop], seeds)
