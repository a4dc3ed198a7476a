"""What sets of every kind share: the schemes, limits of a row and of a segment, noise and its bound."""

from __future__ import annotations

from enum import IntEnum

# Standard deviation of SEAL's error distribution, and of the rounding that encoding adds.  3.2 is what SEAL
# names, after the standard; what SEAL draws (`sample_poly_cbd`) has sqrt(21 / 2) = 3.24.
FRESH_NOISE = 3.2
ENCODING_NOISE = 0.29

# A batch appended to a segment adds one fresh encryption of noise; past this a new segment is opened.
# A set whose noise bound allows fewer says so in `ParameterSet.max_batches`.
MAX_BATCHES_PER_SEGMENT = 1024

# An encrypted row: fields that are scored one by one, and values of each.
MAX_FIELDS = 16
MAX_FIELD_VALUES = 1 << 16

# How sure the stated score bound is: this many standard deviations (2e-10 per score).
BOUND_SIGMAS = 6.4


class Scheme(IntEnum):
    """Schemes of collections; for the schemes on rings the value stands in the wire form of a ciphertext."""

    CKKS = 1
    BFV = 2
    PAILLIER = 3
