"""Pictures as integers, and keys of additive schemes at work, in a worker.

A key is drawn here, and goes through pipes between this and the keyholder's other processes only.
"""

from __future__ import annotations

import time
from dataclasses import replace
from enum import Enum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from blindsight.additive.block import HEADER, AdditiveHeader
from blindsight.additive.layout import Integers
from blindsight.additive.schemes import AdditiveScheme
from blindsight.trusted.additive import AdditiveKey
from blindsight.trusted.imaging import images
from blindsight.trusted.secrets import Secret

# Keys of calls that run at the same time; each has tables of some 40 MB.
_KEYS_AT_ONCE = 2


class ImageMode(Enum):
    """How pictures become numbers."""

    AUTO = 0
    GREY = 1
    RGB = 2


def pixels(data: bytes, mode: ImageMode) -> tuple[npt.NDArray[np.uint8], bool]:
    """A picture as [height, width] or [height, width, 3], and whether it has no colour.

    Raises:
        InvalidImage: when it is none, see `images.decode`.
    """
    image = images.decode(data)
    grey = mode is not ImageMode.RGB and images.is_grey(image)
    return np.asarray(image.convert("L") if mode is ImageMode.GREY else image), grey


def generate(scheme: AdditiveScheme, bits: int, insecure_small_keys: bool) -> tuple[bytes, bytes]:
    """A new key: the public half and the whole of it, in the wire form.

    Raises:
        InvalidArgument: when there is no key of that size.
    """
    key = AdditiveKey.generate(scheme, bits, insecure_small_keys=insecure_small_keys)
    return key.public_key.to_bytes(), key.to_secret().reveal_secret()


@lru_cache(maxsize=_KEYS_AT_ONCE)
def _key(secret: bytes) -> AdditiveKey:
    # Its size was checked when it was drawn.
    return AdditiveKey.from_secret(Secret(secret), insecure_small_keys=True)


def encrypt(secret: bytes, header: AdditiveHeader, values: Integers) -> bytes:
    """Numbers of ciphertexts of values [n], which are all of a block's or whole ciphertexts of it."""
    layout = header.layout
    block = _key(secret).encrypt(
        values[None], value_bits=layout.value_bits, guard_bits=layout.guard_bits, scale_bits=layout.scale_bits
    )
    return block.to_bytes()[HEADER.size :]


def decrypt(secret: bytes, header: AdditiveHeader, columns: int, numbers: bytes) -> Integers:
    """Values [columns] of the numbers of ciphertexts, which are all of a block's or whole ciphertexts of it.

    Raises:
        InvalidCiphertext: when the evaluator sent something else.
    """
    part = replace(header, layout=replace(header.layout, columns=columns))
    key = _key(secret)
    row: Integers = key.decrypt(key.read(part.pack() + numbers))[0]
    return row


def encrypt_timed(secret: bytes, header: AdditiveHeader, values: Integers) -> tuple[bytes, float]:
    """As `encrypt`, and the seconds that it took."""
    started = time.perf_counter()
    numbers = encrypt(secret, header, values)
    return numbers, time.perf_counter() - started


def decrypt_timed(
    secret: bytes, header: AdditiveHeader, columns: int, numbers: bytes
) -> tuple[Integers, float]:
    """As `decrypt`, and the seconds that it took."""
    started = time.perf_counter()
    values = decrypt(secret, header, columns, numbers)
    return values, time.perf_counter() - started


def sample(secret: bytes, header: AdditiveHeader, values: Integers) -> tuple[float, float]:
    """Seconds that a ciphertext takes to be encrypted and to be decrypted; the second of two is measured."""
    one = values[: header.layout.per_ciphertext]
    spent = []
    for _ in range(2):
        started = time.perf_counter()
        numbers = encrypt(secret, header, one)
        encrypted = time.perf_counter()
        decrypt(secret, header, len(one), numbers)
        spent = [encrypted - started, time.perf_counter() - encrypted]
    return spent[0], spent[1]
