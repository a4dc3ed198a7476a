"""Where services keep the machine code that numba makes, if no usual place can be written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import blindsight

VARIABLE = "NUMBA_CACHE_DIR"
FOLDER = "compiled"


def variables(data: Path, own: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables that give a service a place for compiled code; none if it has one.

    Args:
        data: the service's folder: code of one zone must not be loaded by the other.
        own: environment variables that the service inherits.
    """
    cache = own.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - that one may raise
    if (
        VARIABLE in own
        or _takes_files(Path(blindsight.__file__).parent)
        or _takes_files(Path(cache, "numba"))
    ):
        return {}
    return {VARIABLE: str(data / FOLDER)}


def _takes_files(folder: Path) -> bool:
    nearest = next(one for one in (folder, *folder.parents) if one.exists())
    return os.access(nearest, os.W_OK | os.X_OK, effective_ids=True)
