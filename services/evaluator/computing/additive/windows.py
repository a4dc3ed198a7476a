"""Weighted sums of neighbouring Paillier ciphertexts, in a worker process."""

from __future__ import annotations

from functools import lru_cache

from gmpy2 import mpz

from blindsight.additive.block import pack_numbers, unpack_numbers
from blindsight.additive.evaluation.paillier import PaillierPublic
from blindsight.additive.keys import AdditivePublicKey
from services.evaluator import tasks


@lru_cache(maxsize=8)
def _half(public_key: bytes) -> tuple[AdditivePublicKey, PaillierPublic]:
    key = AdditivePublicKey.from_bytes(public_key)
    return key, PaillierPublic(key)


def check_numbers(task: tasks.CheckNumbers) -> None:
    """Checks every number of a row.

    Raises:
        InvalidCiphertext: if a number cannot be a ciphertext under the key.
    """
    key, _ = _half(task.public_key)
    size = -(-key.group.modulus.bit_length() // 8)
    key.check_ciphertexts([mpz(number) for number in unpack_numbers(task.numbers, size)])


def apply_window(task: tasks.ApplyWindow) -> bytes:
    """Applies a kernel wherever all of it fits into some rows; returns the numbers of the results."""
    _, half = _half(task.public_key)
    kernel, size = task.kernel, task.header.number_bytes
    rows = [[mpz(number) for number in unpack_numbers(row, size)] for row in task.rows]
    count = len(rows[0]) - kernel.width + 1
    taps = [(*divmod(place, kernel.width), weight) for place, weight in enumerate(kernel.weights) if weight]
    terms = [rows[row][column : column + count] for row, column, _ in taps]
    numbers = half.weighted(terms, [weight for *_, weight in taps], task.header)
    if kernel.offset:
        numbers = half.plus(numbers, task.header.layout.filled(kernel.offset))
    return pack_numbers(numbers, size)
