"""Runs the command as on a machine that has no extras: `pip install blindsight` and nothing more."""

from __future__ import annotations

import re
import sys
from importlib.machinery import ModuleSpec
from importlib.metadata import distribution, packages_distributions

from packaging.requirements import Requirement


class Missing:
    """Hides whatever a set of distributions brings."""

    def __init__(self, distributions: set[str]) -> None:
        found = packages_distributions()
        self._names = {
            name for name, brought_by in found.items() if distributions >= set(map(plain, brought_by))
        }

    def find_spec(self, name: str, *_: object) -> ModuleSpec | None:
        """Where a module is: nowhere, or for others to find."""
        if name in self._names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None


def plain(name: str) -> str:
    """A distribution's name as all its spellings have it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(name: str, known: set[str]) -> set[str]:
    """A distribution and all that it needs without any extra."""
    if name not in known:
        known.add(name)
        for line in distribution(name).requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed(plain(requirement.name), known)
    return known


if __name__ == "__main__":
    everything = {plain(name) for names in packages_distributions().values() for name in names}
    sys.meta_path.insert(0, Missing(everything - needed("blindsight", set())))
    from blindsight.cli import main

    main()
