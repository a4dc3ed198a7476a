"""Filters and differences of encrypted tiles, under every parameter set, against OpenCV."""

from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.ciphertext.residues import cut, full_block, read_block
from blindsight.errors import InvalidArgument, InvalidCiphertext
from blindsight.packing.kernels import PlaneKernel
from blindsight.packing.planes import PlaneLayout
from blindsight.parameters import PARAMETER_SETS
from blindsight.trusted import schemes
from services.evaluator.computing import imaging
from services.evaluator.tasks import Subtract, Transform

KEY_ID = bytes(range(16))
SETS = pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=lambda one: one.name)


@cache
def scheme(parameters):
    return schemes.load(parameters, schemes.generate_secret_key(parameters))


def encrypted(parameters, tiles):
    return scheme(parameters).encrypt_planes(tiles, KEY_ID)


def decrypted(parameters, block):
    return scheme(parameters).decrypt_planes(read_block(block, parameters, KEY_ID))


def transformed(parameters, layout, image, *kernels):
    task = Transform(parameters, KEY_ID, encrypted(parameters, layout.pack(image)).to_bytes(), kernels)
    blocks = imaging.transform(task)
    return [layout.unpack(decrypted(parameters, block)) for block in blocks]


def expected(image, kernel, halo):
    """OpenCV over the padded picture, in floats that hold every integer here."""
    weights = np.array(kernel.weights, np.float64).reshape(kernel.height, kernel.width)
    padded = np.pad(image, halo, mode="reflect").astype(np.float64)
    anchor = kernel.anchor_column, kernel.anchor_row
    whole = cv2.filter2D(padded, -1, weights, anchor=anchor, delta=kernel.offset)
    return whole[halo : halo + image.shape[0], halo : halo + image.shape[1]]


@st.composite
def kernels(draw, most_side=7, most_weight=2000):
    height, width = draw(st.integers(1, most_side)), draw(st.integers(1, most_side))
    numbers = st.integers(-most_weight, most_weight)
    weights = draw(st.lists(numbers, min_size=height * width, max_size=height * width).filter(any))
    anchor = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    return PlaneKernel(height, width, *anchor, tuple(weights), draw(st.integers(-(10**6), 10**6)))


@SETS
@settings(max_examples=8, deadline=None)
@given(kernel=kernels(), shape=st.tuples(st.integers(1, 70), st.integers(1, 70)), seed=st.integers(0, 99))
def test_any_kernel_of_integers_is_applied_exactly_to_any_picture(parameters, kernel, shape, seed):
    image = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    layout = PlaneLayout.of(image, parameters.ring_degree, halo=6)
    (found,) = transformed(parameters, layout, image, kernel)
    np.testing.assert_array_equal(found, expected(image, kernel, 6))


@SETS
def test_every_kernel_has_a_result_of_its_own_and_results_are_subtracted_again(parameters):
    image = np.random.default_rng(1).integers(0, 256, (90, 41), np.uint8)
    layout = PlaneLayout.of(image, parameters.ring_degree, halo=2)
    across = PlaneKernel(1, 3, 0, 1, (-1, 0, 1))
    down = PlaneKernel(3, 1, 1, 0, (-1, 0, 1), 7)
    tiles = encrypted(parameters, layout.pack(image)).to_bytes()
    blocks = imaging.transform(Transform(parameters, KEY_ID, tiles, (across, down)))
    for kernel, block in zip((across, down), blocks, strict=True):
        np.testing.assert_array_equal(layout.unpack(decrypted(parameters, block)), expected(image, kernel, 2))
    (rest,) = imaging.subtract(Subtract(parameters, KEY_ID, blocks[0], blocks[1]))
    np.testing.assert_array_equal(
        layout.unpack(decrypted(parameters, rest)), expected(image, across, 2) - expected(image, down, 2)
    )
    (mixed,) = imaging.subtract(Subtract(parameters, KEY_ID, tiles, blocks[0]))
    np.testing.assert_array_equal(
        layout.unpack(decrypted(parameters, mixed)), image - expected(image, across, 2)
    )


@SETS
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 99), count=st.integers(1, 3))
def test_differences_do_not_wrap(parameters, seed, count):
    random = np.random.default_rng(seed)
    first, second = random.integers(-(2**27), 2**27, (2, count, parameters.ring_degree))
    first[0, :2], second[0, :2] = (0, 255), (255, 0)
    task = Subtract(parameters, KEY_ID, *(encrypted(parameters, one).to_bytes() for one in (first, second)))
    (block,) = imaging.subtract(task)
    np.testing.assert_array_equal(decrypted(parameters, block), first - second)


@SETS
def test_a_residue_over_its_prime_is_refused(parameters):
    good = encrypted(parameters, np.zeros((2, parameters.ring_degree), np.int64))
    bad = good.residues.copy()
    bad[1, 0, 0, 5] = parameters.primes[0]
    block = type(good)(good.header, bad, good.seeds).to_bytes()
    kernel = PlaneKernel(1, 1, 0, 0, (1,))
    with pytest.raises(InvalidCiphertext, match="want less than the prime"):
        imaging.transform(Transform(parameters, KEY_ID, block, (kernel,)))
    with pytest.raises(InvalidCiphertext, match="want less than the prime"):
        imaging.subtract(Subtract(parameters, KEY_ID, good.to_bytes(), block))


@SETS
def test_a_block_is_cut_into_blocks_of_the_same_ciphertexts(parameters):
    tiles = np.arange(5 * parameters.ring_degree).reshape(5, -1) % 251
    seeded = encrypted(parameters, tiles)
    kernel = PlaneKernel(1, 1, 0, 0, (1,))
    (computed,) = imaging.transform(Transform(parameters, KEY_ID, seeded.to_bytes(), (kernel,)))
    for block in (seeded, read_block(computed, parameters, KEY_ID)):
        parts = [cut(block, start, start + 2).to_bytes() for start in range(0, 5, 2)]
        np.testing.assert_array_equal(np.concatenate([decrypted(parameters, part) for part in parts]), tiles)


def test_results_have_the_wire_form_of_full_ciphertexts():
    parameters = PARAMETER_SETS["bfv-4096"]
    tiles = encrypted(parameters, np.zeros((3, parameters.ring_degree), np.int64))
    (block,) = imaging.subtract(Subtract(parameters, KEY_ID, tiles.to_bytes(), tiles.to_bytes()))
    zeros = np.zeros((3, 2, len(parameters.primes), parameters.ring_degree), np.uint32)
    assert block == full_block(parameters, KEY_ID, zeros).to_bytes()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((0, 1, 0, 0, ()), "kernel of 0 x 1, want 1 x 1 to 64 x 64"),
        ((65, 1, 0, 0, (1,) * 65), "kernel of 65 x 1, want 1 x 1 to 64 x 64"),
        ((2, 2, 0, 0, (1, 2, 3)), "kernel of 2 x 2 with 3 weights, want 4"),
        ((1, 1, 1, 0, (1,)), "anchor at 1, 0, want it in a kernel of 1 x 1"),
        ((1, 2, 0, 0, (0, 0)), "kernel of zeros, want at least one non-zero weight"),
        ((1, 1, 0, 0, (2**62 + 1,)), "kernel whose weights or offset pass 4611686018427387904, want less"),
        ((1, 1, 0, 0, (1,), -(2**63)), "kernel whose weights or offset pass 4611686018427387904, want less"),
    ],
)
def test_what_is_no_kernel_is_refused(arguments, said):
    with pytest.raises(InvalidArgument) as refused:
        PlaneKernel(*arguments)
    assert refused.value.message == said


def test_a_kernel_knows_how_far_it_looks_and_how_much_it_grows():
    kernel = PlaneKernel(2, 5, 1, 1, (3, 0, 0, 0, -4, 0, 0, 0, 0, 0))
    assert (kernel.reach, kernel.gain, kernel.norm) == (3, 7, 5.0)
