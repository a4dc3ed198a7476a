"""Batches as storage keeps them: tiles, the seed of their random polynomial, and proof that we wrote them.

    32 bytes of header, residues in tiles, 32 bytes of seed, 12 of nonce, 16 of tag

The tag is AES-256-GCM's, over everything before it and over the batch's place: collection (by the key),
segment and slots.  Whoever reads a batch back checks it first, so that nothing of somebody else's making is
ever multiplied by a secret, and a batch of another place does not pass for this one.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from blindsight.ciphertext.header import BATCH_TRAILER_BYTES, BlockHeader, Form, parse_header
from blindsight.ciphertext.residues import Residues
from blindsight.errors import DataLoss
from blindsight.packing.columns import Floats
from blindsight.packing.segments import Placement, Region
from blindsight.ring.tiles import view_tiles
from blindsight.runtime.transfer import answer_of
from blindsight.trusted.columns import gallery
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.columns.numbers import scaled
from blindsight.trusted.schemes.sampling import KEY_BYTES

_NONCE_BYTES, _TAG_BYTES = 12, 16
_PLACE = struct.Struct("<BIII")


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A batch that this key set's owner wrote.

    Attributes:
        place: the slots of its rows.
        tiles: uint32 [primes * tiles, columns, TILE].
        seed: of its random polynomial.
    """

    place: Placement
    tiles: Residues
    seed: bytes


def encrypt(rows: Floats, place: Placement, keys: CollectionKeys) -> bytes:
    """Encrypts rows [count, row dimension] for a place, under a new seed; returns the block."""
    region = place.region
    packed = keys.layout.of(region).pack(rows, place.first_slot)
    tiles, seed = gallery.encrypt(scaled(packed, keys.parameters.gallery_scale), keys.of(region))
    header = BlockHeader(keys.parameters, keys.key_id, Form.BATCH, tiles.shape[1])
    body = b"".join([header.pack(), tiles.astype("<u4", copy=False).data, seed])
    nonce = os.urandom(_NONCE_BYTES)
    return b"".join([body, nonce, _tag(keys, place, body, nonce)])


def _tag(keys: CollectionKeys, place: Placement, body: bytes | memoryview, nonce: bytes) -> bytes:
    cipher = Cipher(algorithms.AES(keys.fixed("batches").reveal_secret()), modes.GCM(nonce)).encryptor()
    cipher.authenticate_additional_data(_PLACE.pack(place.region, place.index, place.first_slot, place.count))
    cipher.authenticate_additional_data(body)
    cipher.finalize()
    return cipher.tag


def read(block: bytes, place: Placement, keys: CollectionKeys) -> Batch:
    """Reads a batch that storage gave back.

    Raises:
        DataLoss: if it is not the one that was written for this place.
    """
    columns = keys.layout.of(place.region).columns
    with answer_of("storage"):
        if parse_header(block).form is Form.SEEDED:
            raise DataLoss("written by an earlier version, whose collections this one does not read")
        tiles = view_tiles(block, keys.parameters, keys.key_id, Form.BATCH, columns)[0]
    seed = block[-BATCH_TRAILER_BYTES:][:KEY_BYTES]
    body, behind = memoryview(block)[: -_NONCE_BYTES - _TAG_BYTES], block[-_NONCE_BYTES - _TAG_BYTES :]
    if not hmac.compare_digest(_tag(keys, place, body, behind[:_NONCE_BYTES]), behind[_NONCE_BYTES:]):
        raise DataLoss("storage sent a batch that is not the one that was written")
    return Batch(place, tiles, seed)


def decrypt(blocks: list[tuple[Placement, bytes]], region: Region, keys: CollectionKeys) -> Floats:
    """Decrypts a segment from all of its batches to rows [capacity, row dimension].

    Raises:
        DataLoss: see `read`.
    """
    found = [read(block, place, keys) for place, block in blocks]
    columns = gallery.decrypt([(batch.tiles, batch.seed) for batch in found], keys.of(region))
    return keys.layout.of(region).unpack(columns.astype(np.float64) / keys.parameters.gallery_scale)
