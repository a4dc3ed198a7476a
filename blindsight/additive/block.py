"""The wire form of additive ciphertexts: a header of 64 bytes, then numbers of equal size.

    offset size
    0      4    magic "BSAC"
    4      1    version, 1
    5      1    scheme (`schemes.AdditiveScheme`)
    6      2    reserved, 0
    8      4    bytes of one number
    12     4    count of ciphertexts
    16     16   key id
    32     4    rows
    36     4    columns
    40     2    values per ciphertext
    42     1    value bits
    43     1    guard bits
    44     1    scale bits
    45     3    reserved, 0
    48     8    growth: sum of the absolute weights of all operations so far, 1 when fresh
    56     8    reserved, 0
    64     ...  numbers, little-endian, [count][numbers of a ciphertext]

Growth makes overflow an error before the operation: slots hold results of weights up to 2^guard_bits.  A
server that lies about it spoils its own answer and learns nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.layout import MOST_RESULT_BITS, Layout, plan
from blindsight.additive.schemes import SCHEMES, AdditiveScheme
from blindsight.ciphertext.header import ADDITIVE_HEADER, ADDITIVE_MAGIC, ADDITIVE_VERSION, SECRET_MAGICS
from blindsight.errors import InvalidArgument, InvalidCiphertext, SecretMaterialRefused

MAGIC, VERSION, HEADER = ADDITIVE_MAGIC, ADDITIVE_VERSION, ADDITIVE_HEADER
MOST_TERMS = 1 << 20


@dataclass(frozen=True, slots=True)
class AdditiveHeader:
    """The header of a block, already checked.

    Attributes:
        scheme, key_id: scheme and key of the ciphertexts.
        layout: layout of the values in their messages.
        number_bytes: size of one number.
        growth: sum of the absolute weights so far.
    """

    scheme: AdditiveScheme
    key_id: bytes
    layout: Layout
    number_bytes: int
    growth: int = 1

    def pack(self) -> bytes:
        """Serialises the header to its 64 bytes."""
        layout = self.layout
        return HEADER.pack(
            MAGIC,
            VERSION,
            self.scheme,
            0,
            self.number_bytes,
            layout.count,
            self.key_id,
            layout.rows,
            layout.columns,
            layout.per_ciphertext,
            layout.value_bits,
            layout.guard_bits,
            layout.scale_bits,
            bytes(3),
            self.growth,
            0,
        )


@dataclass(frozen=True, slots=True)
class AdditiveBlock:
    """Ciphertexts of one array of values.

    Attributes:
        header: scheme, key and layout.
        numbers: [count x numbers of a ciphertext], flat.
    """

    header: AdditiveHeader
    numbers: Sequence[int]

    def to_bytes(self) -> bytes:
        """Serialises the block to its wire form."""
        return self.header.pack() + pack_numbers(self.numbers, self.header.number_bytes)


def pack_numbers(numbers: Iterable[int], size: int) -> bytes:
    """Serialises numbers of ciphertexts, `size` bytes each."""
    return b"".join(int(one).to_bytes(size, "little") for one in numbers)


def unpack_numbers(data: bytes, size: int) -> list[int]:
    """Parses what `pack_numbers` wrote."""
    return [int.from_bytes(data[start : start + size], "little") for start in range(0, len(data), size)]


def number_bytes(public_key: AdditivePublicKey, layout: Layout) -> int:
    """Returns the bytes that one number of a ciphertext takes."""
    modulus = public_key.group.modulus
    bits = modulus.bit_length() if modulus else layout.slot_bits + 1
    return -(-bits // 8)


def parse_header(data: bytes | bytearray | memoryview) -> AdditiveHeader:
    """Reads and checks the header at the start of `data`, and ignores what follows.

    Raises:
        SecretMaterialRefused: if the bytes look like a key.
        InvalidCiphertext: if they are not a header of a known version and scheme.
    """
    head = bytes(data[: HEADER.size])
    if head.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused("got a serialised key, want a block of additive ciphertexts")
    if len(head) < HEADER.size:
        raise InvalidCiphertext(f"header of additive ciphertexts of {len(head)} bytes, want {HEADER.size}")
    magic, version, scheme, zero, size, count, key_id, *shape, zeros, growth, last = HEADER.unpack(head)
    if magic != MAGIC:
        raise InvalidCiphertext("not a block of additive ciphertexts: wrong magic")
    if version != VERSION or zero or any(zeros) or last:
        raise InvalidCiphertext(f"additive ciphertexts of version {version}, want {VERSION}")
    if scheme not in tuple(AdditiveScheme):
        raise InvalidCiphertext(f"additive scheme {scheme} is not known")
    try:
        layout = Layout(*shape)
    except InvalidArgument as error:
        raise InvalidCiphertext(f"block of additive ciphertexts: {error.message}") from None
    if count != layout.count:
        raise InvalidCiphertext(f"block of {count} additive ciphertexts, want {layout.count}")
    if not 1 <= growth <= layout.most_growth:
        raise InvalidCiphertext(f"growth of {growth}, want 1 to {layout.most_growth}")
    return AdditiveHeader(AdditiveScheme(scheme), key_id, layout, size, growth)


def block_bytes(header: AdditiveHeader, public_key: AdditivePublicKey) -> int:
    """Returns the bytes of the whole block."""
    return HEADER.size + header.number_bytes * header.layout.count * public_key.group.components


def fresh_header(
    public_key: AdditivePublicKey,
    shape: tuple[int, int],
    value_bits: int,
    guard_bits: int,
    scale_bits: int = 0,
) -> AdditiveHeader:
    """Returns the header of a fresh block of values [rows, columns], as many per ciphertext as fit.

    Args:
        value_bits: values are less than 2^value_bits in magnitude.
        guard_bits: headroom for weights whose magnitudes sum to at most 2^guard_bits.
        scale_bits: the integers are in units of 2^-scale_bits.

    Raises:
        InvalidArgument: if not even one value fits.
    """
    planned = plan(
        shape,
        public_key.group.message_bits,
        value_bits,
        guard_bits,
        scale_bits,
        packed=SCHEMES[public_key.scheme].packed,
    )
    return AdditiveHeader(public_key.scheme, public_key.key_id, planned, number_bytes(public_key, planned))


def weighted_header(
    headers: Sequence[AdditiveHeader], weights: Sequence[int], weight_scale_bits: int = 0
) -> AdditiveHeader:
    """Returns the header of the sum of weights[j] * blocks[j].

    Raises:
        InvalidArgument: if the blocks do not match, or a slot could overflow; the message names the bound.
    """
    if not 1 <= len(headers) <= MOST_TERMS or len(headers) != len(weights):
        raise InvalidArgument(f"{len(weights)} weights for {len(headers)} blocks, want as many, at least 1")
    first = headers[0].layout
    if any(header.layout != first for header in headers):
        raise InvalidArgument("blocks of different shape, packing or scale cannot be added")
    growth = sum(abs(weight) * header.growth for weight, header in zip(weights, headers, strict=True))
    if growth > first.most_growth:
        raise InvalidArgument(
            f"weights would overflow: their magnitudes sum to {growth}, "
            f"want at most {first.most_growth} ({first.guard_bits} guard bits)"
        )
    scale_bits = first.scale_bits + weight_scale_bits
    if not first.scale_bits <= scale_bits <= MOST_RESULT_BITS:
        raise InvalidArgument(f"result of {scale_bits} scale bits, want at most {MOST_RESULT_BITS}")
    scaled = replace(first, scale_bits=scale_bits)
    return replace(headers[0], layout=scaled, growth=max(1, growth))


def check_expected(header: AdditiveHeader, public_key: AdditivePublicKey) -> None:
    """Checks that a block is of this scheme and key, and fits the key's messages.

    Raises:
        InvalidCiphertext: if it is another's or does not fit; the message names both values.
    """
    if header.scheme != public_key.scheme:
        got, want = SCHEMES[header.scheme].name, SCHEMES[public_key.scheme].name
        raise InvalidCiphertext(f"ciphertexts of {got}, want {want}")
    if header.key_id != public_key.key_id:
        raise InvalidCiphertext(f"ciphertexts of key {header.key_id.hex()}, want {public_key.key_id.hex()}")
    layout = header.layout
    if layout.per_ciphertext > 1 and not SCHEMES[header.scheme].packed:
        raise InvalidCiphertext(f"{layout.per_ciphertext} values per ciphertext, want 1")
    if layout.slot_bits * layout.per_ciphertext > public_key.group.message_bits + 1:
        raise InvalidCiphertext(
            f"{layout.per_ciphertext} slots of {layout.slot_bits} bits, "
            f"a message of this key has {public_key.group.message_bits}"
        )
    if header.number_bytes != number_bytes(public_key, layout):
        raise InvalidCiphertext(
            f"numbers of {header.number_bytes} bytes, want {number_bytes(public_key, layout)}"
        )


def check_size(header: AdditiveHeader, public_key: AdditivePublicKey, size_bytes: int) -> None:
    """Checks that a block has the size that its header says.

    Raises:
        InvalidCiphertext: if it has another size; the message names both.
    """
    want = block_bytes(header, public_key)
    if size_bytes != want:
        raise InvalidCiphertext(f"block of additive ciphertexts of {size_bytes} bytes, want {want}")


def read_block(data: bytes, public_key: AdditivePublicKey) -> AdditiveBlock:
    """Reads a block of this key and checks every number in it.

    Raises:
        SecretMaterialRefused: if the bytes look like a key.
        InvalidCiphertext: if its header, size or any number is invalid.
    """
    header = parse_header(data)
    check_expected(header, public_key)
    check_size(header, public_key, len(data))
    numbers = unpack_numbers(data[HEADER.size :], header.number_bytes)
    public_key.check_ciphertexts(numbers)
    return AdditiveBlock(header, numbers)
