"""Columns in tiles: their order, and blocks of them as bytes."""

import struct

import numpy as np
import pytest
from support.polynomials import SETS, random_residues, random_tiles

from blindsight.ciphertext.header import BATCH_TRAILER_BYTES, HEADER, BlockHeader, Form, parse_header
from blindsight.ciphertext.residues import full_block, seeded_block
from blindsight.errors import InvalidCiphertext, SecretMaterialRefused
from blindsight.parameters import BFV_4096, CKKS_4096
from blindsight.ring.tiles import TILE, Geometry, column_block, from_tiles, to_tiles, view_tiles

KEY_ID = b"a key's sixteen."
COLUMNS = 2


@SETS
@pytest.mark.parametrize("columns", [1, 2, 7, 33])
def test_a_tile_holds_some_points_of_every_column(parameters, columns):
    polynomials = random_residues(parameters, columns, 1)
    tiles = to_tiles(polynomials)
    geometry = Geometry(parameters, columns)
    assert tiles.shape == geometry.shape == (geometry.rows, columns, TILE)
    assert tiles.nbytes == geometry.size_bytes
    each = parameters.ring_degree // TILE
    for row in range(geometry.rows):
        prime, start = row // each, row % each * TILE
        assert (tiles[row] == polynomials[:, prime, start : start + TILE]).all()


@SETS
@pytest.mark.parametrize("columns", [1, 2, 7, 33])
def test_polynomials_come_back_from_their_tiles(parameters, columns):
    polynomials = random_residues(parameters, columns, 1)
    tiles = to_tiles(polynomials)
    assert (from_tiles(tiles, parameters) == polynomials).all()
    assert not np.shares_memory(tiles, polynomials)
    assert not np.shares_memory(from_tiles(tiles, parameters), tiles)


@SETS
def test_tiles_come_back_from_a_block_without_a_copy(parameters):
    parts = [random_tiles(parameters, COLUMNS, seed) for seed in range(3)]
    block = column_block(parameters, KEY_ID, parts)
    assert parse_header(block) == BlockHeader(parameters, KEY_ID, Form.COLUMNS, 3 * COLUMNS)
    found = view_tiles(block, parameters, KEY_ID, Form.COLUMNS, COLUMNS)
    assert (found == np.stack(parts)).all()
    assert np.shares_memory(found, np.frombuffer(block, np.uint8))


def test_a_block_may_have_parts_of_several_widths():
    # A query has the columns of both regions: what a reader takes apart by their places.
    wide, narrow = random_tiles(CKKS_4096, 3, 1), random_tiles(CKKS_4096, 1, 2)
    block = column_block(CKKS_4096, KEY_ID, [wide, narrow])
    assert parse_header(block).count == 4
    assert block[HEADER.size :] == wide.tobytes() + narrow.tobytes()


def batch(tiles, parameters=CKKS_4096):
    header = BlockHeader(parameters, KEY_ID, Form.BATCH, tiles.shape[1])
    return header.pack() + tiles.tobytes() + bytes(range(BATCH_TRAILER_BYTES))


def test_a_batch_is_one_group_and_what_authenticates_it_is_no_part_of_it():
    tiles = random_tiles(CKKS_4096, COLUMNS, 1)
    (found,) = view_tiles(memoryview(batch(tiles)), CKKS_4096, KEY_ID, Form.BATCH, COLUMNS)
    assert (found == tiles).all()
    assert found.flags.c_contiguous
    assert found.flags.aligned


def patched(offset, data):
    """A block of columns with other bytes in it."""
    block = column_block(CKKS_4096, KEY_ID, [random_tiles(CKKS_4096, COLUMNS, 1)])
    return block[:offset] + data + block[offset + len(data) :]


def planes(form):
    residues = random_residues(CKKS_4096, COLUMNS, 1)
    if form is Form.SEEDED:
        return seeded_block(
            CKKS_4096, KEY_ID, residues[:, None], np.zeros((COLUMNS, 81), np.uint8)
        ).to_bytes()
    return full_block(CKKS_4096, KEY_ID, np.stack([residues, residues], axis=1)).to_bytes()


BAD = {
    "nothing": lambda: b"",
    "half a header": lambda: patched(0, b"")[:31],
    "a header alone": lambda: patched(0, b"")[: HEADER.size],
    "a byte less": lambda: patched(0, b"")[:-1],
    "a byte more": lambda: patched(0, b"") + b"x",
    "another magic": lambda: patched(0, b"XXXX"),
    "another version": lambda: patched(4, b"\x02"),
    "two polynomials": lambda: patched(7, b"\x02"),
    "no polynomials": lambda: patched(7, b"\x00"),
    "an unknown form": lambda: patched(6, b"\x05"),
    "reserved bytes": lambda: patched(10, b"\x01"),
    "no columns": lambda: patched(12, bytes(4)),
    "a column less than there are": lambda: patched(12, struct.pack("<I", COLUMNS - 1)),
    "columns without end": lambda: patched(12, b"\xff\xff\xff\xff"),
    "another key": lambda: patched(16, bytes(16)),
    "another parameter set": lambda: column_block(BFV_4096, KEY_ID, [random_tiles(BFV_4096, COLUMNS, 1)]),
    "a parameter set of another scheme": lambda: patched(5, b"\x02"),
    "a batch": lambda: batch(random_tiles(CKKS_4096, COLUMNS, 1)),
    "the form of a batch": lambda: patched(6, bytes([Form.BATCH])),
    "seeded planes": lambda: planes(Form.SEEDED),
    "full planes": lambda: planes(Form.FULL),
    "three columns": lambda: column_block(CKKS_4096, KEY_ID, [random_tiles(CKKS_4096, 3, 1)]),
    "one column": lambda: column_block(CKKS_4096, KEY_ID, [random_tiles(CKKS_4096, 1, 1)]),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_block_of_these_columns_is_refused(name):
    with pytest.raises(InvalidCiphertext):
        view_tiles(BAD[name](), CKKS_4096, KEY_ID, Form.COLUMNS, COLUMNS)


def test_columns_are_no_batch():
    block = column_block(CKKS_4096, KEY_ID, [random_tiles(CKKS_4096, COLUMNS, 1)])
    with pytest.raises(InvalidCiphertext, match="block of COLUMNS ciphertexts, want BATCH"):
        view_tiles(block, CKKS_4096, KEY_ID, Form.BATCH, COLUMNS)


@pytest.mark.parametrize("secret", [b"\x5e\xa1" + bytes(200), b"BSKY" + bytes(200), b"BSAS" + bytes(200)])
def test_a_key_is_called_by_its_name(secret):
    with pytest.raises(SecretMaterialRefused):
        view_tiles(secret, CKKS_4096, KEY_ID, Form.COLUMNS, COLUMNS)
