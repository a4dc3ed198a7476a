"""Weighted sums of ciphertexts of additive schemes, in a worker process."""

from __future__ import annotations

from functools import lru_cache

from blindsight.additive.block import pack_numbers, unpack_numbers
from blindsight.additive.evaluation import HALVES, PublicHalf
from blindsight.additive.keys import AdditivePublicKey
from services.evaluator import tasks


@lru_cache(maxsize=8)
def _half(public_key: bytes, insecure_small_keys: bool) -> tuple[AdditivePublicKey, PublicHalf]:
    key = AdditivePublicKey.from_bytes(public_key, insecure_small_keys=insecure_small_keys)
    return key, HALVES[key.scheme](key)


def combine(task: tasks.Combine) -> bytes:
    """Checks every number of the slices and computes their weighted sum; returns its numbers.

    Raises:
        InvalidCiphertext: if a number cannot be a ciphertext under the key.
    """
    key, half = _half(task.public_key, task.insecure_small_keys)
    size = task.result.number_bytes
    terms = [unpack_numbers(data, size) for data in task.slices]
    for numbers in terms:
        key.check_ciphertexts(numbers)
    return pack_numbers(half.weighted(terms, task.weights, task.result), size)
