"""Text of others, made safe to print on a terminal."""

from __future__ import annotations

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def printable(text: str) -> str:
    """Returns text with control characters replaced, such as those that move the cursor or change colours."""
    return "".join(letter if letter.isprintable() else _REPLACEMENT for letter in text)
