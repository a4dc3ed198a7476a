"""The checks of what the evaluator made of encrypted tiles and blocks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keysets import shared_key_set

from blindsight.additive.planes import PlaneShape
from blindsight.ciphertext.residues import full_block, read_block
from blindsight.packing.kernels import PlaneKernel
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted import schemes
from blindsight.trusted.imaging import block_checks
from blindsight.trusted.imaging.tile_checks import IDENTITY, PlaneRecord, TileCheck, combined
from blindsight.trusted.secrets import Secret
from services.evaluator.computing import imaging
from services.evaluator.tasks import Subtract, Transform

KEYS = shared_key_set()
KEY = Secret(b"a key from which gamma is drawn.")
KERNELS = (
    PlaneKernel(1, 1, 0, 0, (1,)),
    PlaneKernel(3, 2, 1, 1, (1, -2, 3, 0, 5, -6), -300),
    PlaneKernel(1, 5, 0, 4, (7, 0, 0, 0, -(1 << 20)), 1 << 15),
)
COUNT = 3


@pytest.fixture(scope="module", params=PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
def parameters(request):
    return request.param


def encrypted(parameters, seed):
    scheme = schemes.load(parameters, KEYS.secret_key(parameters.name))
    tiles = np.random.default_rng(seed).integers(0, 256, (COUNT, parameters.ring_degree))
    return scheme.encrypt_planes(tiles, KEYS.key_id)


def results_of(parameters, block):
    task = Transform(parameters, KEYS.key_id, block.to_bytes(), KERNELS)
    return [read_block(one, parameters, KEYS.key_id) for one in imaging.transform(task)]


def check_of(parameters, results, kernels=KERNELS):
    """The check with all results, of which those of a tile may come alone."""
    check = TileCheck(parameters, KEY, kernels, COUNT)
    for kernel, block in enumerate(results):
        for first, last in ((0, 1), (1, COUNT)):
            part = full_block(parameters, KEYS.key_id, block.residues[first:last])
            check.add(kernel, combined(part, check.factors(first, last - first)))
    return check


def test_right_results_pass_and_changed_ones_do_not(parameters):
    block = encrypted(parameters, 1)
    results = results_of(parameters, block)
    gamma = TileCheck(parameters, KEY, KERNELS, COUNT).factors(0, COUNT)
    tiles = combined(block, gamma)
    assert check_of(parameters, results).passes(tiles)
    assert not check_of(parameters, results).passes(combined(encrypted(parameters, 1), gamma))
    generator = np.random.default_rng(2)
    for kernel in range(len(KERNELS)):
        changed = [one.residues.copy() for one in results]
        place = tuple(generator.integers(0, size) for size in changed[kernel].shape)
        prime = np.array(parameters.primes)[place[2]]
        changed[kernel][place] = (changed[kernel][place] + 1) % prime
        lies = [full_block(parameters, KEYS.key_id, one) for one in changed]
        assert not check_of(parameters, lies).passes(tiles)


def test_results_that_come_again_are_counted_once(parameters):
    block = encrypted(parameters, 1)
    results = results_of(parameters, block)
    check = check_of(parameters, results[::-1])
    check.restart()
    for kernel, one in enumerate(results):
        check.add(kernel, combined(one, check.factors(0, COUNT)))
    assert check.passes(combined(block, check.factors(0, COUNT)))


def test_a_difference_passes_and_its_opposite_does_not(parameters):
    first, second = encrypted(parameters, 1), encrypted(parameters, 2)
    task = Subtract(parameters, KEYS.key_id, first.to_bytes(), second.to_bytes())
    results = [read_block(one, parameters, KEYS.key_id) for one in imaging.subtract(task)]
    check = check_of(parameters, results, [IDENTITY])
    sums = [combined(one, check.factors(0, COUNT)) for one in (first, second)]
    assert check.passes(*sums)
    assert not check.passes(*sums[::-1])


def test_gamma_differs_by_tile_prime_and_key_and_not_by_how_many_there_are(parameters):
    gamma = TileCheck(parameters, KEY, KERNELS, 500).factors(0, 500)
    assert len(np.unique(gamma)) > 0.99 * gamma.size
    assert (gamma < np.array(parameters.primes, np.uint64)).all()
    np.testing.assert_array_equal(TileCheck(parameters, KEY, KERNELS, 7).factors(2, 5), gamma[2:7])
    other = TileCheck(parameters, Secret(bytes(32)), KERNELS, 500).factors(0, 500)
    assert not (other == gamma).any()


def test_a_record_of_planes_comes_back_from_its_bytes(parameters):
    combination = combined(encrypted(parameters, 3), np.ones((COUNT, len(parameters.primes)), np.uint64))
    record = PlaneRecord((b"a" * 32, b"b" * 32), combination)
    again = PlaneRecord.from_bytes(record.to_bytes(), 2, parameters)
    assert again.digests == record.digests
    np.testing.assert_array_equal(again.combination, combination)


# --- blocks of Paillier ---------------------------------------------------------------------------------

SHAPE = PlaneShape(9, 8, 2)


def filtered(kernel, blocks):
    """What a kernel makes of blocks, pixel by pixel."""
    results = np.zeros((SHAPE.inner_height, SHAPE.inner_width, blocks.shape[2]), np.int64)
    for index, weight in enumerate(kernel.weights):
        row, column = divmod(index, kernel.width)
        top, left = SHAPE.halo - kernel.anchor_row + row, SHAPE.halo - kernel.anchor_column + column
        results += weight * blocks[top:, left:][: SHAPE.inner_height, : SHAPE.inner_width]
    return (results + kernel.offset).astype(np.int32)


kernels = st.builds(
    lambda weights, anchor, offset: PlaneKernel(3, 3, *anchor, tuple(weights), offset),
    st.lists(st.integers(-300, 300), min_size=9, max_size=9).filter(any),
    st.tuples(st.integers(0, 2), st.integers(0, 2)),
    st.integers(-(1 << 20), 1 << 20),
)


@settings(deadline=None)
@given(
    kernels, st.integers(0, 99), st.sampled_from([1, -1, 2, 1 << 16, -(1 << 31)]), st.integers(0, 2**32 - 1)
)
def test_right_results_of_blocks_pass_and_changed_ones_do_not(kernel, place, error, seed):
    blocks = np.random.default_rng(seed).integers(0, 256, (SHAPE.height, SHAPE.width, 5), np.int32)
    results = filtered(kernel, blocks)
    assert block_checks.passes(SHAPE, kernel, blocks, results)
    lie = results.astype(np.int64)
    lie.reshape(-1)[place % lie.size] += error
    assert not block_checks.passes(SHAPE, kernel, blocks, lie.astype(np.int32))
    assert not block_checks.passes(SHAPE, kernel, blocks, results[..., ::-1] + np.eye(5, dtype=np.int32)[0])
