"""What a product of powers costs, as Paillier's weighted sums are made: Straus's method, digits gathered."""

from __future__ import annotations

from collections.abc import Sequence

# Measured: a modular inverse takes as long as so many products.
INVERSION_PRODUCTS = 5
_WIDEST_DIGIT = 11


def digit_bits(terms: int, width: int) -> int:
    """The size of digits that takes the fewest products, for so many exponents of `width` bits."""
    return min(range(1, _WIDEST_DIGIT + 1), key=lambda bits: _products(terms, width, bits))


def weighted_products(weights: Sequence[int]) -> int:
    """Products modulo n^2 that a sum with these weights takes, about."""
    positive = [weight for weight in weights if weight > 0]
    negative = [-weight for weight in weights if weight < 0]
    return _powers(positive) + (_powers(negative) + INVERSION_PRODUCTS if negative else 0)


def _powers(weights: Sequence[int]) -> int:
    width = max(weights, default=0).bit_length()
    return width + round(_products(len(weights), width, digit_bits(len(weights), width)))


def _products(terms: int, width: int, bits: int) -> float:
    # For each digit of the exponents: a product for each that is not 0, then two for each value of a digit.
    return -(-width // bits) * (terms * (1 - 2.0**-bits) + 2 * ((1 << bits) - 1))
