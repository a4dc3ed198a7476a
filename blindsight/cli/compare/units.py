"""Human-readable numbers: one unit, at most three significant digits."""

from __future__ import annotations

import math

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_EXACT = 1e-12  # less is the rounding of floats


def seconds(value: float) -> str:
    """Formats a duration in µs, ms, s, min or h."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "min")):
        # A value that rounds up to the limit is written in the larger unit.
        if float(f"{value:.3g}") < limit:
            return f"{digits(value * factor)} {unit}"
    return f"{digits(value / 3600)} h"


def size(count: float) -> str:
    """Formats bytes in B, KB, MB or GB, powers of a thousand."""
    for limit, factor, unit in ((1e3, 1, "B"), (1e6, 1e-3, "KB"), (1e9, 1e-6, "MB")):
        if float(f"{count:.3g}") < limit:
            return f"{digits(count * factor)} {unit}"
    return f"{digits(count * 1e-9)} GB"


def error(value: float | None) -> str:
    """Formats the error of a similarity, which itself is between 0 and 1."""
    if value is None:
        return "no number"
    if value < _EXACT:
        return "none"
    if value >= 0.01:
        return digits(value)
    exponent = math.floor(math.log10(value))
    mantissa = value / 10**exponent
    if round(mantissa, 1) >= 10:
        mantissa, exponent = mantissa / 10, exponent + 1
    return f"{mantissa:.1f} × 10{str(exponent).translate(_SUPERSCRIPTS)}"


def exact(value: float | None) -> bool:
    """Returns whether an error is no more than the rounding of floats."""
    return value is not None and value < _EXACT


def times(ratio: float) -> str:
    """Formats a ratio: "1.6", "39", "1,200"."""
    return digits(ratio) if ratio < 10 else f"{float(f'{ratio:.2g}'):,.0f}"


def digits(value: float) -> str:
    """Formats a number with two significant digits below ten, three above, no decimals from a hundred on."""
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 0.995:
        return f"{value:.1f}".removesuffix(".0")
    return f"{value:.2g}"


def similarity(value: float | None) -> str:
    """Formats a squared cosine, or the value that overflow made of it."""
    if value is None:
        return "no number"
    text = f"{value:,.3f}" if abs(value) < 10 else digits(value)
    return text.replace("-", "\N{MINUS SIGN}")
