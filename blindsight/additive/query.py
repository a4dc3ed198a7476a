"""The wire form of queries in the clear, for collections of schemes that only add.

    offset size
    0      4    magic "BSPQ"
    4      1    version, 1
    5      3    reserved, 0
    8      4    queries
    12     4    columns of a query
    16     4    bytes of the public key
    20     12   reserved, 0
    32     ...  the public key that the collection is encrypted under (`blindsight.additive.keys`)
    ...    ...  weights, int32 little-endian, [query][column]

Anyone who has such a block knows the queries, up to their rounding.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blindsight.additive.keys import AdditivePublicKey
from blindsight.ciphertext.header import SECRET_MAGICS
from blindsight.errors import InvalidArgument, InvalidCiphertext, SecretMaterialRefused
from blindsight.packing.columns import Layout
from blindsight.parameters import AdditiveSet

MAGIC = b"BSPQ"
VERSION = 1
HEADER = struct.Struct("<4sB3sIII12s")
MOST_KEY_BYTES = 4096
MOST_QUERIES = 64
WEIGHT = np.dtype("<i4")

Weights = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class PlainQueries:
    """Queries in the clear, which every service that computes with them sees.

    Attributes:
        public_key: the public key in its wire form, checked.
        weights: [queries, columns].
    """

    public_key: bytes
    weights: Weights

    def to_bytes(self) -> bytes:
        """Serialises the queries to their wire form."""
        queries, columns = self.weights.shape
        head = HEADER.pack(MAGIC, VERSION, bytes(3), queries, columns, len(self.public_key), bytes(12))
        return head + self.public_key + self.weights.astype(WEIGHT).tobytes()


def check_weights(weights: npt.NDArray[np.integer], layout: Layout, parameters: AdditiveSet) -> None:
    """Checks that no slot can overflow under weights [queries, columns].

    Raises:
        InvalidArgument: if one could; the message names the bound.
    """
    magnitudes = np.abs(weights.astype(np.int64))
    for first, last in layout.field_columns:
        largest = int(magnitudes[:, first:last].sum(axis=1).max())
        if largest > parameters.most_growth:
            raise InvalidArgument(
                f"weights would overflow: their magnitudes sum to {largest}, "
                f"want at most {parameters.most_growth} ({parameters.guard_bits} guard bits)"
            )


def read_queries(
    data: bytes, queries: int, layout: Layout, parameters: AdditiveSet, key_id: bytes
) -> PlainQueries:
    """Reads this number of queries for a collection, and checks the key and every weight.

    Raises:
        SecretMaterialRefused: if the block or its key looks like a secret key.
        InvalidCiphertext: if the block is not one of queries, or has another size or key.
        InvalidArgument: if the public key is invalid or of another parameter set, or weights could overflow.
    """
    if data.startswith(SECRET_MAGICS):
        raise SecretMaterialRefused("got a serialised key, want queries in the clear")
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise InvalidCiphertext(f"not a block of queries in the clear, which {parameters.name} takes")
    _, version, zeros, count, columns, key_bytes, more_zeros = HEADER.unpack_from(data)
    if version != VERSION or any(zeros) or any(more_zeros):
        raise InvalidCiphertext(f"queries in the clear of version {version}, want {VERSION}")
    if (count, columns) != (queries, layout.columns) or not 1 <= count <= MOST_QUERIES:
        raise InvalidCiphertext(
            f"{count} queries of {columns} columns, want {queries} of {layout.columns} "
            f"and at most {MOST_QUERIES}"
        )
    want = HEADER.size + key_bytes + count * columns * WEIGHT.itemsize
    if key_bytes > MOST_KEY_BYTES or len(data) != want:
        raise InvalidCiphertext(f"queries in the clear of {len(data)} bytes, want {want}")
    public_key = data[HEADER.size : HEADER.size + key_bytes]
    _check_key(AdditivePublicKey.from_bytes(public_key), parameters, key_id)
    weights = np.frombuffer(data, WEIGHT, offset=HEADER.size + key_bytes).reshape(count, columns)
    check_weights(weights, layout, parameters)
    return PlainQueries(public_key, weights)


def _check_key(public_key: AdditivePublicKey, parameters: AdditiveSet, key_id: bytes) -> None:
    if public_key.scheme != parameters.wire_scheme or public_key.bits != parameters.modulus_bits:
        raise InvalidArgument(
            f"public key of scheme {public_key.scheme} and {public_key.bits} bits, want {parameters.name}"
        )
    if public_key.key_id != key_id:
        raise InvalidCiphertext(f"public key {public_key.key_id.hex()}, want {key_id.hex()}")
