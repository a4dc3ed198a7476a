"""Parameter sets of the ring schemes CKKS and BFV: a ring, its primes and scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

from blindsight.errors import InvalidArgument
from blindsight.parameters import security
from blindsight.parameters.common import (
    BOUND_SIGMAS,
    ENCODING_NOISE,
    FRESH_NOISE,
    MAX_BATCHES_PER_SEGMENT,
    Scheme,
)

# The kernel adds products of two residues in 64 bits.
ACCUMULATOR_BITS = 64

# Largest number of values of each side of a single pair.
MAX_PAIR_VALUES = 4097

# Rows of length sqrt(2) and queries of length 1 give coefficients of at most 2 sqrt(2).
MIN_HEADROOM = 3.0


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """One immutable choice of ring, primes and scales.

    Attributes:
        number: identifies the set in the wire form of a ciphertext.
        name: the name by which users choose it.
        scheme: the scheme that it is for.
        ring_degree: N, the number of coefficients of a polynomial.
        primes: moduli of a ciphertext; residues are kept modulo each.
        special_prime: completes SEAL's contexts, which decrypt planes; nothing is published modulo it.
        gallery_scale_bits, query_scale_bits: log2 of the factors by which values of both sides are
            multiplied; CKKS rounds in the encoding, BFV computes with the rounded integers exactly.
        plain_modulus_bits: log2 of BFV's t; 0 for CKKS.

    Raises:
        InvalidArgument: if the set is weaker than 128 bits or breaks the kernel's arithmetic.
    """

    number: int
    name: str
    scheme: Scheme
    ring_degree: int
    primes: tuple[int, ...]
    special_prime: int
    gallery_scale_bits: float
    query_scale_bits: float
    plain_modulus_bits: int = 0

    def __post_init__(self) -> None:
        if self.ring_degree not in security.RING_DEGREES:
            raise InvalidArgument(
                f"{self.name}: ring degree {self.ring_degree}, want one of {list(security.RING_DEGREES)}"
            )
        if not self.security_bits:
            most = security.limit(self.ring_degree, security.LEVELS[0], *security.CLASSICAL)
            raise InvalidArgument(
                f"{self.name}: {self.published_bits} bits of modulus, "
                f"want at most {most} for 128-bit security"
            )
        for prime in (*self.primes, self.special_prime):
            if prime % (2 * self.ring_degree) != 1:
                raise InvalidArgument(f"{self.name}: prime {prime}, want 1 modulo {2 * self.ring_degree}")
            if prime >= 1 << 31:
                raise InvalidArgument(f"{self.name}: prime {prime}, want less than 2^31 for 32-bit residues")
        if self.score_headroom < MIN_HEADROOM:
            raise InvalidArgument(
                f"{self.name}: scales leave room for scores up to {self.score_headroom:.1f}, "
                f"want at least {MIN_HEADROOM:g}"
            )

    @property
    def query_visible(self) -> bool:
        """Whether a search shows its query to the server: no, it is encrypted."""
        return False

    @property
    def hindrance(self) -> str:
        """The limiting quantity, for messages when `max_batches` is 0."""
        return "the noise"

    @property
    def most_stride(self) -> int:
        """The widest stride of a column."""
        return self.ring_degree

    @property
    def modulus(self) -> int:
        """The product q of the ciphertext primes."""
        return math.prod(self.primes)

    @property
    def residue_bytes(self) -> int:
        """The bytes of a residue modulo all primes."""
        return 4 * len(self.primes)

    @property
    def published_bits(self) -> int:
        """The bits of the modulus of everything that is published, which security depends on."""
        return math.ceil(math.log2(self.modulus))

    @property
    def security_bits(self) -> int:
        """The security level against classical attacks: 128, 192 or 256 bits."""
        return security.level(self.ring_degree, self.published_bits, *security.CLASSICAL)

    @property
    def quantum_bits(self) -> int:
        """The security level against quantum attacks; 0 below 128 bits."""
        return security.level(self.ring_degree, self.published_bits, security.STANDARD_2018_QUANTUM)

    @property
    def security(self) -> str:
        """A human-readable text on the set's security."""
        most = security.limit(self.ring_degree, self.security_bits, *security.CLASSICAL)
        quantum = f"quantum {self.quantum_bits}-bit" if self.quantum_bits else "not quantum"
        return (
            f"{self.security_bits}-bit, {quantum}; a modulus of {self.published_bits} bits is published, "
            f"N={self.ring_degree} allows {most}"
        )

    @property
    def precision(self) -> str:
        """A human-readable text on how values are rounded."""
        if self.scheme is Scheme.BFV:
            return (
                f"{self.integers}; values are rounded to multiples of "
                f"1/{self.gallery_scale:.0f} (gallery) and 1/{self.query_scale:.0f} (query)"
            )
        return (
            f"approximate; scales 2^{self.gallery_scale_bits:g} (gallery) and "
            f"2^{self.query_scale_bits:g} (query)"
        )

    @property
    def integers(self) -> str:
        """A human-readable text on the integers that BFV computes with."""
        return f"exact integers modulo 2^{self.plain_modulus_bits}"

    @property
    def score_grid(self) -> float:
        """The grid to which an inner product is rounded before anyone sees it.

        BFV scores are multiples of it anyway.  CKKS scores carry noise that depends on the secret key
        (Li and Micciancio, Eurocrypt 2021): digits below about the noise tell nothing about the vectors.
        """
        if self.scheme is Scheme.BFV:
            return 1 / (self.gallery_scale * self.query_scale)
        return 2.0**-18

    @property
    def pair_balance(self) -> float:
        """The factor by which a single pair's row is multiplied before encryption, and its query divided.

        A search needs the smaller noise on the query's side, where it adds up over a whole segment's rows.
        A pair has one row: with equal scales on both sides the product's noise is four times smaller.
        """
        return math.exp2((self.query_scale_bits - self.gallery_scale_bits) / 2)

    @property
    def pair_steps(self) -> int:
        """The steps of the second digit of a single pair's values; 1: they have no second digit.

        BFV rounds values coarsely, so that their product fits.  More than 256 steps would overflow it: second
        digits are up to steps / 2 / scale, and there may be 4,097 of them.
        """
        return 256 if self.scheme is Scheme.BFV else 1

    @property
    def pair_grid(self) -> float:
        """The grid to which the inner product of a single pair is rounded; see `score_grid`."""
        return self.score_grid if self.scheme is Scheme.BFV else 2.0**-21

    def pair_error_bound(self, row_norm: float = 1.0) -> float:
        """Returns a bound on |decrypted - true| of one pair's inner product, for a query of unit length.

        Args:
            row_norm: norm of the encrypted row.
        """
        if self.scheme is Scheme.BFV:
            # Second digits are rounded, and the product of both sides' second digits is omitted.
            left_out = ENCODING_NOISE**2 * math.sqrt(2 * MAX_PAIR_VALUES) / self.gallery_scale**2
            return self.score_error_bound(1, row_norm) / self.pair_steps + BOUND_SIGMAS * left_out
        scale = math.sqrt(self.gallery_scale * self.query_scale)
        noise = math.hypot(FRESH_NOISE, ENCODING_NOISE) * math.hypot(1.0, row_norm) / scale
        return BOUND_SIGMAS * noise + self.pair_grid / 2

    @property
    def max_terms(self) -> int:
        """The number of columns that the kernel may add to a residue in 64 bits before it must reduce."""
        largest = max(self.primes) - 1
        return ((1 << ACCUMULATOR_BITS) - 1 - largest) // largest**2

    @property
    def gallery_scale(self) -> float:
        """The factor of gallery values before rounding: an integer, so that 1 stays exact."""
        return float(round(math.exp2(self.gallery_scale_bits)))

    @property
    def query_scale(self) -> float:
        """The factor of query values before rounding: an integer, so that 1 stays exact."""
        return float(round(math.exp2(self.query_scale_bits)))

    @property
    def plain_modulus(self) -> int:
        """The plaintext modulus t of BFV, a power of two; 0 for CKKS."""
        return 1 << self.plain_modulus_bits if self.plain_modulus_bits else 0

    @property
    def score_headroom(self) -> float:
        """The largest absolute score that does not wrap around the message modulus."""
        return (self.plain_modulus or self.modulus) / 2 / (self.gallery_scale * self.query_scale)

    def max_batches(self, columns: int) -> int:
        """Returns how many appends a segment of this many columns may take, at most 1024; 0: not even one.

        CKKS noise adds to the score and is bounded there.  A BFV score is exact until noise reaches q / 2,
        and then suddenly wrong.  Its phase is a sum of products (m + t e)(m' + t e') with m and m' within
        +-t/2, e and e' of the error distribution, and k batches adding up in e.  A coefficient sums N of
        them per column.
        """
        if self.scheme is Scheme.CKKS:
            return MAX_BATCHES_PER_SEGMENT
        terms = BOUND_SIGMAS * self.plain_modulus**2 * math.sqrt(self.ring_degree * columns)
        query = math.hypot(FRESH_NOISE, 1 / math.sqrt(12))  # e' and r'/t
        # q/2 >= terms * query * sqrt(noise^2 k + 1/12), solved for k
        most = ((self.modulus / 2 / (terms * query)) ** 2 - 1 / 12) / FRESH_NOISE**2
        return max(0, min(MAX_BATCHES_PER_SEGMENT, math.floor(most)))

    def score_error_bound(self, capacity: int, row_norm: float = 1.0, batches: int = 1) -> float:
        """Returns a bound on |decrypted - true| of one score, for queries of unit length.

        CKKS: two terms matter, gallery noise times the query's message, and query noise times the
        gallery's messages, one from each of the segment's vectors.  The product of the two noises
        is thousands of times smaller.  BFV: scores of the rounded integers are exact; only the
        rounding of both sides remains.

        Args:
            capacity: number of vectors in a segment.
            row_norm: largest norm of an encrypted row.
            batches: number of appends that were summed in the segment.
        """
        if self.scheme is Scheme.BFV:
            rounding = math.hypot(1 / self.gallery_scale, row_norm / self.query_scale)
            return BOUND_SIGMAS * ENCODING_NOISE * rounding
        fresh = math.hypot(FRESH_NOISE, ENCODING_NOISE)
        gallery = fresh * math.sqrt(batches) / self.gallery_scale
        query = fresh * math.sqrt(capacity) * row_norm / self.query_scale
        return BOUND_SIGMAS * math.hypot(gallery, query) + self.score_grid / 2
