"""Text of others, made safe to print on a terminal."""

from __future__ import annotations

from datetime import datetime

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_GAP = " ... "


def printable(text: str) -> str:
    """Returns text with control characters replaced, such as those that move the cursor or change colours."""
    return "".join(letter if letter.isprintable() else _REPLACEMENT for letter in text)


def shortened(text: str, most: int) -> str:
    """Returns a text, or if it has more characters its beginning and its end."""
    if len(text) <= most:
        return text
    half = (most - len(_GAP)) // 2
    return f"{text[:half]}{_GAP}{text[-half:]}"


def rfc3339(time: datetime) -> str:
    """Returns a time as a text of RFC 3339, with the time's own offset; that of UTC is Z."""
    return time.isoformat().replace("+00:00", "Z")
