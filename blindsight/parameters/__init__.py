"""Named parameter sets of the encryption schemes, checked when they are constructed.

    table.py     the sets, a row each, and their lookup
    ring.py      the class of sets of CKKS and BFV, and their bounds
    additive.py  the class of sets of schemes that only add
    common.py    the schemes, and limits that sets of both kinds share

A set that violates the 128-bit table or the arithmetic of the kernel cannot be constructed.  Nothing here is
secret, and nothing here needs numpy.
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
from blindsight.parameters.ring import CLASSICAL_128_BITS, MAX_PAIR_VALUES, QUANTUM_128_BITS, ParameterSet
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
    "CLASSICAL_128_BITS",
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
    "QUANTUM_128_BITS",
    "AdditiveSet",
    "ParameterSet",
    "Parameters",
    "Scheme",
    "by_name",
    "default_for",
    "of_ring",
]
