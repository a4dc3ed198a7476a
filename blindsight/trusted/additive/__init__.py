"""Secret-key operations of the additive schemes.  A scheme is one module here and one row in `HALVES`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NoReturn, Protocol

from blindsight.additive import keys, schemes
from blindsight.additive.block import AdditiveBlock, AdditiveHeader, check_expected, fresh_header, read_block
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.layout import Integers
from blindsight.additive.schemes import AdditiveScheme
from blindsight.ciphertext.header import KEY_ID_BYTES
from blindsight.errors import InvalidArgument
from blindsight.trusted.additive import lightphe, paillier, scramble
from blindsight.trusted.secrets import Secret

__all__ = ["HALVES", "AdditiveKey", "SecretHalf"]


class SecretHalf(Protocol):
    """Encryption and decryption of the messages of a block under one secret key."""

    def encrypt(self, messages: Sequence[int], header: AdditiveHeader) -> list[int]:
        """Encrypts packed messages, which may be negative, to numbers [count x numbers of a ciphertext]."""

    def decrypt(self, numbers: Sequence[int], header: AdditiveHeader) -> list[int]:
        """Decrypts checked numbers to messages, centred around 0."""


# Draws a key of a given number of bits; returns its public numbers and its secret numbers.
Generate = Callable[[AdditiveScheme, int], tuple[tuple[int, ...], tuple[int, ...]]]
Load = Callable[[AdditivePublicKey, tuple[int, ...]], SecretHalf]

HALVES: dict[AdditiveScheme, tuple[Generate, Load]] = {
    AdditiveScheme.PAILLIER: (paillier.generate, paillier.PaillierKeyholder),
    AdditiveScheme.SCRAMBLE: (scramble.generate, scramble.ScrambleKeyholder),
    **dict.fromkeys(lightphe.SECRET_NUMBERS, (lightphe.generate, lightphe.LightPheKeyholder)),
}


class AdditiveKey:
    """A secret key of an additive scheme, with which its owner encrypts and decrypts.

    Cannot be printed, pickled or copied; use `to_secret` to store it.
    """

    def __init__(self, public_key: AdditivePublicKey, numbers: tuple[int, ...]) -> None:
        self.public_key = public_key
        self._numbers = numbers
        self._half = HALVES[public_key.scheme][1](public_key, numbers)

    @classmethod
    def generate(
        cls,
        scheme: AdditiveScheme,
        bits: int | None = None,
        *,
        key_id: bytes | None = None,
        insecure_small_keys: bool = False,
    ) -> AdditiveKey:
        """Draws a key with the operating system's random number generator.

        Args:
            bits: size of the modulus; None for the scheme's default.
            key_id: names the key, 16 bytes; None for random ones.
            insecure_small_keys: allows LightPHE's algorithms keys so small that anyone can break them.

        Raises:
            InvalidArgument: if the size is out of range, or LightPHE is needed and not installed.
        """
        bits = schemes.key_bits(scheme, bits, insecure_small_keys=insecure_small_keys)
        public, secret = HALVES[scheme][0](scheme, bits)
        key_id = os.urandom(KEY_ID_BYTES) if key_id is None else key_id
        return cls(AdditivePublicKey(scheme, key_id, public, insecure_small_keys=insecure_small_keys), secret)

    def to_secret(self) -> Secret:
        """Serialises the whole key: the public numbers, then the secret ones."""
        public = self.public_key
        numbers = (*public.numbers, *self._numbers)
        return Secret(keys.write_numbers(keys.SECRET_MAGIC, public.scheme, public.key_id, numbers))

    @classmethod
    def from_secret(cls, secret: Secret, *, insecure_small_keys: bool = False) -> AdditiveKey:
        """Reads what `to_secret` wrote.

        Raises:
            InvalidArgument: if the bytes are not a key of an acceptable size, or its numbers do not match.
        """
        scheme, key_id, numbers = keys.read_numbers(keys.SECRET_MAGIC, secret.reveal_secret())
        count = len(keys.PUBLIC_NUMBERS[scheme])
        if len(numbers) < count:
            raise InvalidArgument("malformed key of an additive scheme")
        public = AdditivePublicKey(scheme, key_id, numbers[:count], insecure_small_keys=insecure_small_keys)
        return cls(public, numbers[count:])

    def encrypt(
        self, values: Integers, *, value_bits: int, guard_bits: int, scale_bits: int = 0
    ) -> AdditiveBlock:
        """Encrypts integers [rows, columns], as many per ciphertext as fit.

        Args:
            value_bits: values are less than 2^value_bits in magnitude.
            guard_bits: headroom for weights whose magnitudes sum to at most 2^guard_bits.
            scale_bits: the integers are in units of 2^-scale_bits.

        Raises:
            InvalidArgument: if a value or a result could overflow; nothing has been encrypted then.
        """
        if values.ndim != 2 or not values.size:
            raise InvalidArgument(f"values of shape {values.shape}, want [rows, columns]")
        shape = values.shape[0], values.shape[1]
        header = fresh_header(self.public_key, shape, value_bits, guard_bits, scale_bits)
        return AdditiveBlock(header, self._half.encrypt(header.layout.pack(values), header))

    def read(self, data: bytes) -> AdditiveBlock:
        """Reads a block from the wire and checks every field and every number.

        Raises:
            InvalidCiphertext: if any of them is invalid.
        """
        return read_block(data, self.public_key)

    def decrypt(self, block: AdditiveBlock) -> Integers:
        """Returns integers [rows, columns], in units of 2^-scale_bits (`block.header.layout`).

        Raises:
            InvalidCiphertext: if the block is another key's, or its values do not match its header.
        """
        check_expected(block.header, self.public_key)
        return block.header.layout.unpack(self._half.decrypt(block.numbers, block.header))

    def __repr__(self) -> str:
        return f"AdditiveKey({self.public_key.scheme.name}, ...)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AdditiveKey cannot be pickled or copied")
