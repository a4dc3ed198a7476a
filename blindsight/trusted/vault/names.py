"""Names of collections: text for people, and never a path (ADR 0022)."""

from __future__ import annotations

import unicodedata

from blindsight.errors import InvalidArgument

MAX_NAME_CHARACTERS = 128


def composed(name: str) -> str:
    """Returns the one spelling of a name: a letter and its accent may be typed as one character or as two."""
    return unicodedata.normalize("NFC", name)


def check_name(name: str) -> None:
    """Checks the name of a new collection, as `composed` returned it.

    Raises:
        InvalidArgument: if it is empty, too long, does not print, starts with a dash, or ends in a space.
    """
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not name.isprintable() or name.startswith("-"):
        raise InvalidArgument(
            f"collection name of {len(name)} characters, want 1 to {MAX_NAME_CHARACTERS} printable ones "
            "that do not start with a dash"
        )
    if name.strip() != name:
        raise InvalidArgument(f"collection name {name!r} with a space at an end, want none there")
