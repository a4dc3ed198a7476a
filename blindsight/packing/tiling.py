"""The division of an image into tiles, one ciphertext each: counts and sizes from public numbers alone.

A tile is a rectangle of N pixels, as square as a power of two allows, with `halo` pixels of its neighbours
on every side, so that a filter of that reach needs nothing but the tile.  `blindsight.packing.planes` puts
pixels into the tiles; this module needs only the standard library, so that storage can compute how large a
photo's planes must be.
"""

from __future__ import annotations

from dataclasses import dataclass

from blindsight.ciphertext.header import RESIDUE_BYTES, SEALED_OVERHEAD_BYTES, BlockHeader, Form
from blindsight.errors import InvalidArgument
from blindsight.parameters import ParameterSet

MAX_PIXELS = 1 << 23
# Coefficients of one channel, including halos and what lies beyond the image at the right and at the bottom:
# a bound on very flat images, whose tiles are mostly empty.
MAX_COEFFICIENTS = 1 << 24
# Planes are encrypted, sent, stored and read in blocks of this many ciphertexts: 2 to 6 MB.
PIECE_CIPHERTEXTS = 64
# They are computed on in blocks of this many, each in one message: 0.5 to 1.6 MB in, twice that out.
BLOCK_CIPHERTEXTS = 16
CHANNELS = (1, 3)
# Of a piece, in the seal of planes: SHA-256.
DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class Tiling:
    """The geometry of one image's encrypted planes.

    Attributes:
        width, height: size of the image, in pixels.
        channels: 1 (grey) or 3 (RGB).
        ring_degree: N, the number of pixels of a tile.
        halo: width in pixels of the margin of neighbouring pixels on every side of a tile.

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
        """The number of rows of a tile with its halo."""
        return 1 << ((self.ring_degree.bit_length() - 1) // 2)

    @property
    def tile_width(self) -> int:
        """The number of columns of a tile with its halo."""
        return self.ring_degree // self.tile_height

    @property
    def inner_height(self) -> int:
        """The number of rows of a tile without its halo."""
        return self.tile_height - 2 * self.halo

    @property
    def inner_width(self) -> int:
        """The number of columns of a tile without its halo."""
        return self.tile_width - 2 * self.halo

    @property
    def tile_rows(self) -> int:
        """The number of tiles down the image."""
        return -(-self.height // self.inner_height)

    @property
    def tile_columns(self) -> int:
        """The number of tiles across the image."""
        return -(-self.width // self.inner_width)

    @property
    def tiles(self) -> int:
        """The number of tiles of one channel."""
        return self.tile_rows * self.tile_columns

    @property
    def ciphertexts(self) -> int:
        """The number of ciphertexts of all channels: [channel][tile row][tile column]."""
        return self.channels * self.tiles

    @property
    def pixel_bytes(self) -> int:
        """The bytes of the image itself, one for each pixel and channel."""
        return self.width * self.height * self.channels

    @property
    def pieces(self) -> tuple[int, ...]:
        """The number of ciphertexts of each block in which the planes are sent and stored."""
        full, rest = divmod(self.ciphertexts, PIECE_CIPHERTEXTS)
        return (PIECE_CIPHERTEXTS,) * full + ((rest,) if rest else ())

    def piece_bytes(self, parameters: ParameterSet, count: int) -> int:
        """Returns the size in bytes of a block of `count` fresh ciphertexts."""
        return BlockHeader(parameters, b"", Form.SEEDED, count).size_bytes

    def seal_bytes(self, parameters: ParameterSet) -> int:
        """Returns the size in bytes of the seal of all blocks: their digests and one combined ciphertext."""
        combination = 2 * len(parameters.primes) * parameters.ring_degree * RESIDUE_BYTES
        return SEALED_OVERHEAD_BYTES + DIGEST_BYTES * len(self.pieces) + combination

    def size_bytes(self, parameters: ParameterSet) -> int:
        """Returns the size of all blocks and of their seal in bytes."""
        blocks = sum(self.piece_bytes(parameters, count) for count in self.pieces)
        return blocks + self.seal_bytes(parameters)


def check_pixels(width: int, height: int) -> None:
    """Checks that an image is not too large for planes.

    Raises:
        InvalidArgument: if it is; the message names its size and the limit.
    """
    if width * height > MAX_PIXELS:
        raise InvalidArgument(
            f"photo of {width} x {height} pixels ({width * height}), want at most {MAX_PIXELS} for planes"
        )
