"""All parameter sets, and their lookup."""

from __future__ import annotations

from blindsight.errors import InvalidArgument
from blindsight.parameters.additive import AdditiveSet
from blindsight.parameters.common import Scheme
from blindsight.parameters.ring import ParameterSet

# Primes of 27 bits, the largest that are 1 modulo 2 N, so that 64 bits hold sums over 1,024 columns
# (`max_terms`).  SEAL's own choice, by CoeffModulus.Create(4096, [27, 27, 27]).
CKKS_4096 = ParameterSet(
    number=1,
    name="ckks-4096",
    scheme=Scheme.CKKS,
    ring_degree=4096,
    primes=(134012929, 134111233),
    special_prime=134176769,
    gallery_scale_bits=22,
    query_scale_bits=28,
)

# CoeffModulus.Create(4096, [27, 27, 27, 27]): one bit under the classical limit.
BFV_4096 = ParameterSet(
    number=2,
    name="bfv-4096",
    scheme=Scheme.BFV,
    ring_degree=4096,
    primes=(133963777, 134012929, 134111233),
    special_prime=134176769,
    gallery_scale_bits=13.5,
    query_scale_bits=13.5,
    plain_modulus_bits=30,
)

# CoeffModulus.Create(8192, [27, 27, 27, 27]): the same arithmetic, half of the allowed modulus.
BFV_8192 = ParameterSet(
    number=3,
    name="bfv-8192",
    scheme=Scheme.BFV,
    ring_degree=8192,
    primes=(133513217, 133611521, 133644289),
    special_prime=133857281,
    gallery_scale_bits=13.5,
    query_scale_bits=13.5,
    plain_modulus_bits=30,
)

# 64 slots of 47 bits in messages of 3070.  Scales are multiples of 11585, which is BFV's, so that pixels
# divided by it stay exact; sums of up to 8,000 columns fit.
PAILLIER_3072 = AdditiveSet(
    number=16,
    name="paillier-3072",
    scheme=Scheme.PAILLIER,
    wire_scheme=1,
    modulus_bits=3072,
    slots=64,
    value_bits=20,
    guard_bits=26,
    gallery_scale=45 * 11585,
    query_scale=45 * 11585,
)

Parameters = ParameterSet | AdditiveSet

# Sets whose queries are encrypted.
PARAMETER_SETS = {parameters.name: parameters for parameters in (CKKS_4096, BFV_4096, BFV_8192)}
BY_NUMBER = {parameters.number: parameters for parameters in PARAMETER_SETS.values()}
ADDITIVE_SETS = {parameters.name: parameters for parameters in (PAILLIER_3072,)}
# All sets that a collection may have.
COLLECTION_SETS: dict[str, Parameters] = {**PARAMETER_SETS, **ADDITIVE_SETS}
DEFAULT_PARAMETERS: dict[Scheme, Parameters] = {
    Scheme.CKKS: CKKS_4096,
    Scheme.BFV: BFV_4096,
    Scheme.PAILLIER: PAILLIER_3072,
}


def of_ring(parameters: Parameters, what: str) -> ParameterSet:
    """Returns a ring scheme's set, and refuses sets of schemes that only add.

    Raises:
        InvalidArgument: if the scheme only adds; the message names `what` and the schemes that can do it.
    """
    if isinstance(parameters, ParameterSet):
        return parameters
    raise InvalidArgument(f"{what} under {parameters.scheme.name.lower()}, want ckks or bfv for that")


def by_name(name: str) -> Parameters:
    """Returns the set of this name.

    Raises:
        InvalidArgument: if there is none; the message lists all names.
    """
    if name not in COLLECTION_SETS:
        raise InvalidArgument(f"parameter set {name!r}, want one of {', '.join(COLLECTION_SETS)}")
    return COLLECTION_SETS[name]


def default_for(scheme: str) -> Parameters:
    """Returns the default set of a scheme.

    Raises:
        InvalidArgument: if the scheme is unknown; the message lists all schemes.
    """
    known = {member.name.lower(): parameters for member, parameters in DEFAULT_PARAMETERS.items()}
    if scheme not in known:
        raise InvalidArgument(f"scheme {scheme!r}, want one of {', '.join(known)}")
    return known[scheme]
