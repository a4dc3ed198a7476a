"""What a worker process makes of an evaluator's results."""

import numpy as np
import pytest
from support.keysets import shared_key_set

from blindsight.ciphertext.residues import full_block
from blindsight.errors import DataLoss, InvalidCiphertext
from blindsight.packing.columns import Layout
from blindsight.parameters import CKKS_4096
from blindsight.trusted.crypto import tasks
from blindsight.trusted.crypto.computing import keys as worker_keys
from blindsight.trusted.crypto.computing import planes, vectors
from blindsight.trusted.similarity.linear import Affine

LAYOUT = Layout(fields=(128,), stride=8, ring_degree=CKKS_4096.ring_degree)
HIGHER, LOWER = (Affine(higher_is_better=higher, multiplier=1.0, offset=0.0) for higher in (True, False))
LIVE = np.array([True, False, True, True, False])


@pytest.fixture(scope="module")
def key_id():
    made = shared_key_set()
    worker_keys.start(tasks.Start.of(made))
    return made.key_id


def results(key_id, count):
    """Products of zeros: every score is 0."""
    shape = (count, 3, len(CKKS_4096.primes), CKKS_4096.ring_degree)
    return full_block(CKKS_4096, key_id, np.zeros(shape, np.uint32)).to_bytes()


def test_only_slots_with_an_item_are_picked(key_id):
    pick = tasks.Pick((HIGHER, HIGHER), k=10)
    found = vectors.pick_best(
        tasks.PickBest(CKKS_4096.name, LAYOUT, results(key_id, 4), [LIVE, LIVE[:3]], pick)
    )
    slots = [[sorted(best.slots.tolist()) for best in by_query] for by_query in found]
    assert slots == [[[0, 2, 3], [0, 2, 3]], [[0, 2], [0, 2]]]


def test_a_segment_without_items_gives_nothing(key_id):
    pick = tasks.Pick((LOWER,), k=3)
    ((best,),) = vectors.pick_best(
        tasks.PickBest(CKKS_4096.name, LAYOUT, results(key_id, 1), [LIVE[:0]], pick)
    )
    assert best.slots.size == best.scores.size == 0


@pytest.mark.parametrize("count", [1, 3, 4])
def test_another_number_of_results_than_of_segments_and_queries_is_refused(key_id, count):
    pick = tasks.Pick((HIGHER,), k=3)
    with pytest.raises(InvalidCiphertext, match=f"{count} results, want 2 x 1 x 1"):
        vectors.pick_best(tasks.PickBest(CKKS_4096.name, LAYOUT, results(key_id, count), [LIVE, LIVE], pick))


@pytest.mark.parametrize("count", [2, 16])
def test_more_than_one_product_of_a_pair_is_refused(key_id, count):
    with pytest.raises(InvalidCiphertext, match=f"{count} results of 3 polynomials, want 1 of 3"):
        vectors.decrypt_pair(tasks.DecryptPair(CKKS_4096.name, LAYOUT, results(key_id, count)))


def test_a_pair_that_was_not_multiplied_is_refused(key_id):
    row = np.linspace(-0.1, 0.1, LAYOUT.dimension)
    gallery, query = vectors.encrypt_pair(tasks.EncryptPair(CKKS_4096.name, LAYOUT, row, row))
    for block in (gallery, query):
        with pytest.raises(InvalidCiphertext, match="of 2 polynomials, want 1 of 3"):
            vectors.decrypt_pair(tasks.DecryptPair(CKKS_4096.name, LAYOUT, block))


def test_the_product_of_a_pair_is_rounded_to_its_grid(key_id):
    assert vectors.decrypt_pair(tasks.DecryptPair(CKKS_4096.name, LAYOUT, results(key_id, 1))) == 0
    assert CKKS_4096.pair_grid < CKKS_4096.score_grid


@pytest.mark.parametrize("value", [-1, 256, 1000])
def test_planes_that_hold_no_pixels_are_data_loss(key_id, value):
    def stored(tiles):
        block = planes.encrypt_planes(tasks.EncryptPlanes(CKKS_4096.name, tiles))
        return planes.decrypt_planes(tasks.DecryptPlanes(CKKS_4096.name, block))

    tiles = np.full((2, CKKS_4096.ring_degree), 7)
    assert (stored(tiles) == 7).all()
    tiles[1, 5] = value
    with pytest.raises(DataLoss, match="do not hold pixels"):
        stored(tiles)
