"""Public keys of additive schemes: the group that each computes in, and their wire form.

offset size
0      4    magic "BSAP" (a public key) or "BSAS" (a secret one, in the keyholder only)
4      1    version, 1
5      1    scheme (`schemes.AdditiveScheme`)
6      2    count of numbers
8      16   key id
24     ...  the numbers, each: uint32 size, bytes; all little-endian
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from blindsight.additive.schemes import SCHEMES, AdditiveScheme, key_bits
from blindsight.ciphertext.header import ADDITIVE_SECRET_MAGIC, KEY_ID_BYTES, SECRET_MAGICS
from blindsight.errors import InvalidArgument, InvalidCiphertext, SecretMaterialRefused

PUBLIC_MAGIC = b"BSAP"
SECRET_MAGIC = ADDITIVE_SECRET_MAGIC
VERSION = 1
HEADER = struct.Struct("<4sBBH16s")
SIZE = struct.Struct("<I")
MOST_NUMBERS = 8
MOST_NUMBER_BYTES = 8192

# Decryption searches discrete logarithms: results beyond +-2^20 are out of range.
DISCRETE_LOGARITHM_BITS = 20

# secp256k1 (SEC 2, version 2.0, section 2.4.1): y^2 = x^3 + 7 modulo P, of prime order.
SECP256K1_P = 2**256 - 2**32 - 977
SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
# The point at infinity; no point of the curve has these coordinates.
INFINITY = (0, 0)

# Names of the public numbers, as in LightPHE where it has names for them.
_RSA_LIKE = ("n", "g")
PUBLIC_NUMBERS: dict[AdditiveScheme, tuple[str, ...]] = {
    AdditiveScheme.PAILLIER: ("n", "h"),
    AdditiveScheme.SCRAMBLE: (),
    AdditiveScheme.LIGHTPHE_PAILLIER: _RSA_LIKE,
    AdditiveScheme.LIGHTPHE_DAMGARD_JURIK: (*_RSA_LIKE, "s"),
    AdditiveScheme.LIGHTPHE_OKAMOTO_UCHIYAMA: (*_RSA_LIKE, "h"),
    AdditiveScheme.LIGHTPHE_BENALOH: ("n", "y", "r"),
    AdditiveScheme.LIGHTPHE_NACCACHE_STERN: (*_RSA_LIKE, "sigma"),
    AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL: ("p", "g", "y"),
    AdditiveScheme.LIGHTPHE_EC_ELGAMAL: ("x", "y"),
}


@dataclass(frozen=True, slots=True)
class Group:
    """The group that a key's ciphertexts belong to.

    Attributes:
        modulus: numbers of a ciphertext are less than it; 0 if the layout sets their size.
        units_of: numbers of a ciphertext must be coprime to it; 0 if that is not required.
        components: how many numbers a ciphertext has.
        message_bits: messages are less than 2^message_bits in magnitude.
        nonce_bound: encryption draws its randomness from 1 to this bound, exclusive.
    """

    modulus: int
    units_of: int
    components: int
    message_bits: int
    nonce_bound: int


@dataclass(frozen=True)
class AdditivePublicKey:
    """The public key of an additive scheme, which the untrusted zone may know.

    Attributes:
        scheme: the scheme that it is for.
        key_id: 16 bytes that name the key.
        numbers: in the order of `PUBLIC_NUMBERS`.
        insecure_small_keys: whether a key that anyone can break is accepted; LightPHE's algorithms only.

    Raises:
        InvalidArgument: if a number is missing or out of range, or the key is too small.
    """

    scheme: AdditiveScheme
    key_id: bytes
    numbers: tuple[int, ...]
    insecure_small_keys: bool = False

    def __post_init__(self) -> None:
        info, names = SCHEMES[self.scheme], PUBLIC_NUMBERS[self.scheme]
        if len(self.key_id) != KEY_ID_BYTES:
            raise InvalidArgument(f"key id of {len(self.key_id)} bytes, want {KEY_ID_BYTES}")
        if len(self.numbers) != len(names):
            raise InvalidArgument(f"{info.name} key of {len(self.numbers)} numbers, want {len(names)}")
        key_bits(self.scheme, self.bits, insecure_small_keys=self.insecure_small_keys)
        self._check_numbers()

    @property
    def named(self) -> dict[str, int]:
        """The numbers by name."""
        return dict(zip(PUBLIC_NUMBERS[self.scheme], self.numbers, strict=True))

    @property
    def bits(self) -> int:
        """The size of the key in bits."""
        return SCHEMES[self.scheme].fixed_bits or self.numbers[0].bit_length()

    @cached_property
    def group(self) -> Group:
        """The group that its ciphertexts belong to."""
        return _group(self.scheme, self.named)

    def _check_numbers(self) -> None:
        group = self.group
        if self.scheme is AdditiveScheme.LIGHTPHE_EC_ELGAMAL:
            if not _on_curve(*self.numbers):
                raise InvalidArgument("the public key is not a point of secp256k1")
            return
        if group.units_of and not self.numbers[0] % 2:
            raise InvalidArgument("the modulus of a public key is even")
        if group.message_bits < 1:
            raise InvalidArgument("the message space of a public key is too small")
        named = self.named
        for name in set(named) & {"g", "h", "y"}:
            if not 1 < named[name] < group.modulus or math.gcd(named[name], group.units_of) != 1:
                raise InvalidArgument(f"{name} of a public key is not a unit of its group")
        if named.get("s", 2) != 2:
            raise InvalidArgument("Damgard-Jurik with another s, want 2")

    def check_ciphertexts(self, numbers: Sequence[int]) -> None:
        """Checks that numbers are valid for ciphertexts of this key.

        Raises:
            InvalidCiphertext: if some are not; the message does not say which, as they may be many.
        """
        group = self.group
        if self.scheme is AdditiveScheme.LIGHTPHE_EC_ELGAMAL:
            points = zip(numbers[::2], numbers[1::2], strict=True)
            if not all(point == INFINITY or _on_curve(*point) for point in points):
                raise InvalidCiphertext("a ciphertext is not a pair of points of secp256k1")
        elif group.modulus:
            if not all(0 < number < group.modulus for number in numbers):
                raise InvalidCiphertext("a ciphertext is out of range: want 1 <= c < the modulus")
            # One gcd for all: a common factor of one is a common factor of the product.
            product = 1
            for number in numbers:
                product = product * (number % group.units_of) % group.units_of
            if math.gcd(product, group.units_of) != 1:
                raise InvalidCiphertext("a ciphertext has a factor in common with the modulus")

    def to_bytes(self) -> bytes:
        """Serialises the key to its wire form."""
        return write_numbers(PUBLIC_MAGIC, self.scheme, self.key_id, self.numbers)

    @classmethod
    def from_bytes(cls, data: bytes, *, insecure_small_keys: bool = False) -> AdditivePublicKey:
        """Reads and checks the wire form.

        Raises:
            SecretMaterialRefused: if the bytes are a secret key.
            InvalidArgument: if they are not a public key of an acceptable size.
        """
        if data.startswith(SECRET_MAGICS):
            raise SecretMaterialRefused("got a secret key, want a public one")
        return cls(*read_numbers(PUBLIC_MAGIC, data), insecure_small_keys=insecure_small_keys)


def _on_curve(x: int, y: int) -> bool:
    p = SECP256K1_P
    return x < p and y < p and (y * y - x * x * x - 7) % p == 0


def paillier_message_bits(bits: int) -> int:
    """Returns the bits of a message under a Paillier modulus of `bits` bits."""
    # Messages are centred and below n / 2, and n may be as small as 2^(bits - 1).
    return bits - 2


def _group(scheme: AdditiveScheme, named: dict[str, int]) -> Group:
    n = named.get("n", 0)
    small = DISCRETE_LOGARITHM_BITS
    match scheme:
        case AdditiveScheme.PAILLIER | AdditiveScheme.LIGHTPHE_PAILLIER:
            return Group(n**2, n, 1, paillier_message_bits(n.bit_length()), n)
        case AdditiveScheme.LIGHTPHE_DAMGARD_JURIK:
            # LightPHE blinds with r^n modulo n^3 and keeps messages below n: it takes an r below n^2 to
            # hide the upper digit of what is, in the paper's terms, an encryption of m + n * random.
            return Group(n**3, n, 1, n.bit_length() - 2, n**2)
        case AdditiveScheme.LIGHTPHE_OKAMOTO_UCHIYAMA:
            # The true bound, p / 2, is secret; p has a third of the bits of n = p^2 q.
            return Group(n, n, 1, n.bit_length() // 3 - 2, n)
        case AdditiveScheme.LIGHTPHE_BENALOH:
            return Group(n, n, 1, min(named["r"].bit_length() - 2, small), n)
        case AdditiveScheme.LIGHTPHE_NACCACHE_STERN:
            return Group(n, n, 1, named["sigma"].bit_length() - 2, n)
        case AdditiveScheme.LIGHTPHE_EXPONENTIAL_ELGAMAL:
            return Group(named["p"], named["p"], 2, small, (named["p"] - 1) // 2)
        case AdditiveScheme.LIGHTPHE_EC_ELGAMAL:
            return Group(SECP256K1_P, 0, 4, small, SECP256K1_ORDER)
        case AdditiveScheme.SCRAMBLE:
            return Group(0, 0, 1, 62, 0)


def write_numbers(magic: bytes, scheme: AdditiveScheme, key_id: bytes, numbers: Sequence[int]) -> bytes:
    """Serialises key numbers; `magic` says whether they are secret."""
    parts = [HEADER.pack(magic, VERSION, scheme, len(numbers), key_id)]
    for number in numbers:
        data = number.to_bytes(max(1, -(-number.bit_length() // 8)), "little")
        parts += [SIZE.pack(len(data)), data]
    return b"".join(parts)


def read_numbers(magic: bytes, data: bytes) -> tuple[AdditiveScheme, bytes, tuple[int, ...]]:
    """Parses the scheme, key id and numbers of a key.

    Raises:
        InvalidArgument: if the bytes are not exactly one key of a known scheme.
    """
    malformed = InvalidArgument("malformed key of an additive scheme")
    if len(data) < HEADER.size:
        raise malformed
    got, version, number, count, key_id = HEADER.unpack_from(data)
    if got != magic or version != VERSION or number not in tuple(AdditiveScheme) or count > MOST_NUMBERS:
        raise malformed
    numbers, offset = [], HEADER.size
    for _ in range(count):
        if offset + SIZE.size > len(data):
            raise malformed
        (size,) = SIZE.unpack_from(data, offset)
        offset += SIZE.size
        if not 1 <= size <= min(MOST_NUMBER_BYTES, len(data) - offset):
            raise malformed
        numbers.append(int.from_bytes(data[offset : offset + size], "little"))
        offset += size
    if offset != len(data):
        raise malformed
    return AdditiveScheme(number), key_id, tuple(numbers)
