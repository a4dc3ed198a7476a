"""Sets of the schemes that only add: a key size, slots and scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

from blindsight.errors import InvalidArgument
from blindsight.parameters.common import BOUND_SIGMAS, ENCODING_NOISE, MAX_BATCHES_PER_SEGMENT, Scheme

# 112-bit security by NIST SP 800-57 part 1 (2020), table 2, for schemes that rest on factoring.
LEAST_FACTORING_BITS = 2048

# A value of a row is at most its length.
MOST_ROW_VALUE = 2.0


@dataclass(frozen=True, slots=True)
class AdditiveSet:
    """One immutable choice of key size, slots and scales of a scheme that only adds.

    A ciphertext holds `slots` values side by side, so a column is one ciphertext with a stride of 1.  The
    weights of a search are integers in the clear, and scores of the rounded integers are exact.

    Attributes:
        number: tells sets apart.
        name: what people type.
        scheme: the scheme that it is for.
        wire_scheme: its number in keys and ciphertexts (`blindsight.additive.schemes`).
        modulus_bits: size of n.
        slots: values of a ciphertext.
        value_bits: a row's values are less than 2^value_bits in magnitude.
        guard_bits: the magnitudes of one field's weights sum to at most 2^guard_bits.
        gallery_scale, query_scale: what values of both sides are multiplied by before rounding.

    Raises:
        InvalidArgument: when the set is weaker than 112 bits, or a slot could overflow.
    """

    number: int
    name: str
    scheme: Scheme
    wire_scheme: int
    modulus_bits: int
    slots: int
    value_bits: int
    guard_bits: int
    gallery_scale: float
    query_scale: float

    def __post_init__(self) -> None:
        if self.modulus_bits < LEAST_FACTORING_BITS:
            raise InvalidArgument(
                f"{self.name}: modulus of {self.modulus_bits} bits, want at least {LEAST_FACTORING_BITS}"
            )
        # Messages are centred and less than half of n.
        if self.slots * self.slot_bits >= self.modulus_bits:
            raise InvalidArgument(
                f"{self.name}: {self.slots} slots of {self.slot_bits} bits, "
                f"want less than {self.modulus_bits} in all"
            )
        if self.gallery_scale * MOST_ROW_VALUE >= 1 << self.value_bits:
            raise InvalidArgument(
                f"{self.name}: scale {self.gallery_scale:g} leaves no room for values up to "
                f"{MOST_ROW_VALUE:g} in {self.value_bits} value bits"
            )
        if self.slot_bits > 62:
            raise InvalidArgument(f"{self.name}: slots of {self.slot_bits} bits, want at most 62")

    @property
    def query_visible(self) -> bool:
        """Whether a search shows its query to the server: yes, as the weights of a sum."""
        return True

    @property
    def hindrance(self) -> str:
        """What leaves no room when `max_batches` is 0, for people."""
        return "the sums"

    @property
    def slot_bits(self) -> int:
        """Bits of a slot, sign included."""
        return self.value_bits + self.guard_bits + 1

    @property
    def ring_degree(self) -> int:
        """Values of a ciphertext; columns are laid out as if it were a polynomial of so many coefficients."""
        return self.slots

    @property
    def most_stride(self) -> int:
        """Widest stride of a column: slots are added and never multiplied with each other."""
        return 1

    @property
    def number_bytes(self) -> int:
        """Bytes of a ciphertext, a number modulo n^2."""
        return 2 * self.modulus_bits // 8

    @property
    def most_growth(self) -> int:
        """What the magnitudes of one field's weights may sum to."""
        return 1 << self.guard_bits

    @property
    def security(self) -> str:
        """The set's standing, for people."""
        return (
            f"128-bit (classical), factoring of {self.modulus_bits} bits, broken by quantum computers; "
            "search shows the query to the server"
        )

    @property
    def precision(self) -> str:
        """How values are rounded, for people."""
        return (
            f"{self.integers}; values are rounded to multiples of "
            f"1/{self.gallery_scale:.0f} (gallery) and 1/{self.query_scale:.0f} (query)"
        )

    @property
    def integers(self) -> str:
        """What is computed with, for people."""
        return f"exact integers in slots of {self.slot_bits} bits"

    @property
    def score_grid(self) -> float:
        """What an inner product is a multiple of."""
        return 1 / (self.gallery_scale * self.query_scale)

    def max_batches(self, columns: int) -> int:
        """Appends that a segment may take: there is no noise; 0 when a sum of so many columns could overflow.

        By Cauchy and Schwarz the magnitudes of a form of length sqrt(2) sum to at most sqrt(2 columns), and
        rounding adds up to half of a unit each.
        """
        most = math.sqrt(2 * columns) * self.query_scale + columns / 2
        return MAX_BATCHES_PER_SEGMENT if most <= self.most_growth else 0

    def score_error_bound(
        self,
        capacity: int,  # noqa: ARG002 - of other sets
        row_norm: float = 1.0,
        batches: int = 1,  # noqa: ARG002
    ) -> float:
        """Bound on |decrypted - true| of one score, for queries of unit length: the rounding of both sides.

        Values of different columns are taken to be rounded independently of each other, as for BFV.

        Args:
            capacity, batches: of a segment; they add no error.
            row_norm: largest length of an encrypted row.
        """
        rounding = math.hypot(1 / self.gallery_scale, row_norm / self.query_scale)
        return BOUND_SIGMAS * ENCODING_NOISE * rounding
