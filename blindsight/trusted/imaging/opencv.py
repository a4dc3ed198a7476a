"""OpenCV, an optional dependency that is imported when it is used."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from blindsight.errors import InvalidArgument


def require_installed() -> None:
    """Checks that OpenCV is installed, without importing it.

    Raises:
        InvalidArgument: if it is not installed; the message says what to install.
    """
    if find_spec("cv2") is None:
        raise InvalidArgument(
            "keypoints need OpenCV, which is not installed: pip install 'blindsight-vault-trusted[imaging]'"
        )


def load() -> Any:
    """Imports and returns the module `cv2`.

    Raises:
        InvalidArgument: if it is not installed.
    """
    require_installed()
    import cv2

    return cv2
