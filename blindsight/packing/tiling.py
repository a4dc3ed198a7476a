"""How an image is cut into tiles, one ciphertext each: counts and sizes from public numbers alone.

A tile is a rectangle of N pixels, as square as a power of two allows, with `halo` pixels of its neighbours
on every side, so that a filter of that reach needs nothing but the tile.  `blindsight.packing.planes` puts
pixels into the tiles; this module needs only the standard library, so that storage can tell how much a
photo must bring.
"""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.ciphertext.header import BlockHeader, Form
from blindsight.errors import InvalidArgument
from blindsight.parameters import ParameterSet

MAX_PIXELS = 1 << 23
# Of one channel, with halos and with what sticks out at the right and at the bottom: a bound on very flat
# images, of whose tiles most is empty.
MAX_COEFFICIENTS = 1 << 24
# Planes are encrypted, sent, stored and read in blocks of so many ciphertexts: 2 to 6 MB.
PIECE_CIPHERTEXTS = 64
# They are computed with in blocks of so many, each in one message: 0.5 to 1.6 MB that come, twice that goes.
BLOCK_CIPHERTEXTS = 16
CHANNELS = (1, 3)


@dataclass(frozen=True, slots=True)
class Tiling:
    """Geometry of one image's encrypted planes.

    Attributes:
        width, height: of the image, in pixels.
        channels: 1 (grey) or 3 (RGB).
        ring_degree: N, pixels of a tile.
        halo: pixels of the neighbours on every side of a tile.

    Raises:
        InvalidArgument: if a field is out of range, the image too large, or the halo as wide as half a tile.
    """

    width: int
    height: int
    channels: int
    ring_degree: int
    halo: int = 0

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise InvalidArgument(f"planes of {self.width} x {self.height} pixels, want at least 1 x 1")
        if self.channels not in CHANNELS:
            raise InvalidArgument(f"planes of {self.channels} channels, want 1 (grey) or 3 (RGB)")
        check_pixels(self.width, self.height)
        if not 0 <= 2 * self.halo < self.tile_height:
            raise InvalidArgument(f"halo of {self.halo} pixels, want 0 to {(self.tile_height - 1) // 2}")
        if self.tiles * self.ring_degree > MAX_COEFFICIENTS:
            raise InvalidArgument(
                f"{self.tiles} tiles for {self.width} x {self.height} pixels, "
                f"want at most {MAX_COEFFICIENTS // self.ring_degree}: the image is too narrow or too flat"
            )

    @property
    def tile_height(self) -> int:
        """Rows of a tile, halo included."""
        return 1 << ((self.ring_degree.bit_length() - 1) // 2)

    @property
    def tile_width(self) -> int:
        """Columns of a tile, halo included."""
        return self.ring_degree // self.tile_height

    @property
    def inner_height(self) -> int:
        """Rows of a tile that are its own."""
        return self.tile_height - 2 * self.halo

    @property
    def inner_width(self) -> int:
        """Columns of a tile that are its own."""
        return self.tile_width - 2 * self.halo

    @property
    def tile_rows(self) -> int:
        """Tiles below each other."""
        return -(-self.height // self.inner_height)

    @property
    def tile_columns(self) -> int:
        """Tiles beside each other."""
        return -(-self.width // self.inner_width)

    @property
    def tiles(self) -> int:
        """Tiles of one channel."""
        return self.tile_rows * self.tile_columns

    @property
    def ciphertexts(self) -> int:
        """Ciphertexts of all channels: [channel][tile row][tile column]."""
        return self.channels * self.tiles

    @property
    def pixel_bytes(self) -> int:
        """Bytes of the image itself, one a pixel and channel."""
        return self.width * self.height * self.channels

    @property
    def pieces(self) -> tuple[int, ...]:
        """Ciphertexts of each block that the planes are sent and kept in."""
        full, rest = divmod(self.ciphertexts, PIECE_CIPHERTEXTS)
        return (PIECE_CIPHERTEXTS,) * full + ((rest,) if rest else ())

    def piece_bytes(self, parameters: ParameterSet, count: int) -> int:
        """Size of a block of `count` fresh ciphertexts."""
        return BlockHeader(parameters, b"", Form.SEEDED, polynomials=2, count=count).size_bytes

    def size_bytes(self, parameters: ParameterSet) -> int:
        """Size of all blocks."""
        return sum(self.piece_bytes(parameters, count) for count in self.pieces)


def check_pixels(width: int, height: int) -> None:
    """Refuses an image that is too large for planes.

    Raises:
        InvalidArgument: with its size and the limit.
    """
    if width * height > MAX_PIXELS:
        raise InvalidArgument(
            f"photo of {width} x {height} pixels ({width * height}), want at most {MAX_PIXELS} for planes"
        )
