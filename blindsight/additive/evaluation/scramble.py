"""The public half of scramble: subtracts pixels in their secret order.

This is not encryption: it hides a picture from a glance only, and the server sees every value.
"""

from __future__ import annotations

from collections.abc import Sequence

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.schemes import AdditiveScheme, Operation, require
from blindsight.errors import InvalidArgument


class ScramblePublic:
    """The public half of scramble, which can only subtract; `AdditiveEvaluator` refuses everything else."""

    def __init__(self, public_key: AdditivePublicKey) -> None:
        del public_key  # it holds nothing

    def weighted(
        self, terms: Sequence[Sequence[int]], weights: Sequence[int], header: AdditiveHeader
    ) -> list[int]:
        if header.growth != 2:
            raise InvalidArgument(
                "scramble: a difference of two pictures as they were scrambled, and no more"
            )
        modulus = 1 << 8 * header.number_bytes
        return [
            sum(weight * number for weight, number in zip(weights, numbers, strict=True)) % modulus
            for numbers in zip(*terms, strict=True)
        ]

    def rerandomise(self, numbers: Sequence[int]) -> list[int]:
        require(AdditiveScheme.SCRAMBLE, Operation.RERANDOMISATION)
        return list(numbers)
