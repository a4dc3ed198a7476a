"""Batches as storage gives them back: nothing but what was written for their place is taken."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.columns import KEY_ID, collection_keys, unit_rows

from blindsight.ciphertext.header import BATCH_TRAILER_BYTES, HEADER, Form, parse_header
from blindsight.errors import DataLoss
from blindsight.packing.columns import Layout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import PARAMETER_SETS
from blindsight.ring.tiles import column_block
from blindsight.trusted.columns import batches
from blindsight.trusted.secrets import Secret

PLACE = Placement(Region.MAIN, 3, 10, 5)
SEED, NONCE, TAG = (slice(-60, -28), slice(-28, -16), slice(-16, None))


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


@pytest.fixture(scope="module")
def keys(parameters):
    return collection_keys(parameters, Layout((6,), 2, parameters.ring_degree))


@pytest.fixture(scope="module")
def block(keys):
    return batches.encrypt(unit_rows(PLACE.count, 6), PLACE, keys)


def is_refused(block, place, keys):
    """Whoever opens it learns that it is not the one, and nothing else."""
    with pytest.raises(DataLoss):
        batches.read(block, place, keys)
    with pytest.raises(DataLoss):
        batches.decrypt([(place, block)], place.region, keys)


def test_a_batch_comes_back_as_it_was_written(block, keys, parameters):
    read = batches.read(block, PLACE, keys)
    assert (read.place, read.seed) == (PLACE, block[SEED])
    header = parse_header(block)
    assert (header.form, header.count, header.key_id) == (Form.BATCH, 3, KEY_ID)
    assert len(block) == header.size_bytes == HEADER.size + read.tiles.nbytes + BATCH_TRAILER_BYTES
    rows = batches.decrypt([(PLACE, block)], Region.MAIN, keys)
    most = 21 / parameters.gallery_scale
    np.testing.assert_allclose(rows[10:15], unit_rows(PLACE.count, 6), rtol=0, atol=most)
    np.testing.assert_allclose(np.delete(rows, range(10, 15), axis=0), 0, atol=most)


def test_a_changed_byte_anywhere_is_noticed(block, keys):
    size = len(block)
    trailer = range(size - BATCH_TRAILER_BYTES, size)
    tiles = np.random.default_rng(1).integers(HEADER.size, size - BATCH_TRAILER_BYTES, 40).tolist()
    ends = [HEADER.size, size - BATCH_TRAILER_BYTES - 1]
    for at in (*range(HEADER.size), *tiles, *ends, *trailer):
        for flip in (1, 0x80):
            changed = bytearray(block)
            changed[at] ^= flip
            with pytest.raises(DataLoss):
                batches.read(bytes(changed), PLACE, keys)


@pytest.mark.parametrize("part", [SEED, NONCE, TAG], ids=["seed", "nonce", "tag"])
def test_the_seed_nonce_or_tag_of_another_batch_is_noticed(block, keys, part):
    other = batches.encrypt(unit_rows(PLACE.count, 6), PLACE, keys)
    changed = bytearray(block)
    changed[part] = other[part]
    is_refused(bytes(changed), PLACE, keys)


def test_tiles_that_change_places_are_noticed(block, keys):
    words = np.frombuffer(block, "<u4").copy()
    words[8:40], words[40:72] = words[40:72].copy(), words[8:40].copy()
    is_refused(words.tobytes(), PLACE, keys)


def test_a_batch_that_is_shorter_or_longer_is_noticed(block, keys):
    for changed in (b"", block[:10], block[:-1], block[1:], block + b"\0", block[:-60], block * 2):
        is_refused(changed, PLACE, keys)


@pytest.mark.parametrize(
    "other",
    [
        replace(PLACE, region=Region.TAIL),
        replace(PLACE, index=4),
        replace(PLACE, first_slot=9),
        replace(PLACE, count=4),
    ],
    ids=["region", "segment", "slot", "count"],
)
def test_a_batch_of_another_place_is_noticed(block, keys, other):
    is_refused(block, other, keys)


def test_a_batch_of_another_collection_or_owner_is_noticed(block, keys, parameters):
    is_refused(block, PLACE, collection_keys(parameters, keys.layout.main, "another"))
    is_refused(block, PLACE, replace(keys, key_id=b"another sixteen."))
    # Not even one that names this key.
    stranger = replace(keys, root=Secret(bytes(32)))
    is_refused(batches.encrypt(unit_rows(PLACE.count, 6), PLACE, stranger), PLACE, keys)


def test_a_batch_of_another_parameter_set_is_noticed(block, keys, parameters):
    for other in PARAMETER_SETS.values():
        if other is not parameters:
            of = collection_keys(other, Layout((6,), 2, other.ring_degree))
            is_refused(block, PLACE, replace(of, root=keys.root))


def test_the_columns_of_a_query_are_no_batch(block, keys, parameters):
    tiles = batches.read(block, PLACE, keys).tiles
    is_refused(column_block(parameters, KEY_ID, [tiles]), PLACE, keys)
