"""Where pixels lie: every pixel once, its neighbours around it, and limits on what is taken at all."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from blindsight.errors import InvalidArgument
from blindsight.packing.planes import PlaneLayout
from blindsight.packing.tiling import MAX_COEFFICIENTS, MAX_PIXELS, PIECE_CIPHERTEXTS, Tiling
from blindsight.parameters import PARAMETER_SETS

# Small rings, so that small images have many tiles; 512 has tiles of 16 x 32.
DEGREES = (64, 256, 512)
SIDES = st.integers(1, 40)


@st.composite
def images(draw):
    shape = (draw(SIDES), draw(SIDES), *draw(st.sampled_from([(), (3,)])))
    return draw(arrays.arrays(np.uint8, shape))


@st.composite
def laid_out(draw):
    image = draw(images())
    degree = draw(st.sampled_from(DEGREES))
    return image, PlaneLayout.of(image, degree, draw(st.integers(0, 3)))


@given(laid_out())
def test_unpacking_gives_back_the_pixels(made):
    image, layout = made
    packed = layout.pack(image)
    assert (packed.shape, packed.dtype) == ((layout.ciphertexts, layout.ring_degree), np.uint8)
    unpacked = layout.unpack(packed)
    assert unpacked.dtype == np.uint8
    np.testing.assert_array_equal(unpacked, image)


def mirrored(places, length, halo):
    """Which pixel stands at a place: mirrored in the halo beyond the border, the last of these farther on."""
    period = max(1, 2 * (length - 1))
    turned = np.minimum(places, length - 1 + halo) % period
    return np.minimum(turned, period - turned) if length > 1 else 0 * turned


@given(laid_out())
def test_every_pixel_of_a_tile_is_the_image_there_and_its_mirror_beyond(made):
    image, layout = made
    tiles = layout.pack(image).reshape(
        layout.channels, layout.tile_rows, layout.tile_columns, layout.tile_height, layout.tile_width
    )
    planes = image.reshape(layout.height, layout.width, layout.channels)
    for row in range(layout.tile_rows):
        for column in range(layout.tile_columns):
            across = np.arange(layout.tile_width) + column * layout.inner_width - layout.halo
            down = np.arange(layout.tile_height) + row * layout.inner_height - layout.halo
            inside = np.ix_(
                mirrored(down, layout.height, layout.halo), mirrored(across, layout.width, layout.halo)
            )
            for channel in range(layout.channels):
                np.testing.assert_array_equal(tiles[channel, row, column], planes[:, :, channel][inside])


@given(laid_out())
def test_differences_of_tiles_unpack_to_differences_of_images(made):
    image, layout = made
    first, second = image.astype(np.int64), np.flip(image, axis=1).astype(np.int64)
    difference = layout.unpack(layout.pack(first) - layout.pack(second))
    np.testing.assert_array_equal(difference, first - second)


@given(laid_out())
def test_pieces_hold_all_ciphertexts_and_none_is_empty(made):
    _, layout = made
    assert sum(layout.pieces) == layout.ciphertexts
    assert all(count == PIECE_CIPHERTEXTS for count in layout.pieces[:-1])
    assert 1 <= layout.pieces[-1] <= PIECE_CIPHERTEXTS


@pytest.mark.parametrize(("degree", "shape"), [(4096, (64, 64)), (8192, (64, 128))])
def test_a_tile_is_as_square_as_the_ring_allows(degree, shape):
    layout = PlaneLayout(1005, 642, 3, degree)
    assert (layout.tile_height, layout.tile_width) == shape


def test_a_photo_has_as_many_ciphertexts_as_its_tiles_and_channels():
    layout = PlaneLayout(1005, 642, 3, 4096)
    assert (layout.tile_columns, layout.tile_rows, layout.ciphertexts) == (16, 11, 528)
    assert PlaneLayout(1005, 642, 3, 4096, halo=4).ciphertexts == 3 * 18 * 12
    assert Tiling(1005, 642, 3, 4096).pieces == layout.pieces == (64,) * 8 + (16,)


@pytest.mark.parametrize("parameters", PARAMETER_SETS.values(), ids=lambda parameters: parameters.name)
@pytest.mark.parametrize(("width", "height"), [(3840, 2160), (2160, 3840), (2896, 2896), (16384, 512)])
def test_photos_of_eight_megapixels_are_taken(width, height, parameters):
    tiling = Tiling(width, height, 3, parameters.ring_degree)
    assert max(tiling.piece_bytes(parameters, count) for count in tiling.pieces) < 8 << 20
    assert tiling.size_bytes(parameters) < 400 << 20


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"width": 0}, "0 x 50 pixels, want at least 1 x 1"),
        ({"height": 0}, "100 x 0 pixels"),
        ({"width": -1}, "-1 x 50"),
        ({"channels": 2}, "2 channels, want 1"),
        ({"channels": 0}, "0 channels"),
        ({"halo": -1}, "halo of -1 pixels, want 0 to 31"),
        ({"halo": 32}, "halo of 32 pixels"),
        ({"width": MAX_PIXELS, "height": 2}, f"want at most {MAX_PIXELS}"),
        ({"width": 1, "height": MAX_PIXELS}, "131072 tiles .* want at most 4096: the image is too narrow"),
        ({"width": 4000, "height": 2000, "halo": 31}, "2000000 tiles"),
    ],
)
def test_a_layout_that_cannot_be_is_refused_with_what_is_wanted(wrong, message):
    given_ = {"width": 100, "height": 50, "channels": 3, "ring_degree": 4096, **wrong}
    for kind in (Tiling, PlaneLayout):
        with pytest.raises(InvalidArgument, match=message):
            kind(**given_)


def test_the_bound_on_tiles_is_that_of_their_coefficients():
    widest = MAX_COEFFICIENTS // 64
    assert Tiling(widest, 1, 1, 4096).tiles * 4096 == MAX_COEFFICIENTS
    with pytest.raises(InvalidArgument, match="too flat"):
        Tiling(widest + 1, 1, 1, 4096)


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (4, 4, 4), (2, 2, 2, 3), (5, 4), (4, 5, 3)])
def test_an_image_of_another_shape_is_refused(shape):
    with pytest.raises(InvalidArgument, match="want"):
        PlaneLayout(4, 4, 3, 64).pack(np.zeros(shape, np.uint8))
    with pytest.raises(InvalidArgument, match="tiles of shape"):
        PlaneLayout(4, 4, 3, 64).unpack(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("shape", [(4,), (4, 4, 2), (2, 2, 2, 3)])
def test_an_image_that_is_neither_grey_nor_rgb_has_no_layout(shape):
    with pytest.raises(InvalidArgument, match=r"want \[height, width\]"):
        PlaneLayout.of(np.zeros(shape, np.uint8), 64)
