"""Who has a name, as its own or as an alias (ADR 0024)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from blindsight.trusted.records import CollectionConfig


@dataclass(frozen=True, slots=True)
class NameUse:
    """Who has a name.

    Attributes:
        named: id of the collection whose own name it is; None if there is none.
        means: id of the collection that it means as an alias; None if it is none.
        meant: name of that collection.
        holders: ids of the collections that have it among their aliases, the newest first.
        number: the highest that it was ever seen with as an alias; 0 if it was none.
    """

    named: bytes | None
    means: bytes | None
    meant: str
    holders: tuple[bytes, ...]
    number: int


def name_use(name: str, called: Mapping[bytes, CollectionConfig], number: int) -> NameUse:
    """Returns who has a name.

    Args:
        called: the settings of all collections, by id.
        number: the highest that it was seen with as an alias until now.  A lower one is that of a collection
            from which the alias was moved.
    """
    named = next((key for key, config in called.items() if config.name == name), None)
    numbers = {key: config.aliases[name] for key, config in called.items() if name in config.aliases}
    holders = tuple(sorted(numbers, key=numbers.__getitem__, reverse=True))
    newest = max([*numbers.values(), number])
    means = holders[0] if holders and numbers[holders[0]] == newest else None
    return NameUse(named, means, called[means].name if means is not None else "", holders, newest)
