"""Collections under additive schemes: a column is one ciphertext, a query is weights in the clear."""

from __future__ import annotations

import gmpy2
import numpy as np
from gmpy2 import mpz

from blindsight.additive.block import HEADER, AdditiveBlock
from blindsight.additive.query import PlainQueries, check_weights
from blindsight.additive.schemes import AdditiveScheme
from blindsight.ciphertext.header import additive_header
from blindsight.errors import InvalidCiphertext
from blindsight.packing.columns import Floats, Layout
from blindsight.parameters import AdditiveSet
from blindsight.trusted.additive import AdditiveKey
from blindsight.trusted.secrets import Secret


def generate_secret_key(parameters: AdditiveSet, key_id: bytes) -> Secret:
    """Draws a key of the parameter set's size, under the key set's id."""
    scheme = AdditiveScheme(parameters.wire_scheme)
    return AdditiveKey.generate(scheme, parameters.modulus_bits, key_id=key_id).to_secret()


def encrypt(key: AdditiveKey, parameters: AdditiveSet, coefficients: Floats) -> bytes:
    """Encrypts columns [count, slots]; returns the numbers of the ciphertexts, without a header.

    Raises:
        InvalidArgument: if a value is too large for its slot; nothing has been encrypted then.
    """
    integers = np.rint(coefficients * parameters.gallery_scale).astype(np.int64)
    block = key.encrypt(integers, value_bits=parameters.value_bits, guard_bits=parameters.guard_bits)
    return block.to_bytes()[HEADER.size :]


def plain_queries(key: AdditiveKey, parameters: AdditiveSet, layout: Layout, forms: Floats) -> bytes:
    """Encodes linear forms [queries, row dimension] as weights that the evaluator will see.

    Raises:
        InvalidArgument: if scores could overflow.
    """
    weights = np.rint(layout.align(forms) * parameters.query_scale).astype(np.int64)
    check_weights(weights, layout, parameters)
    return PlainQueries(key.public_key.to_bytes(), weights.astype(np.int32)).to_bytes()


def decrypt_scores(key: AdditiveKey, parameters: AdditiveSet, block: bytes) -> Floats:
    """Decrypts inner products [count, slots].

    Raises:
        InvalidCiphertext: if the evaluator's block is damaged or of another form.
    """
    read = _read(key, parameters, block)
    return key.decrypt(read) / (parameters.gallery_scale * parameters.query_scale)


def decrypt_columns(key: AdditiveKey, parameters: AdditiveSet, batches: list[bytes]) -> Floats:
    """Decrypts the sum of batches of equal count: columns [count, slots]."""
    blocks = [_read(key, parameters, batch) for batch in batches]
    modulus = mpz(key.public_key.group.modulus)
    sums = []
    for numbers in zip(*(block.numbers for block in blocks), strict=True):
        total = mpz(1)
        for number in numbers:
            total = gmpy2.f_mod(total * number, modulus)
        sums.append(int(total))
    return key.decrypt(AdditiveBlock(blocks[0].header, sums)) / parameters.gallery_scale


def columns_of(batch: bytes, parameters: AdditiveSet, key_id: bytes, columns: slice) -> bytes:
    """Returns some columns of a batch, as a block of their own."""
    size = parameters.number_bytes
    numbers = batch[HEADER.size + columns.start * size : HEADER.size + columns.stop * size]
    return additive_header(parameters, key_id, columns.stop - columns.start) + numbers


def _read(key: AdditiveKey, parameters: AdditiveSet, data: bytes) -> AdditiveBlock:
    block = key.read(data)
    layout = block.header.layout
    got = layout.columns, layout.per_ciphertext, layout.value_bits, layout.guard_bits, layout.scale_bits
    if got != (parameters.slots, parameters.slots, parameters.value_bits, parameters.guard_bits, 0):
        raise InvalidCiphertext(f"additive ciphertexts of another form, want those of {parameters.name}")
    return block
