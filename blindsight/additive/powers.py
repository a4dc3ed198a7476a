"""Cost of a product of powers, by which Paillier computes weighted sums: Straus's method, digits gathered."""

from __future__ import annotations

from collections.abc import Sequence

# Measured: a modular inverse takes as long as this many products.
INVERSION_PRODUCTS = 5
_WIDEST_DIGIT = 11


def digit_bits(terms: int, width: int) -> int:
    """Returns the size of digits that takes the fewest products, for `terms` exponents of `width` bits."""
    return min(range(1, _WIDEST_DIGIT + 1), key=lambda bits: _products(terms, width, bits))


def weighted_products(weights: Sequence[int]) -> int:
    """Returns approximately how many products modulo n^2 a sum with these weights takes."""
    positive = [weight for weight in weights if weight > 0]
    negative = [-weight for weight in weights if weight < 0]
    return _powers(positive) + (_powers(negative) + INVERSION_PRODUCTS if negative else 0)


def _powers(weights: Sequence[int]) -> int:
    width = max(weights, default=0).bit_length()
    return width + round(_products(len(weights), width, digit_bits(len(weights), width)))


def _products(terms: int, width: int, bits: int) -> float:
    # For each digit position: a product for each term whose digit is not 0, then two for each digit value.
    return -(-width // bits) * (terms * (1 - 2.0**-bits) + 2 * ((1 << bits) - 1))
