"""Readers of .npy files and lists of ids, with one-line errors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blindsight.errors import InvalidArgument


def load_matrix(path: Path) -> Any:
    """Maps the array in a .npy file into memory without reading it, as it may be larger than memory.

    Raises:
        InvalidArgument: if the file does not exist, is damaged, or is not a .npy file.
    """
    import numpy as np

    try:
        if path.stat().st_size == 0:
            raise InvalidArgument(f"{path} is empty, want a .npy file")
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror or 'damaged'}") from None
    except (ValueError, EOFError, OverflowError, SyntaxError) as error:
        raise InvalidArgument(f"{path} is not a .npy file of numbers, or it is damaged") from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise InvalidArgument(f"{path} holds several arrays, want a .npy file with one")
    return loaded


def load_ids(path: Path) -> list[str]:
    """Reads a list of ids, one per line.

    Raises:
        InvalidArgument: if the file cannot be read, or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is not UTF-8 text") from None
