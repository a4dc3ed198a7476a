"""Parameter sets of the schemes that only add: a key size, slots and scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

from blindsight.errors import InvalidArgument
from blindsight.parameters.common import BOUND_SIGMAS, ENCODING_NOISE, MAX_BATCHES_PER_SEGMENT, Scheme

# 112-bit security by NIST SP 800-57 part 1 (2020), table 2, for schemes that rest on factoring.
LEAST_FACTORING_BITS = 2048

# A value of a row is at most the row's norm.
MOST_ROW_VALUE = 2.0


@dataclass(frozen=True, slots=True)
class AdditiveSet:
    """One immutable choice of key size, slots and scales of a scheme that only adds.

    A ciphertext holds `slots` values side by side, so a column is one ciphertext with a stride of 1.  The
    weights of a search are integers in the clear, and scores of the rounded integers are exact.

    Attributes:
        number: identifies the set.
        name: the name by which users choose it.
        scheme: the scheme that it is for.
        wire_scheme: the scheme's number in keys and ciphertexts (`blindsight.additive.schemes`).
        modulus_bits: size of n in bits.
        slots: number of values of a ciphertext.
        value_bits: a row's values are less than 2^value_bits in magnitude.
        guard_bits: the magnitudes of one field's weights sum to at most 2^guard_bits.
        gallery_scale, query_scale: factors by which values of both sides are multiplied before rounding.

    Raises:
        InvalidArgument: if the set is weaker than 112 bits, or a slot could overflow.
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
        """The limiting quantity, for messages when `max_batches` is 0."""
        return "the sums"

    @property
    def slot_bits(self) -> int:
        """The bits of a slot, including the sign."""
        return self.value_bits + self.guard_bits + 1

    @property
    def ring_degree(self) -> int:
        """The number of values of a ciphertext, laid out like the coefficients of a polynomial."""
        return self.slots

    @property
    def residue_bytes(self) -> int:
        """0: the keyholder keeps nothing of a segment; see `ParameterSet.residue_bytes`."""
        return 0

    @property
    def most_stride(self) -> int:
        """The widest stride of a column, 1, because slots are added and never multiplied with each other."""
        return 1

    @property
    def number_bytes(self) -> int:
        """The bytes of a ciphertext, which is a number modulo n^2."""
        return 2 * self.modulus_bits // 8

    @property
    def most_growth(self) -> int:
        """The largest sum of the magnitudes of one field's weights."""
        return 1 << self.guard_bits

    @property
    def security(self) -> str:
        """A human-readable text on the set's security."""
        return (
            f"128-bit (classical), factoring of {self.modulus_bits} bits, broken by quantum computers; "
            "search shows the query to the server"
        )

    @property
    def precision(self) -> str:
        """A human-readable text on how values are rounded."""
        return (
            f"{self.integers}; values are rounded to multiples of "
            f"1/{self.gallery_scale:.0f} (gallery) and 1/{self.query_scale:.0f} (query)"
        )

    @property
    def integers(self) -> str:
        """A human-readable text on the integers that are computed with."""
        return f"exact integers in slots of {self.slot_bits} bits"

    @property
    def score_grid(self) -> float:
        """The number of which inner products are multiples."""
        return 1 / (self.gallery_scale * self.query_scale)

    def max_batches(self, columns: int) -> int:
        """Returns how many appends a segment may take; 0 if a sum over this many columns could overflow.

        There is no noise, so the number is otherwise the limit of all sets.  By Cauchy and Schwarz the
        magnitudes of a form of length sqrt(2) sum to at most sqrt(2 columns), and rounding adds up to half
        of a unit each.
        """
        most = math.sqrt(2 * columns) * self.query_scale + columns / 2
        return MAX_BATCHES_PER_SEGMENT if most <= self.most_growth else 0

    def score_error_bound(
        self,
        capacity: int,  # noqa: ARG002 - of other sets
        row_norm: float = 1.0,
        batches: int = 1,  # noqa: ARG002
    ) -> float:
        """Returns a bound on |decrypted - true| of one score, for queries of unit length.

        The error is the rounding of both sides.  Values of different columns are assumed to be rounded
        independently of each other, as for BFV.

        Args:
            capacity, batches: vectors and appends of a segment; they add no error.
            row_norm: largest length of an encrypted row.
        """
        rounding = math.hypot(1 / self.gallery_scale, row_norm / self.query_scale)
        return BOUND_SIGMAS * ENCODING_NOISE * rounding
