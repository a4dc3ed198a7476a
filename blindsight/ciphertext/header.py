"""The wire form of ciphertexts: a header of 32 bytes, residues, seeds.

    offset size
    0      4    magic "BSCT"
    4      1    version, 1
    5      1    scheme (`parameters.Scheme`)
    6      1    form: 1 seeded (one polynomial and the seed of the other), 2 full
    7      1    polynomials of a ciphertext: 2, or 3 for an unrelinearised product
    8      2    number of the parameter set
    10     2    reserved, 0
    12     4    count of ciphertexts
    16     16   key id
    32     ...  residues, uint32 little-endian, [count][stored polynomials][primes][N]; in NTT form,
                 but for seeded BFV, which SEAL makes in coefficient form
    ...    ...  seeds, [count][81 bytes], for the seeded form only

A block holds many ciphertexts, so one check covers a whole batch.  This module reads the header and
the sizes and needs only the standard library: storage, which knows no arithmetic, uses it to turn
away everything that is not a ciphertext.  `blindsight.ciphertext.residues` checks the residues.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from blindsight.errors import InvalidCiphertext, SecretMaterialRefused
from blindsight.parameters import BY_NUMBER, AdditiveSet, ParameterSet, Scheme

MAGIC = b"BSCT"
VERSION = 1
HEADER = struct.Struct("<4sBBBBHHI16s")
KEY_ID_BYTES = 16
# SEAL's UniformRandomGeneratorInfo as it serialises it: 16 of header, 1 of type, 64 of seed.
SEED_BYTES = 81
RESIDUE_BYTES = 4
MAX_COUNT = 1 << 20

# First bytes of what the keyholder sealed with AES-256-GCM: originals, metadata, names.
SEALED_MAGIC = b"BSSB"

# A block of additive ciphertexts; `blindsight.additive.block` says what its fields are.
ADDITIVE_MAGIC = b"BSAC"
ADDITIVE_VERSION = 1
ADDITIVE_HEADER = struct.Struct("<4sBBHII16sIIHBBB3sQQ")

# First bytes of a secret key of an additive scheme.
ADDITIVE_SECRET_MAGIC = b"BSAS"

# First bytes of things that hold, or may hold, a secret key: SEAL's own files and our keys.
SECRET_MAGICS = (b"\x5e\xa1", b"BSKY", ADDITIVE_SECRET_MAGIC)


class Form(IntEnum):
    """How a ciphertext is written down."""

    SEEDED = 1
    FULL = 2


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """What a block of ciphertexts says of itself, already checked.

    Attributes:
        parameters: the parameter set.
        key_id: 16 bytes that name the key set; they say nothing about it.
        form: seeded or full.
        polynomials: 2 or 3 per ciphertext; seeded blocks always say 2.
        count: ciphertexts in the block.
    """

    parameters: ParameterSet
    key_id: bytes
    form: Form
    polynomials: int
    count: int

    @property
    def stored_polynomials(self) -> int:
        """Polynomials written down per ciphertext."""
        return 1 if self.form is Form.SEEDED else self.polynomials

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of the residues: [count, stored polynomials, primes, N]."""
        parameters = self.parameters
        return self.count, self.stored_polynomials, len(parameters.primes), parameters.ring_degree

    @property
    def residue_bytes(self) -> int:
        """Bytes that the residues take."""
        count, polynomials, primes, degree = self.shape
        return count * polynomials * primes * degree * RESIDUE_BYTES

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole block."""
        seeds = self.count * SEED_BYTES if self.form is Form.SEEDED else 0
        return HEADER.size + self.residue_bytes + seeds

    def pack(self) -> bytes:
        """The 32 bytes of the header."""
        return HEADER.pack(
            MAGIC,
            VERSION,
            self.parameters.scheme,
            self.form,
            self.polynomials,
            self.parameters.number,
            0,
            self.count,
            self.key_id,
        )


def parse_header(data: bytes | memoryview) -> BlockHeader:
    """Reads and checks the header at the start of `data`; sizes beyond it are not looked at.

    Raises:
        SecretMaterialRefused: when the bytes look like a key.
        InvalidCiphertext: when they are no header of a known version, scheme and parameter set.
    """
    head = bytes(data[: HEADER.size])
    if head.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused("got a serialised key or SEAL object, want a Blindsight ciphertext block")
    if len(head) < HEADER.size:
        raise InvalidCiphertext(f"ciphertext header of {len(head)} bytes, want {HEADER.size}")
    magic, version, scheme, form, polynomials, number, reserved, count, key_id = HEADER.unpack(head)
    if magic != MAGIC:
        raise InvalidCiphertext("not a ciphertext block: wrong magic")
    if version != VERSION or reserved != 0:
        raise InvalidCiphertext(f"ciphertext version {version}, want {VERSION}")
    parameters = BY_NUMBER.get(number)
    if parameters is None or scheme != parameters.scheme:
        raise InvalidCiphertext(f"parameter set {number} of scheme {scheme} is not known")
    if form not in tuple(Form) or polynomials not in ((2,) if form == Form.SEEDED else (2, 3)):
        raise InvalidCiphertext(f"ciphertext form {form} with {polynomials} polynomials is not known")
    if not 1 <= count <= MAX_COUNT:
        raise InvalidCiphertext(f"block of {count} ciphertexts, want 1 to {MAX_COUNT}")
    return BlockHeader(parameters, key_id, Form(form), polynomials, count)


def check_size(header: BlockHeader, size_bytes: int) -> None:
    """Refuses a block whose size is not what its header says.

    Raises:
        InvalidCiphertext: with both sizes.
    """
    if size_bytes != header.size_bytes:
        raise InvalidCiphertext(f"ciphertext block of {size_bytes} bytes, want {header.size_bytes}")


def check_expected(header: BlockHeader, parameters: ParameterSet, key_id: bytes) -> None:
    """Refuses a block of another parameter set or key.

    Raises:
        InvalidCiphertext: with both.
    """
    if header.parameters != parameters:
        raise InvalidCiphertext(f"ciphertext of {header.parameters.name}, want {parameters.name}")
    if header.key_id != key_id:
        raise InvalidCiphertext(f"ciphertext of key {header.key_id.hex()}, want {key_id.hex()}")


def additive_block_bytes(parameters: AdditiveSet, count: int) -> int:
    """Bytes of a block of so many ciphertexts."""
    return ADDITIVE_HEADER.size + count * parameters.number_bytes


def additive_header(parameters: AdditiveSet, key_id: bytes, count: int, growth: int = 1) -> bytes:
    """The 64 bytes before so many ciphertexts of full slots: a collection's columns, or results.

    Args:
        growth: what the magnitudes of weights so far sum to; 1 when fresh.
    """
    return ADDITIVE_HEADER.pack(
        ADDITIVE_MAGIC,
        ADDITIVE_VERSION,
        parameters.wire_scheme,
        0,
        parameters.number_bytes,
        count,
        key_id,
        count,
        parameters.slots,
        parameters.slots,
        parameters.value_bits,
        parameters.guard_bits,
        0,
        bytes(3),
        growth,
        0,
    )


def check_additive_batch(data: bytes, parameters: AdditiveSet, key_id: bytes, count: int) -> None:
    """Refuses bytes that are not a fresh block of so many ciphertexts of this set and key.

    The header has one form for each; the numbers are not looked at.

    Raises:
        SecretMaterialRefused: when they look like a key.
        InvalidCiphertext: with what was got and what was wanted.
    """
    head, want = bytes(data[: ADDITIVE_HEADER.size]), additive_header(parameters, key_id, count)
    if head.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused("got a serialised key, want a block of additive ciphertexts")
    if len(head) < ADDITIVE_HEADER.size or not head.startswith(ADDITIVE_MAGIC):
        raise InvalidCiphertext(f"not a block of additive ciphertexts, want one of {parameters.name}")
    got_count, got_key = ADDITIVE_HEADER.unpack(head)[5:7]
    if got_key != key_id:
        raise InvalidCiphertext(f"ciphertext of key {got_key.hex()}, want {key_id.hex()}")
    if got_count != count:
        raise InvalidCiphertext(f"block of {got_count} ciphertexts, want {count}")
    if head != want:
        raise InvalidCiphertext(f"additive ciphertexts of another form, want fresh ones of {parameters.name}")
    size = additive_block_bytes(parameters, count)
    if len(data) != size:
        raise InvalidCiphertext(f"ciphertext block of {len(data)} bytes, want {size}")


__all__ = [
    "ADDITIVE_HEADER",
    "KEY_ID_BYTES",
    "SEED_BYTES",
    "BlockHeader",
    "Form",
    "Scheme",
    "additive_block_bytes",
    "additive_header",
    "check_additive_batch",
    "check_expected",
    "check_size",
    "parse_header",
]
