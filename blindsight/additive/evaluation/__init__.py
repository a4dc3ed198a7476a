"""The public halves of the additive schemes.  A scheme is one module here and one row in `HALVES`.

Weights are in the clear: the evaluator sees them.  A search of an encrypted gallery by `inner_products`
therefore shows the query to the server.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from blindsight.additive import schemes
from blindsight.additive.block import (
    AdditiveBlock,
    AdditiveHeader,
    check_expected,
    read_block,
    weighted_header,
)
from blindsight.additive.evaluation import lightphe, paillier, scramble
from blindsight.additive.keys import AdditivePublicKey
from blindsight.additive.schemes import AdditiveScheme, Operation
from blindsight.errors import InvalidArgument

__all__ = ["HALVES", "AdditiveEvaluator", "PublicHalf"]


class PublicHalf(Protocol):
    """The public operations of a scheme on the numbers of ciphertexts; they need no secret."""

    def weighted(
        self, terms: Sequence[Sequence[int]], weights: Sequence[int], header: AdditiveHeader
    ) -> list[int]:
        """Returns the sum of weights[j] * terms[j], ciphertext by ciphertext; weights may be negative."""

    def rerandomise(self, numbers: Sequence[int]) -> list[int]:
        """Returns other ciphertexts of the same messages."""


HALVES: dict[AdditiveScheme, Callable[[AdditivePublicKey], PublicHalf]] = {
    AdditiveScheme.PAILLIER: paillier.PaillierPublic,
    AdditiveScheme.SCRAMBLE: scramble.ScramblePublic,
    **{scheme: lightphe.LightPhePublic for scheme, info in schemes.SCHEMES.items() if info.algorithm},
}


class AdditiveEvaluator:
    """Computation on the ciphertexts of one public key.

    Every operation checks that the scheme supports it, that the operands belong together, and that no slot
    can overflow, and raises InvalidArgument or InvalidCiphertext before it computes.
    """

    def __init__(self, public_key: AdditivePublicKey) -> None:
        self.public_key = public_key
        self._half = HALVES[public_key.scheme](public_key)

    def read(self, data: bytes) -> AdditiveBlock:
        """Parses a block from the wire, and checks every field and every number."""
        return read_block(data, self.public_key)

    def add(self, first: AdditiveBlock, second: AdditiveBlock) -> AdditiveBlock:
        """Returns first plus second, value by value."""
        self._require(Operation.SUM)
        return self._weighted([first, second], [1, 1])

    def subtract(self, first: AdditiveBlock, second: AdditiveBlock) -> AdditiveBlock:
        """Returns first minus second, value by value."""
        self._require(Operation.DIFFERENCE)
        return self._weighted([first, second], [1, -1])

    def weighted_sum(
        self, blocks: Sequence[AdditiveBlock], weights: Sequence[int], *, weight_scale_bits: int = 0
    ) -> AdditiveBlock:
        """Returns the sum of weights[j] * blocks[j], value by value.

        Args:
            weights: integers, in the clear, of either sign.
            weight_scale_bits: the weights stand for multiples of 2^-weight_scale_bits.
        """
        self._require(Operation.WEIGHTED_SUM)
        return self._weighted(blocks, weights, weight_scale_bits)

    def inner_products(
        self, gallery: AdditiveBlock, query: Sequence[int], *, query_scale_bits: int = 0
    ) -> AdditiveBlock:
        """Computes the inner products of a query in the clear with all vectors of an encrypted gallery.

        The server sees the query, and only the query.

        Args:
            gallery: one row per dimension, one column per vector.
            query: integers, one per dimension.

        Returns:
            One row with the inner product of every vector.
        """
        self._require(Operation.WEIGHTED_SUM)
        check_expected(gallery.header, self.public_key)
        layout = gallery.header.layout
        if len(query) != layout.rows:
            raise InvalidArgument(f"query of {len(query)} dimensions, the gallery has {layout.rows}")
        header = replace(gallery.header, layout=replace(layout, rows=1))
        step = layout.per_row * self.public_key.group.components
        rows = [
            AdditiveBlock(header, gallery.numbers[start : start + step])
            for start in range(0, len(gallery.numbers), step)
        ]
        return self._weighted(rows, query, query_scale_bits)

    def rerandomise(self, block: AdditiveBlock) -> AdditiveBlock:
        """Returns the same values in new ciphertexts that cannot be linked to the given ones."""
        self._require(Operation.RERANDOMISATION)
        check_expected(block.header, self.public_key)
        return replace(block, numbers=self._half.rerandomise(block.numbers))

    def _require(self, operation: Operation) -> None:
        schemes.require(self.public_key.scheme, operation)

    def _weighted(
        self, blocks: Sequence[AdditiveBlock], weights: Sequence[int], weight_scale_bits: int = 0
    ) -> AdditiveBlock:
        try:
            exact = [operator.index(weight) for weight in weights]
        except TypeError:
            raise InvalidArgument("weights are not integers; see to_fixed_point") from None
        for block in blocks:
            check_expected(block.header, self.public_key)
        header = weighted_header([block.header for block in blocks], exact, weight_scale_bits)
        return AdditiveBlock(header, self._half.weighted([block.numbers for block in blocks], exact, header))
