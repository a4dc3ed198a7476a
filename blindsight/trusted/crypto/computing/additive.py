"""Keys of additive schemes in a worker process.

A key is generated here, and only passes through sockets between the keyholder's processes.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache

from blindsight.additive.block import HEADER, AdditiveHeader
from blindsight.additive.layout import Integers
from blindsight.trusted.additive import AdditiveKey
from blindsight.trusted.crypto import tasks
from blindsight.trusted.secrets import Secret

# Keys that are cached for concurrent calls; each has tables of some 40 MB.
_KEYS_AT_ONCE = 2


def generate_key(task: tasks.GenerateKey) -> tuple[bytes, bytes]:
    """Generates a key; returns its public part and the whole key, in the wire form.

    Raises:
        InvalidArgument: if the scheme has no key of that size.
    """
    key = AdditiveKey.generate(task.scheme, task.bits, insecure_small_keys=task.insecure_small_keys)
    return key.public_key.to_bytes(), key.to_secret().reveal_secret()


@lru_cache(maxsize=_KEYS_AT_ONCE)
def _key(secret: bytes) -> AdditiveKey:
    # Its size was checked when it was generated.
    return AdditiveKey.from_secret(Secret(secret), insecure_small_keys=True)


def encrypt_values(task: tasks.EncryptValues) -> bytes:
    """Encrypts values; returns the numbers of their ciphertexts."""
    return _encrypt(task.secret, task.header, task.values)


def _encrypt(secret: bytes, header: AdditiveHeader, values: Integers) -> bytes:
    layout = header.layout
    block = _key(secret).encrypt(
        values[None], value_bits=layout.value_bits, guard_bits=layout.guard_bits, scale_bits=layout.scale_bits
    )
    return block.to_bytes()[HEADER.size :]


def decrypt_values(task: tasks.DecryptValues) -> Integers:
    """Decrypts numbers of ciphertexts to values [columns].

    Raises:
        InvalidCiphertext: if the evaluator's numbers are not valid ciphertexts of this block.
    """
    return _decrypt(task.secret, task.header, task.columns, task.numbers)


def _decrypt(secret: bytes, header: AdditiveHeader, columns: int, numbers: bytes) -> Integers:
    part = replace(header, layout=replace(header.layout, columns=columns))
    key = _key(secret)
    row: Integers = key.decrypt(key.read(part.pack() + numbers))[0]
    return row


def measure_key(task: tasks.MeasureKey) -> tuple[float, float]:
    """Measures the seconds of an encryption and of a decryption, in a second run, when tables exist."""
    secret, header = task.secret, task.header
    one = task.values[: header.layout.per_ciphertext]
    spent = []
    for _ in range(2):
        started = time.perf_counter()
        numbers = _encrypt(secret, header, one)
        encrypted = time.perf_counter()
        _decrypt(secret, header, len(one), numbers)
        spent = [encrypted - started, time.perf_counter() - encrypted]
    return spent[0], spent[1]
