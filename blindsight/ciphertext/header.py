"""The wire form of ciphertexts: a header of 32 bytes, residues, seeds.

    offset size
    0      4    magic "BSCT"
    4      1    version, 1
    5      1    scheme (`parameters.Scheme`)
    6      1    form: 1 seeded (one polynomial and the seed of the other), 2 full, 3 batch, 4 columns
    7      1    polynomials of a ciphertext: 2; of batches and columns 1
    8      2    number of the parameter set
    10     2    reserved, 0
    12     4    count of ciphertexts
    16     16   key id
    32     ...  residues, uint32 little-endian; seeded and full: [count][stored polynomials][primes][N], in
                 NTT form, except for seeded BFV, which SEAL makes in coefficient form; batch and columns:
                 columns in tiles, in NTT form (`blindsight.ring.tiles`)
    ...    ...  seeded: seeds, [count][81 bytes]; batch: 32 bytes of seed, and 28 that authenticate the block
                 for the keyholder (`blindsight.trusted.columns.batches`)

Planes are seeded or full ciphertexts.  The rows of a collection are stored as batches, and queries are sent
as columns, whose other polynomials nobody needs but the keyholder.  A block holds many ciphertexts, so one
check covers a whole batch.  This module reads the header and the sizes and needs only the standard library:
storage, which does no arithmetic, uses it to refuse everything that is not a ciphertext.
`blindsight.ciphertext.residues` and `blindsight.ring.tiles` read the residues.
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
# Behind the residues of a batch: a seed of 32 bytes, a nonce of 12 and a tag of 16.
BATCH_TRAILER_BYTES = 60
RESIDUE_BYTES = 4
MAX_COUNT = 1 << 20

# First bytes of data that the keyholder sealed with AES-256-GCM: originals, metadata, names.
SEALED_MAGIC = b"BSSB"
# What sealing adds: the magic and a version, a nonce of 12 bytes, and a tag of 16.
SEALED_OVERHEAD_BYTES = len(SEALED_MAGIC) + 1 + 12 + 16

# A block of additive ciphertexts; `blindsight.additive.block` documents its fields.
ADDITIVE_MAGIC = b"BSAC"
ADDITIVE_VERSION = 1
ADDITIVE_HEADER = struct.Struct("<4sBBHII16sIIHBBB3sQQ")

# First bytes of a secret key of an additive scheme.
ADDITIVE_SECRET_MAGIC = b"BSAS"

# First bytes of data that holds, or may hold, a secret key: SEAL's own files and our keys.
SECRET_MAGICS = (b"\x5e\xa1", b"BSKY", ADDITIVE_SECRET_MAGIC)


class Form(IntEnum):
    """The forms in which a ciphertext is serialised."""

    SEEDED = 1
    FULL = 2
    BATCH = 3
    COLUMNS = 4


_POLYNOMIALS = {Form.SEEDED: 2, Form.FULL: 2, Form.BATCH: 1, Form.COLUMNS: 1}


@dataclass(frozen=True, slots=True)
class BlockHeader:
    """The header of a block of ciphertexts, already checked.

    Attributes:
        parameters: the parameter set.
        key_id: 16 bytes that name the key set and reveal nothing about it.
        form: how they are serialised.
        count: number of ciphertexts in the block.
    """

    parameters: ParameterSet
    key_id: bytes
    form: Form
    count: int

    @property
    def stored_polynomials(self) -> int:
        """The number of polynomials that are serialised per ciphertext."""
        return 2 if self.form is Form.FULL else 1

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the residues: [count, stored polynomials, primes, N]."""
        parameters = self.parameters
        return self.count, self.stored_polynomials, len(parameters.primes), parameters.ring_degree

    @property
    def residue_bytes(self) -> int:
        """The bytes that the residues take."""
        count, polynomials, primes, degree = self.shape
        return count * polynomials * primes * degree * RESIDUE_BYTES

    @property
    def size_bytes(self) -> int:
        """The bytes of the whole block."""
        behind = {Form.SEEDED: self.count * SEED_BYTES, Form.BATCH: BATCH_TRAILER_BYTES}
        return HEADER.size + self.residue_bytes + behind.get(self.form, 0)

    def pack(self) -> bytes:
        """Serialises the header to its 32 bytes."""
        return HEADER.pack(
            MAGIC,
            VERSION,
            self.parameters.scheme,
            self.form,
            _POLYNOMIALS[self.form],
            self.parameters.number,
            0,
            self.count,
            self.key_id,
        )


def parse_header(data: bytes | memoryview) -> BlockHeader:
    """Reads and checks the header at the start of `data`, but not the size of what follows.

    Raises:
        SecretMaterialRefused: if the bytes look like a key.
        InvalidCiphertext: if they are not a header of a known version, scheme and parameter set.
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
    if form not in tuple(Form) or polynomials != _POLYNOMIALS[Form(form)]:
        raise InvalidCiphertext(f"ciphertext form {form} with {polynomials} polynomials is not known")
    if not 1 <= count <= MAX_COUNT:
        raise InvalidCiphertext(f"block of {count} ciphertexts, want 1 to {MAX_COUNT}")
    return BlockHeader(parameters, key_id, Form(form), count)


def check_size(header: BlockHeader, size_bytes: int) -> None:
    """Checks that a block has the size that its header says.

    Raises:
        InvalidCiphertext: if it has another size; the message names both.
    """
    if size_bytes != header.size_bytes:
        raise InvalidCiphertext(f"ciphertext block of {size_bytes} bytes, want {header.size_bytes}")


def check_form(header: BlockHeader, wanted: Form) -> None:
    """Checks that a block has a form.

    Raises:
        InvalidCiphertext: if it has another; the message names both.
    """
    if header.form is not wanted:
        raise InvalidCiphertext(f"block of {header.form.name} ciphertexts, want {wanted.name}")


def check_expected(header: BlockHeader, parameters: ParameterSet, key_id: bytes) -> None:
    """Checks that a block is of this parameter set and key.

    Raises:
        InvalidCiphertext: if it is of another one; the message names both.
    """
    if header.parameters != parameters:
        raise InvalidCiphertext(f"ciphertext of {header.parameters.name}, want {parameters.name}")
    if header.key_id != key_id:
        raise InvalidCiphertext(f"ciphertext of key {header.key_id.hex()}, want {key_id.hex()}")


def additive_block_bytes(parameters: AdditiveSet, count: int) -> int:
    """Returns the bytes of a block of `count` ciphertexts."""
    return ADDITIVE_HEADER.size + count * parameters.number_bytes


def additive_header(parameters: AdditiveSet, key_id: bytes, count: int, growth: int = 1) -> bytes:
    """Returns the 64-byte header of `count` ciphertexts with full slots: a collection's columns, or results.

    Args:
        growth: sum of the magnitudes of weights so far; 1 when fresh.
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
    """Checks that bytes are a fresh block of `count` ciphertexts of this set and key.

    Only one header is valid for these; the numbers are not checked.

    Raises:
        SecretMaterialRefused: if they look like a key.
        InvalidCiphertext: if they are anything else; the message names the actual and the expected value.
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
    "check_form",
    "check_size",
    "parse_header",
]
