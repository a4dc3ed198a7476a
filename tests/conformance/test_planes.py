"""Pixels come back from every scheme as they were, and so do sums and differences of ciphertexts."""

import numpy as np
import pytest
from support.keysets import shared_key_set
from support.schemes import Pair

from blindsight.ciphertext import residues
from blindsight.errors import InvalidVector
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import PlaneLayout
from blindsight.parameters import PARAMETER_SETS, Scheme
from services.evaluator import tasks
from services.evaluator.computing import imaging

UNCHANGED = PlaneKernel(1, 1, 0, 0, (1,), 0)
EXACT = [parameters for parameters in PARAMETER_SETS.values() if parameters.scheme is Scheme.BFV]


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def pair(request):
    return Pair(request.param, shared_key_set())


def pixels(shape, seed):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def received(pair, tiles):
    """What the other side of the wire reads of encrypted tiles."""
    block = pair.secret.encrypt_planes(tiles, pair.key_id)
    return residues.read_block(block.to_bytes(), pair.parameters, pair.key_id)


def expanded(pair, block):
    """Full ciphertexts in NTT form, as the evaluator computes on: [count, 2, primes, N]."""
    task = tasks.Transform(pair.parameters, pair.key_id, block.to_bytes(), (UNCHANGED,))
    (made,) = imaging.transform(task)
    return residues.read_block(made, pair.parameters, pair.key_id).residues


def decrypted(pair, values):
    block = residues.full_block(pair.parameters, pair.key_id, values)
    parsed = residues.read_block(block.to_bytes(), pair.parameters, pair.key_id)
    return pair.secret.decrypt_planes(parsed)


@pytest.mark.parametrize("shape", [(1, 1), (64, 64), (65, 129, 3), (200, 150)], ids=str)
def test_pixels_come_back_identical(pair, shape):
    image = pixels(shape, 1)
    layout = PlaneLayout.of(image, pair.parameters.ring_degree)
    tiles = pair.secret.decrypt_planes(received(pair, layout.pack(image)))
    assert tiles.dtype == np.int64
    np.testing.assert_array_equal(layout.unpack(tiles), image)


@pytest.mark.parametrize("value", [0, 1, 255])
def test_flat_tiles_come_back_identical(pair, value):
    tiles = np.full((2, pair.parameters.ring_degree), value, np.uint8)
    np.testing.assert_array_equal(pair.secret.decrypt_planes(received(pair, tiles)), tiles)


def test_tiles_whose_first_pixel_alone_is_set_come_back_identical(pair):
    tiles = np.zeros((1, pair.parameters.ring_degree), np.uint8)
    tiles[0, 0] = 200
    np.testing.assert_array_equal(pair.secret.decrypt_planes(received(pair, tiles)), tiles)


def test_full_ciphertexts_decrypt_like_the_seeded_ones_that_they_were(pair):
    tiles = pixels((3, pair.parameters.ring_degree), 2)
    full = expanded(pair, received(pair, tiles))
    np.testing.assert_array_equal(decrypted(pair, full), tiles)


def test_sums_and_differences_of_ciphertexts_are_those_of_the_pixels(pair):
    first, second = (pixels((2, pair.parameters.ring_degree), seed) for seed in (3, 4))
    one, other = (expanded(pair, received(pair, tiles)) for tiles in (first, second))
    primes = residues.prime_column(pair.parameters)
    negative = np.where(other == 0, other, primes - other)
    total = residues.add(one, other, pair.parameters)
    difference = residues.add(one, negative, pair.parameters)
    np.testing.assert_array_equal(decrypted(pair, total), first.astype(int) + second)
    np.testing.assert_array_equal(decrypted(pair, difference), first.astype(int) - second)


def test_fifty_added_images_are_still_exact(pair):
    tiles = pixels((1, pair.parameters.ring_degree), 5)
    total = one = expanded(pair, received(pair, tiles))
    for _ in range(49):
        total = residues.add(total, one, pair.parameters)
    np.testing.assert_array_equal(decrypted(pair, total), 50 * tiles.astype(int))


def test_two_encryptions_of_one_image_differ(pair):
    tiles = pixels((1, pair.parameters.ring_degree), 6)
    first, second = (received(pair, tiles) for _ in range(2))
    assert (first.residues != second.residues).mean() > 0.99


@pytest.mark.parametrize("pair", EXACT, indirect=True, ids=lambda parameters: parameters.name)
def test_integers_beyond_the_plain_modulus_are_refused(pair):
    tiles = np.full((1, pair.parameters.ring_degree), pair.parameters.plain_modulus // 2)
    with pytest.raises(InvalidVector, match="want less than"):
        received(pair, tiles)
