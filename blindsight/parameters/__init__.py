"""Named parameter sets of the encryption schemes, checked when they are constructed.

    table.py     the sets, a row each, and their lookup
    ring.py      the class of sets of CKKS and BFV, and their bounds
    additive.py  the class of sets of schemes that only add
    common.py    the schemes, and limits that sets of both kinds share
    security.py  security levels by the size of the published modulus

A set below 128 bits of security cannot be constructed, nor one that violates the arithmetic of the
kernel.  Nothing here is secret, and nothing here needs numpy.
"""

from __future__ import annotations

from blindsight.parameters.additive import AdditiveSet
from blindsight.parameters.common import (
    BOUND_SIGMAS,
    ENCODING_NOISE,
    FRESH_NOISE,
    MAX_BATCHES_PER_SEGMENT,
    MAX_FIELD_VALUES,
    MAX_FIELDS,
    Scheme,
)
from blindsight.parameters.ring import MAX_PAIR_VALUES, ParameterSet
from blindsight.parameters.table import (
    ADDITIVE_SETS,
    BFV_4096,
    BFV_8192,
    BY_NUMBER,
    CKKS_4096,
    COLLECTION_SETS,
    DEFAULT_PARAMETERS,
    PAILLIER_3072,
    PARAMETER_SETS,
    Parameters,
    by_name,
    default_for,
    of_ring,
)

__all__ = [
    "ADDITIVE_SETS",
    "BFV_4096",
    "BFV_8192",
    "BOUND_SIGMAS",
    "BY_NUMBER",
    "CKKS_4096",
    "COLLECTION_SETS",
    "DEFAULT_PARAMETERS",
    "ENCODING_NOISE",
    "FRESH_NOISE",
    "MAX_BATCHES_PER_SEGMENT",
    "MAX_FIELDS",
    "MAX_FIELD_VALUES",
    "MAX_PAIR_VALUES",
    "PAILLIER_3072",
    "PARAMETER_SETS",
    "AdditiveSet",
    "ParameterSet",
    "Parameters",
    "Scheme",
    "by_name",
    "default_for",
    "of_ring",
]
