"""Names and aliases of collections: text for people, and never a path (ADR 0022)."""

from __future__ import annotations

import unicodedata

from blindsight.errors import AlreadyExists, InvalidArgument

MAX_NAME_CHARACTERS = 128


def composed(name: str) -> str:
    """Returns the one spelling of a name: a letter and its accent may be typed as one character or as two."""
    return unicodedata.normalize("NFC", name)


def check_name(name: str) -> None:
    """Checks a new name or alias, as `composed` returned it.

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


def not_an_alias(alias: str, name: str) -> InvalidArgument:
    """Returns the error for an alias of what is to be lost, which had better be called by its own name."""
    return InvalidArgument(f"{alias!r} is an alias; want the name of its collection, {name!r}")


def taken(name: str) -> AlreadyExists:
    """Returns the error for a name that a collection has already."""
    return AlreadyExists(f"collection {name!r} exists; delete it first or take another name")
