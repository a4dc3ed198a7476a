"""The file that a benchmark writes: its figures, and what the SDK answered, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from blindsight.runtime.printable import rfc3339


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Writes the document of a benchmark; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    """Returns what JSON has no kind for: times of collections and items, numbers and arrays of numpy."""
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} in a benchmark's document, want what JSON has")
