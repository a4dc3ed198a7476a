"""Blocks of a picture on top of each other: nothing is lost, and no pixel is without its neighbours."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blindsight.errors import InvalidArgument
from blindsight.trusted.imaging.blocks import Blocks, arrange
from blindsight.trusted.imaging.borders import Border, pad

SHAPES = st.tuples(st.sampled_from([1, 3]), st.integers(1, 40), st.integers(1, 40))


def anything(blocks):
    return True


@settings(deadline=None)
@given(SHAPES, st.integers(0, 4), st.integers(3, 200), st.integers(1, 4))
def test_every_block_has_its_neighbourhood_and_together_they_are_the_picture(shape, halo, slots, results):
    planes = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    blocks = arrange(shape, halo, slots, results, anything)
    assert blocks.count <= slots
    cut = blocks.cut(pad(planes, halo, Border.REFLECT))
    assert cut.shape == (*blocks.outer, blocks.count)
    inner = slice(halo, halo + blocks.inner_height), slice(halo, halo + blocks.inner_width)
    np.testing.assert_array_equal(blocks.join(cut[inner]), planes)
    if halo:  # what is one pixel above and to the left
        moved = slice(halo - 1, inner[0].stop - 1), slice(halo - 1, inner[1].stop - 1)
        wanted = pad(planes, halo, Border.REFLECT)[:, halo - 1 : halo - 1 + shape[1]]
        wanted = wanted[:, :, halo - 1 : halo - 1 + shape[2]]
        np.testing.assert_array_equal(blocks.join(cut[moved]), wanted)


def test_blocks_fill_the_slots_and_are_wider_than_their_halo():
    blocks = arrange((1, 512, 512), 2, 180, 1, anything)
    assert blocks.inner_height * blocks.inner_width < 1.05 * 512 * 512 / 180
    height, width = blocks.outer
    assert height * width < 1.3 * 512 * 512 / 180


def test_what_fits_nowhere_is_refused_with_its_size():
    with pytest.raises(InvalidArgument, match="a picture of 512 x 300 in 180 slots"):
        arrange((1, 300, 512), 2, 180, 1, lambda blocks: False)
    narrow = arrange((1, 300, 512), 2, 180, 1, lambda blocks: blocks.outer[1] < 10)
    assert isinstance(narrow, Blocks)
    assert narrow.outer[1] < 10
