"""The public half of LightPHE's additive algorithms: its additions and multiplications by constants."""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from functools import reduce
from typing import Any

from blindsight.additive.block import AdditiveHeader
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.lightphe import cryptosystem, flatten, group_ciphertexts, keys_of


class LightPhePublic:
    """The public half of one of LightPHE's algorithms, which needs the public numbers alone."""

    def __init__(self, public_key: AdditivePublicKey) -> None:
        self._scheme, self._group = public_key.scheme, public_key.group
        self._system = cryptosystem(public_key.scheme, keys_of(public_key))

    def weighted(
        self, terms: Sequence[Sequence[int]], weights: Sequence[int], header: AdditiveHeader
    ) -> list[int]:
        grouped = [list(group_ciphertexts(self._scheme, numbers)) for numbers in terms]
        return [
            number
            for ciphertexts in zip(*grouped, strict=True)
            for number in flatten(reduce(self._system.add, map(self._times, ciphertexts, weights)))
        ]

    def _times(self, ciphertext: Any, weight: int) -> Any:
        return ciphertext if weight == 1 else self._system.multiply_by_constant(ciphertext, weight)

    def rerandomise(self, numbers: Sequence[int]) -> list[int]:
        return [
            number
            for ciphertext in group_ciphertexts(self._scheme, numbers)
            for number in flatten(self._system.add(ciphertext, self._zero()))
        ]

    def _zero(self) -> Any:
        bound, units_of = self._group.nonce_bound, self._group.units_of or 1
        nonce = 1 + secrets.randbelow(bound - 1)
        while math.gcd(nonce, units_of) != 1:
            nonce = 1 + secrets.randbelow(bound - 1)
        return self._system.encrypt(0, random_key=nonce)
