"""Additive keys for tests: real sizes where they are fast, and small ones where LightPHE is not."""

from __future__ import annotations

from functools import cache

from blindsight.additive import SCHEMES, AdditivePublicKey
from blindsight.additive.evaluation import AdditiveEvaluator
from blindsight.trusted.additive import AdditiveKey

SMALL_BITS = 512


@cache
def key(scheme):
    """One key per scheme and process."""
    info = SCHEMES[scheme]
    if not info.algorithm:
        return AdditiveKey.generate(scheme, info.fixed_bits or 2048)
    bits = info.fixed_bits or SMALL_BITS
    return AdditiveKey.generate(scheme, bits, insecure_small_keys=True)


@cache
def evaluator(scheme):
    """The public half, made from what goes over the wire."""
    public = key(scheme).public_key.to_bytes()
    return AdditiveEvaluator(AdditivePublicKey.from_bytes(public, insecure_small_keys=True))


def sent(scheme, values, value_bits=8, guard_bits=4, scale_bits=0):
    """Encrypted values as the evaluator reads them from the wire."""
    block = key(scheme).encrypt(values, value_bits=value_bits, guard_bits=guard_bits, scale_bits=scale_bits)
    return evaluator(scheme).read(block.to_bytes())
