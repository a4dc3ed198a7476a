"""Reads .npy files and id lists, and says in one line what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from blindsight.errors import InvalidArgument


def load_matrix(path: Path) -> Any:
    """The array in a .npy file, mapped and not read: it may be larger than memory.

    Raises:
        InvalidArgument: when there is no such file, or it is damaged or no .npy file.
    """
    import numpy as np

    try:
        if path.stat().st_size == 0:
            raise InvalidArgument(f"{path} is empty, want a .npy file")
        loaded = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror or 'damaged'}") from None
    except (ValueError, EOFError, OverflowError, SyntaxError) as error:
        raise InvalidArgument(f"{path} is no .npy file of numbers, or it is damaged") from error
    if not isinstance(loaded, np.ndarray):
        loaded.close()
        raise InvalidArgument(f"{path} holds several arrays, want a .npy file with one")
    return loaded


def load_ids(path: Path) -> list[str]:
    """One id a line.

    Raises:
        InvalidArgument: when the file cannot be read or is no text.
    """
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise InvalidArgument(f"{path} is no UTF-8 text") from None
