"""Constants of all parameter sets: the schemes, limits of a row and of a segment, noise and its bound."""

from __future__ import annotations

import math
from enum import IntEnum

# Standard deviation of the error of a fresh ciphertext (a centred binomial of 21 and 21 bits), and of the
# rounding that encoding adds.
FRESH_NOISE = math.sqrt(21 / 2)
ENCODING_NOISE = 0.29

# A batch appended to a segment adds one fresh encryption of noise; past this a new segment is opened.
# A set whose noise bound allows fewer says so in `ParameterSet.max_batches`.
MAX_BATCHES_PER_SEGMENT = 1024

# Limits of an encrypted row: fields, which are scored one by one, and values of each.
MAX_FIELDS = 16
MAX_FIELD_VALUES = 1 << 16

# Standard deviations in the stated score bound: a score exceeds it with probability 2e-10.
BOUND_SIGMAS = 6.4


class Scheme(IntEnum):
    """Schemes of collections; for the ring schemes the value is part of the wire form of a ciphertext."""

    CKKS = 1
    BFV = 2
    PAILLIER = 3
