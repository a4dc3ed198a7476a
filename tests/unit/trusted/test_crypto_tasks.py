"""What a worker process encrypts and decrypts."""

import pickle

import numpy as np
import pytest
from support.columns import unit_rows
from support.keysets import shared_key_set

from blindsight.ciphertext.header import ADDITIVE_HEADER, Form, additive_header, parse_header
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.packing.columns import CollectionLayout, Layout
from blindsight.packing.segments import Placement, Region
from blindsight.parameters import CKKS_4096, PAILLIER_3072, PARAMETER_SETS
from blindsight.trusted.columns.keys import CollectionKeys
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import keys as worker_keys
from blindsight.trusted.crypto.computing import planes, vectors
from blindsight.trusted.secrets import Secret
from services.evaluator import tasks as evaluator
from services.evaluator.computing.additive import inner_products

ROOT = b"the secret of one collection ..."
PLACE = Placement(Region.TAIL, 2, 7, 5)
ROWS = unit_rows(PLACE.count, 12)


@pytest.fixture(scope="module", autouse=True)
def key_id():
    made = shared_key_set()
    worker_keys.start(tasks.Start.of(made))
    return made.key_id


@pytest.fixture(params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def secret(request, key_id):
    degree = request.param.ring_degree
    layout = CollectionLayout(Layout((12,), 2, degree), Layout((12,), 16, degree))
    keys = CollectionKeys(Secret(ROOT), request.param, layout, key_id)
    return tasks.ColumnSecret.of(keys)


# --- rows ---------------------------------------------------------------------------------------------


def test_rows_come_back_from_the_batches_of_their_segment(secret, key_id):
    after = Placement(Region.TAIL, 2, 12, 3)
    blocks = [
        (place, vectors.encrypt_batch(tasks.EncryptBatch(secret, place, rows)))
        for place, rows in ((PLACE, ROWS), (after, ROWS[:3]))
    ]
    header = parse_header(blocks[0][1])
    assert (header.form, header.key_id, header.parameters.name) == (Form.BATCH, key_id, secret.parameter_set)
    rows = vectors.decrypt_segment(tasks.DecryptSegment(secret, Region.TAIL, blocks))
    most = 2 * 21 / PARAMETER_SETS[secret.parameter_set].gallery_scale
    np.testing.assert_allclose(rows[7:15], np.concatenate([ROWS, ROWS[:3]]), rtol=0, atol=most)
    np.testing.assert_allclose(np.delete(rows, range(7, 15), axis=0), 0, atol=most)


def test_a_batch_that_is_not_the_one_that_was_written_is_data_loss(secret):
    block = vectors.encrypt_batch(tasks.EncryptBatch(secret, PLACE, ROWS))
    changed = block[:1000] + bytes([block[1000] ^ 1]) + block[1001:]
    elsewhere = Placement(Region.TAIL, 3, 7, 5)
    for place, one in ((PLACE, changed), (elsewhere, block)):
        with pytest.raises(DataLoss):
            vectors.decrypt_segment(tasks.DecryptSegment(secret, Region.TAIL, [(place, one)]))


def test_tasks_reach_a_worker_and_show_nothing_of_what_they_carry(secret):
    task = tasks.EncryptBatch(secret, PLACE, ROWS)
    again = pickle.loads(pickle.dumps(task))
    assert again.secret == secret
    assert again.place == PLACE
    for one in (task, secret, tasks.DecryptSegment(secret, Region.TAIL, [(PLACE, b"a block")])):
        assert ROOT.decode() not in repr(one)
        assert "array" not in repr(one)


# --- results under an additive scheme -----------------------------------------------------------------


LAYOUT = Layout((3,), 1, PAILLIER_3072.slots)


def encrypted(rows, key_id):
    """The block of a batch."""
    numbers = vectors.encrypt_columns(tasks.EncryptColumns(PAILLIER_3072.name, LAYOUT, rows, 0))
    return additive_header(PAILLIER_3072, key_id, LAYOUT.columns) + numbers


def answered(gallery, forms, key_id):
    """The evaluator's results."""
    key = worker_keys.additive_key(PAILLIER_3072.name).public_key.to_bytes()
    weights = np.rint(forms * PAILLIER_3072.query_scale).astype(int).tolist()
    results = inner_products.inner_products(evaluator.InnerProducts(key, gallery, tuple(map(tuple, weights))))
    header = additive_header(PAILLIER_3072, key_id, len(results), PAILLIER_3072.most_growth)
    return header + b"".join(results)


def test_columns_under_an_additive_scheme_come_back(key_id):
    rows = unit_rows(10, 3)
    block = encrypted(rows, key_id)
    found = vectors.decrypt_columns(tasks.DecryptColumns(PAILLIER_3072.name, LAYOUT, [block]))
    np.testing.assert_allclose(found[:10], rows, atol=0.5001 / PAILLIER_3072.gallery_scale)
    assert not found[10:].any()


def test_scores_under_an_additive_scheme_are_rounded_to_its_grid(key_id):
    rows, forms = unit_rows(10, 3), unit_rows(2, 3, seed=4)
    block = answered(encrypted(rows, key_id), forms, key_id)
    scores = vectors.decrypt_scores(tasks.DecryptScores(PAILLIER_3072.name, LAYOUT, block))
    assert scores.shape == (2, LAYOUT.capacity)
    bound = PAILLIER_3072.score_error_bound(LAYOUT.capacity)
    np.testing.assert_allclose(scores[:, :10], forms @ rows.T, rtol=0, atol=bound)
    assert not scores[:, 10:].any()
    grid = PAILLIER_3072.score_grid
    np.testing.assert_array_equal(scores, np.rint(scores / grid) * grid)


def test_results_that_are_no_block_of_the_scheme_are_refused(key_id):
    good = answered(encrypted(unit_rows(2, 3), key_id), unit_rows(1, 3), key_id)
    for bad in (b"", good[: ADDITIVE_HEADER.size], good[:-1], good + b"\0", bytes(len(good))):
        with pytest.raises(InvalidCiphertext):
            vectors.decrypt_scores(tasks.DecryptScores(PAILLIER_3072.name, LAYOUT, bad))


# --- planes -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [-1, 256, 1000])
def test_planes_that_hold_no_pixels_are_data_loss(value):
    def stored(tiles):
        factors = np.ones((len(tiles), len(CKKS_4096.primes)), np.uint64)
        block, _ = planes.encrypt_planes(tasks.EncryptPlanes(CKKS_4096.name, tiles, factors))
        return planes.decrypt_planes(tasks.DecryptPlanes(CKKS_4096.name, block))

    tiles = np.full((2, CKKS_4096.ring_degree), 7)
    assert (stored(tiles) == 7).all()
    tiles[1, 5] = value
    with pytest.raises(DataLoss, match="do not hold pixels"):
        stored(tiles)
